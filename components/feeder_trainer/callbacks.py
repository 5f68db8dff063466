"""Keras callbacks beside our own loop: which of their hooks need the host at every step."""

from collections.abc import Sequence

import keras

TRAIN_BATCH_HOOKS = ("on_train_batch_begin", "on_train_batch_end", "on_batch_begin", "on_batch_end")
TEST_BATCH_HOOKS = ("on_test_batch_begin", "on_test_batch_end")


def needs_every_batch(callbacks: Sequence[keras.callbacks.Callback], hooks: Sequence[str]) -> bool:
    """Says whether one of the callbacks acts on every batch.

    A hook costs a round trip to the host at each step, so it is called only where it does
    something.

    Args:
        callbacks: The user's callbacks.
        hooks: Names of the hooks in question.
    """
    return any(
        getattr(type(callback), hook) is not getattr(keras.callbacks.Callback, hook)
        for callback in callbacks
        for hook in hooks
        if not _saves_by_epoch(callback)
    )


def _saves_by_epoch(callback: keras.callbacks.Callback) -> bool:
    return isinstance(callback, keras.callbacks.ModelCheckpoint) and callback.save_freq == "epoch"
