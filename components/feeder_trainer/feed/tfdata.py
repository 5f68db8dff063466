"""tf.data without autotuning, which can hold a training up for as long as a minute."""

import tensorflow as tf


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Turns autotuning off: what runs in parallel gets a thread for each core from the start.

    An iterator that ends wakes its autotuning thread and waits for it, with Python's lock held.
    ``CancellationManager`` wakes it before it says that the end has come, so that on a busy core
    the thread may find nothing to do, and sleep until its next round: up to a minute in an
    iterator that is some minutes old.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
