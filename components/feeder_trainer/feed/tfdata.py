"""tf.data options: autotuning is disabled because it can delay training by up to a minute."""

import os

import tensorflow as tf

NUM_THREADS = len(os.sched_getaffinity(0))
"""Threads of a parallel stage: one per core that this process may use."""


def without_autotune(dataset: tf.data.Dataset) -> tf.data.Dataset:
    """Disables autotuning; parallel stages then use one thread per core from the start.

    An iterator that ends wakes its autotuning thread and waits for it, while holding the GIL.
    ``CancellationManager`` wakes the thread before it marks the iterator as cancelled. On a busy
    core, the thread may therefore find nothing to do and sleep until its next round: up to a
    minute in an iterator that has run for several minutes.
    """
    options = tf.data.Options()
    options.autotune.enabled = False
    return dataset.with_options(options)
