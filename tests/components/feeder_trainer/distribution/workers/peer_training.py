"""Worker process of peer averaging that learns handwritten digits.

``python peer_training.py INDEX EXCHANGE SEED EPOCHS WIDTH ADDRESS...`` prints one JSON line per
epoch.
"""

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

BATCH = 64


def main(index: int, exchange: str, seed: int, epochs: int, width: int, where: list[str]) -> None:
    """Trains and prints the records; a single address means single-device training."""
    import keras
    import numpy as np
    import tensorflow as tf
    from sklearn.datasets import load_digits

    from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
    from tfx_feeder.components.feeder_trainer.distribution.options import PeerAveraging
    from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.strategy import (
        open_context,
    )
    from tfx_feeder.components.feeder_trainer.feed.tfdata import without_autotune

    strategy = PeerAveraging(f"local:{len(where)}", exchange=exchange)
    context = open_context(strategy, ClusterTask({"worker": where}, "worker", index), timeout_s=10)
    data = load_digits()
    order = np.random.default_rng(seed).permutation(len(data.target))
    images = (data.images[order].reshape(-1, 64) / 16).astype(np.float32)
    labels = data.target[order].astype(np.int64)
    held_out = 360

    def batches(images: Any, labels: Any, order: Any, sizes: list[int]) -> Iterator[Any]:
        def parts() -> Iterator[Any]:
            first = 0
            for size in sizes:
                start, stop = context.shard.bounds(size)
                rows = order[first + start : first + stop]
                yield images[rows], labels[rows]
                first += size

        signature = (tf.TensorSpec([None, 64]), tf.TensorSpec([None], tf.int64))
        dataset = tf.data.Dataset.from_generator(parts, output_signature=signature)
        return iter(without_autotune(dataset.prefetch(2)))

    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(width, activation="relu"),
            keras.layers.BatchNormalization(),
            keras.layers.Dense(10),
        ]
    )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1, momentum=0.9), loss, metrics=["accuracy"])
    steps = context.steps(model, lambda x: x)
    steps.build((images[:1], labels[:1]))
    train, test = slice(held_out, None), slice(held_out)
    full, rest = divmod(len(labels) - held_out, BATCH)
    sizes = [BATCH] * full + [rest]
    for epoch in range(epochs):
        context.process_group.broadcast([epoch])
        model.reset_metrics()
        shuffled = np.random.default_rng([seed, epoch]).permutation(len(labels) - held_out)
        iterator = batches(images[train], labels[train], shuffled, sizes)
        begin = time.perf_counter()
        for first in range(0, len(sizes), 8):
            steps.train(iterator, sizes[first : first + 8])
        seconds = time.perf_counter() - begin
        steps.synchronize()
        results = steps.metrics_result()
        model.reset_metrics()
        tested = batches(images[test], labels[test], np.arange(held_out), [120] * 3)
        steps.evaluate(tested, [120] * 3)
        steps.synchronize()
        results |= {f"val_{name}": value for name, value in steps.metrics_result().items()}
        ms = 1e3 * seconds / len(sizes)
        print(json.dumps({"epoch": epoch, "ms": ms, **results, **steps.staleness}), flush=True)
    context.close()


if __name__ == "__main__":
    _, index, exchange, seed, epochs, width, *where = sys.argv
    main(int(index), exchange, int(seed), int(epochs), int(width), where)
