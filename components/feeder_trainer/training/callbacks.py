"""Keras callback support: detects batch-level hooks and checkpoints callback state."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

TRAIN_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_BATCH_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
_KERAS_OWN = ("params", "_model", "model")


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


def capture_callbacks(
    callbacks: Sequence[keras.callbacks.Callback],
) -> tuple[list[dict[str, Any]], dict[str, np.ndarray]]:
    """Copies the state of callbacks between epochs, such as the remaining patience.

    Returns:
        Plain attributes of each callback as JSON values, and arrays, named by the index of the
        callback, the attribute, and the index in its list. Other attributes, such as an open file,
        are ignored.
    """
    states: list[dict[str, Any]] = []
    arrays: dict[str, np.ndarray] = {}
    for index, callback in enumerate(callbacks):
        state: dict[str, Any] = {}
        for name, value in vars(callback).items():
            if isinstance(value, np.generic):
                value = value.item()
            if name not in _KERAS_OWN and isinstance(value, (bool, int, float, str, type(None))):
                state[name] = value
            elif isinstance(value, list) and value and isinstance(value[0], np.ndarray):
                for position, array in enumerate(value):
                    arrays[f"{index:03d}/{name}/{position:05d}"] = array
        states.append(state)
    return states, arrays


def restore_callbacks(
    callbacks: Sequence[keras.callbacks.Callback],
    states: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Restores the state of ``capture_callbacks`` into callbacks made by the same function.

    Args:
        callbacks: New callbacks.
        states: Plain attributes of each callback.
        arrays: Arrays by name.
    """
    lists: dict[tuple[int, str], list[np.ndarray]] = {}
    for key in sorted(arrays):
        index, name, _ = key.split("/")
        lists.setdefault((int(index), name), []).append(arrays[key])
    for index, (callback, state) in enumerate(zip(callbacks, states, strict=True)):
        vars(callback).update(state)
        vars(callback).update({name: v for (of, name), v in lists.items() if of == index})
        if getattr(callback, "monitor_op", keras.ops.less) is None:
            # Keras sets monitor_op after the first epoch and then negates min_delta for "less".
            vars(callback)["min_delta"] = abs(vars(callback)["min_delta"])
