"""Keras callbacks beside our own loop: which act on every batch, and what they remember."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

TRAIN_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_BATCH_HOOKS = ("on_test_batch_begin", "on_test_batch_end")
_KERAS_OWN = ("params", "_model", "model")


def needs_every_batch(callbacks: Sequence[keras.callbacks.Callback], hooks: Sequence[str]) -> bool:
    """Says whether one of the callbacks acts on every batch.

    A hook costs a round trip to the host at each step, so it is called only where it does
    something.

    Args:
        callbacks: The user's callbacks.
        hooks: Names of the hooks in question.
    """
    return any(
        # Of the object, not of its class: a LambdaCallback holds its functions as attributes.
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
    """Copies what callbacks remember between epochs, such as the patience that is left.

    Returns:
        Plain attributes of each callback, as JSON can hold them, and arrays by a name made of
        index, attribute and place in its list. Anything else, such as an open file, is left out.
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
                for place, array in enumerate(value):
                    arrays[f"{index:03d}/{name}/{place:05d}"] = array
        states.append(state)
    return states, arrays


def restore_callbacks(
    callbacks: Sequence[keras.callbacks.Callback],
    states: Sequence[Mapping[str, Any]],
    arrays: Mapping[str, np.ndarray],
) -> None:
    """Brings back what ``capture_callbacks`` copied, into callbacks made by the same function."""
    lists: dict[tuple[int, str], list[np.ndarray]] = {}
    for key in sorted(arrays):
        index, name, _ = key.split("/")
        lists.setdefault((int(index), name), []).append(arrays[key])
    for index, (callback, state) in enumerate(zip(callbacks, states, strict=True)):
        vars(callback).update(state)
        vars(callback).update({name: v for (of, name), v in lists.items() if of == index})
        if getattr(callback, "monitor_op", keras.ops.less) is None:
            # Keras chooses it at the end of the first epoch, and then turns the sign for "less".
            vars(callback)["min_delta"] = abs(vars(callback)["min_delta"])
