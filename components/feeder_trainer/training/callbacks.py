"""Keras callback support: detects batch-level hooks and checkpoints callback state."""

import collections
import contextlib
from collections.abc import Mapping, Sequence
from pathlib import PurePath
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.training.step_logs import scalars
from tfx_feeder.schemas.training_history import EpochRecord

TRAIN_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_BATCH_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
_KERAS_OWN = ("params", "_model", "model")
_CONTAINERS = {
    list: "list",
    tuple: "tuple",
    set: "set",
    dict: "dict",
    collections.deque: "deque",
}


class EpochLogs(keras.callbacks.History):
    """Last callback of a training, which sees what the others have added to the logs of an epoch.

    As in ``fit()``, it is ``model.history``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._last: dict[str, Any] = {}

    def on_epoch_end(self, epoch: int, logs: Mapping[str, Any] | None = None) -> None:
        """Keeps the logs."""
        super().on_epoch_end(epoch, logs)
        self._last = dict(logs or {})

    def added(self, logs: Mapping[str, Any]) -> dict[str, float]:
        """Returns the numbers that callbacks have added or changed, vectors as by ``scalars``.

        The learning rate, which some callbacks of Keras add, is left out: it is no metric.

        Args:
            logs: Logs of the epoch before the callbacks.
        """
        numbers = {name: value for name, value in self._last.items() if _is_numeric(value)}
        before = scalars(logs)
        return {
            name: value
            for name, value in scalars(numbers).items()
            if name != "learning_rate" and before.get(name) != value
        }

    def restore(self, epochs: Sequence[EpochRecord]) -> None:
        """Continues the history of a resumed training.

        Args:
            epochs: Completed epochs.
        """
        self.epoch = [row.epoch for row in epochs]
        self.history = {}
        for row in epochs:
            for name, value in row.metrics.items():
                self.history.setdefault(name, []).append(value)
        self.model.history = self


def _is_numeric(value: Any) -> bool:
    try:
        return np.asarray(value).dtype.kind in "biuf"
    except ValueError:  # Lists of different lengths.
        return False


def needs_every_batch(callbacks: Sequence[keras.callbacks.Callback], hooks: Sequence[str]) -> bool:
    """Returns True if a callback overrides one of the batch-level hooks.

    A batch-level hook costs a round trip to the host at each step, so it is called only if a
    callback overrides it.

    Args:
        callbacks: User's callbacks.
        hooks: Names of the hooks to check.
    """
    return any(
        # Looked up on the instance: a LambdaCallback holds its functions as attributes.
        getattr(getattr(callback, hook), "__func__", None)
        is not getattr(keras.callbacks.Callback, hook)
        for callback in callbacks
        for hook in hooks
        if not _saves_by_epoch(callback)
    )


def _saves_by_epoch(callback: keras.callbacks.Callback) -> bool:
    return isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_freq == "epoch"


def check_resumable(callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Checks that no callback interferes with the checkpoints of the training.

    Raises:
        ConfigError: A callback is a ``BackupAndRestore``, which restores an older state on its own.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.BackupAndRestore):
            raise ConfigError(
                "callbacks_fn",
                received=type(callback).__name__,
                expected="callbacks that do not restore the model",
                fix="Remove it: checkpoints are saved and restored without it.",
            )


def keep_logs(callbacks: Sequence[keras.callbacks.Callback], epochs: int) -> None:
    """Makes callbacks of a resumed training append to their files instead of emptying them.

    Args:
        callbacks: Callbacks, before ``on_train_begin``, which opens the files.
        epochs: Epochs that are completed; the rows of later ones, written between the checkpoint
            and the kill, are dropped, because these epochs are repeated.
    """
    for callback in callbacks:
        if isinstance(callback, keras.callbacks.CSVLogger) and epochs:
            _drop_last_rows(callback, epochs)
            callback.append = True


def _drop_last_rows(log: keras.callbacks.CSVLogger, epochs: int) -> None:
    if not tf.io.gfile.exists(log.filename):
        return
    with tf.io.gfile.GFile(log.filename) as file:
        lines = file.read().splitlines(keepends=True)
    kept = len(lines)
    while (
        kept and (epoch := lines[kept - 1].split(log.sep)[0]).isdecimal() and int(epoch) >= epochs
    ):
        kept -= 1
    if kept < len(lines):
        with tf.io.gfile.GFile(log.filename, "w") as file:
            file.write("".join(lines[:kept]))


def capture_callbacks(
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Copies the state of callbacks between epochs, such as the remaining patience.

    Numbers, texts and arrays are copied, also in lists, tuples, sets, dicts and deques.

    Returns:
        Attributes of each callback as JSON values, and the arrays that they refer to. Other
        attributes, such as an open file, are ignored.
    """
    states: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for index, callback in enumerate(callbacks):
        state: dict[str, Any] = {}
        for name, value in _attributes(callback):
            prefix = f"{index:03d}/{name}"
            found: dict[str, np.ndarray] = {}
            with contextlib.suppress(TypeError):
                state[name] = _encode(value, prefix, found)
                arrays |= found
        states.append(state)
    return states, arrays


def restore_callbacks(
    callbacks: Sequence[keras.callbacks.Callback],
    states: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Restores the state of ``capture_callbacks`` into callbacks made by the same function.

    Args:
        callbacks: New callbacks, after ``on_train_begin``.
        states: Attributes of each callback.
        arrays: Arrays by name.

    Raises:
        ConfigError: The function has returned another number of callbacks.
    """
    if len(callbacks) != len(states):
        raise ConfigError(
            "callbacks_fn",
            received=len(callbacks),
            expected=f"{len(states)} callbacks, as in the checkpoint that this training resumes",
            fix="Return the same callbacks again, or remove the checkpoint folder to start from "
            "scratch.",
        )
    for index, (callback, state) in enumerate(zip(callbacks, states, strict=True)):
        values = {name: _decode(value, arrays) for name, value in state.items()}
        # Release 0.1.0 saved lists of arrays without a reference in the state.
        for key in sorted(arrays):
            of, name, *_ = key.split("/")
            if int(of) == index and name not in state:
                values.setdefault(name, []).append(arrays[key])
        if isinstance(callback, keras.callbacks.CSVLogger):
            for name in ("append", "append_header"):  # Set by ``keep_logs`` and the open file.
                values.pop(name, None)
        for name, value in values.items():
            own = vars(callback).get(name)
            if isinstance(value, dict) and isinstance(own, dict):  # For example a defaultdict.
                own.clear()
                own.update(value)
            else:
                vars(callback)[name] = value
        if getattr(callback, "monitor_op", keras.ops.less) is None:
            # Keras sets monitor_op after the first epoch and then negates min_delta for "less".
            vars(callback)["min_delta"] = abs(vars(callback)["min_delta"])


def not_captured(callbacks: Sequence[keras.callbacks.Callback]) -> list[str]:
    """Returns the attributes, as in ``MyCallback.tracker``, that ``capture_callbacks`` ignores.

    Functions, models and data sets are left out, because ``callbacks_fn`` makes them again, and so
    are the attributes of Keras's own callbacks.
    """
    names = []
    for callback in callbacks:
        if type(callback).__module__.startswith("keras."):
            continue
        for name, value in _attributes(callback):
            is_stateless = callable(value) and not isinstance(value, keras.metrics.Metric)
            if is_stateless or isinstance(value, (tf.data.Dataset, PurePath)):
                continue
            try:
                _encode(value, "", {})
            except TypeError:
                names.append(f"{type(callback).__name__}.{name}")
    return names


def _attributes(callback: keras.callbacks.Callback) -> list[tuple[str, Any]]:
    """Returns the attributes of a user's callback by name; dicts of any class as plain ones."""
    return [
        (name, dict(value) if isinstance(value, dict) else value)
        for name, value in vars(callback).items()
        if name not in _KERAS_OWN
    ]


def _encode(value: Any, path: str, arrays: dict[str, np.ndarray]) -> Any:
    """Returns a JSON value, in which each container and array is a dict with its type as key.

    Args:
        value: Value to encode.
        path: Unique name of the value, for the arrays in it.
        arrays: Dict to which arrays are added.

    Raises:
        TypeError: The value, or a part of it, is of an unknown type.
    """
    if isinstance(value, np.generic) and value.dtype.isbuiltin == 1:
        value = value.item()
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, (np.ndarray, np.generic)) and value.dtype != object:
        arrays[path] = np.array(value)
        return {"array": path}
    kind = _CONTAINERS.get(type(value))
    if kind == "dict":
        return {
            kind: [
                [
                    _encode(key, f"{path}/{index:05d}k", arrays),
                    _encode(v, f"{path}/{index:05d}", arrays),
                ]
                for index, (key, v) in enumerate(value.items())
            ]
        }
    if kind is None:
        raise TypeError(f"cannot save a {type(value).__name__}")
    parts = [_encode(v, f"{path}/{index:05d}", arrays) for index, v in enumerate(value)]
    return {kind: parts, "maxlen": value.maxlen} if kind == "deque" else {kind: parts}


def _decode(value: Any, arrays: Mapping[str, np.ndarray]) -> Any:
    """Returns the value that ``_encode`` encoded."""
    if not isinstance(value, dict):
        return value
    if "array" in value:
        return arrays[value["array"]]
    if "dict" in value:
        return {_decode(key, arrays): _decode(v, arrays) for key, v in value["dict"]}
    kind = next(kind for kind in value if kind in _CONTAINERS.values())
    parts = [_decode(v, arrays) for v in value[kind]]
    if kind == "deque":
        return collections.deque(parts, value["maxlen"])
    return {"list": list, "tuple": tuple, "set": set}[kind](parts)
