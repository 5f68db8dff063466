r"""The streamed feed alone: speed, memory and shuffling of sorted data larger than memory.

\b
feeder          FeederTrainer's feed, cache="none", within memory_budget_mb
shuffle_buffer  interleave, shuffle, batch, vectorised map; a buffer of as many bytes

The images are 40 KiB of noise, sorted by class, in uncompressed files or gzipped ones (--gzip). The
memory is what the process takes at its peak beyond what it took before the files were opened.
"""

import os
import resource
import tempfile
import time
from pathlib import Path

import click
import harness
import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser

SHAPE = (128, 320, 1)
IMAGE_BYTES = 40 << 10
CLASSES = 100
BATCH_SIZE = 64
FILES = 4
FEATURES = {
    "image": tf.io.FixedLenFeature([], tf.string),
    "label": tf.io.FixedLenFeature([], tf.int64),
}
VARIANTS = ("feeder", "shuffle_buffer")
FIGURES = {
    "open_s": ".1f",
    "first_batch_s": ".2f",
    "examples_per_s": ",.0f",
    "cpu_us_per_example": ".0f",
    "peak_mib": ",.0f",
    "classes_per_batch": ".1f",
    "displacement_pct": ".1f",
    "same_beginning_pct": ".0f",
}


@click.command(help=__doc__)
@click.option("--gib", default=1.0, show_default=True, help="Size of the data.")
@click.option("--budget-mb", default=512, show_default=True, help="memory_budget_mb of the feed.")
@click.option("--files", default=FILES, show_default=True)
@click.option("--gzip", is_flag=True, help="Compress the files; noise compresses badly.")
@harness.options(repeats=3)
def main(
    gib: float,
    budget_mb: int,
    files: int,
    gzip: bool,
    repeats: int,
    quick: bool,
    only: str | None,
    work_dir: Path | None,
) -> None:
    examples = int((0.05 if quick else gib) * (1 << 30) / IMAGE_BYTES)
    if only:
        assert work_dir is not None
        harness.emit(_measure(only, work_dir, examples, budget_mb))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write(Path(folder), examples, files, gzip)
        samples = harness.in_turn(__file__, VARIANTS, repeats, Path(folder), quick=quick)
    rows = [(name, *harness.medians(taken, FIGURES)) for name, taken in samples.items()]
    title = f"{gib} GiB in {files} files, budget {budget_mb} MiB, batch {BATCH_SIZE}"
    harness.show(title, ("feed", *FIGURES), rows)
    for figure in ("examples_per_s", "cpu_us_per_example"):
        ratio = harness.ratios(*samples.values(), figure)
        click.echo(f"ratio {harness.describe(ratio)}: {figure}, feeder to shuffle_buffer")


def _measure(variant: str, folder: Path, examples: int, budget_mb: int) -> harness.Sample:
    paths = sorted(str(path) for path in folder.glob("train-*"))
    options = FeedOptions(
        images={"image": Image(*SHAPE)},
        cache="none",
        shuffle_buffer=examples,
        memory_budget_mb=budget_mb,
        # Nothing is kept from one process to the next.
        cache_dir=tempfile.mkdtemp(dir=folder),
    )
    parser = ExampleParser(FEATURES, options)
    before = _resident_mib()
    with harness.stopwatch() as opening:
        if variant == "feeder":
            feed = open_feed(paths, parser, options, shuffle=True)
            click.echo(feed.description)
            batches = feed.batches([range(index * examples, (index + 1) * examples)
                                    for index in range(2)], BATCH_SIZE)  # fmt: skip
        else:
            buffer_size = budget_mb * (1 << 20) * 2 // 3 // IMAGE_BYTES
            batches = _shuffle_buffer(paths, parser, buffer_size)
    labels, first = [], 0.0
    with harness.stopwatch() as passes:
        for number, (_, label) in enumerate(batches):
            if not number:
                first = time.perf_counter()
            labels.append(label.numpy())
    positions = np.concatenate(labels)
    classes = [len(np.unique(batch * CLASSES // examples)) for batch in labels]
    shift = np.abs(positions[:examples] - np.arange(examples)) / examples
    part = examples // 20
    beginning = np.intersect1d(positions[:part], positions[examples : examples + part])
    return {
        "open_s": opening["wall_s"],
        "first_batch_s": first - (time.perf_counter() - passes["wall_s"]),
        "examples_per_s": 2 * examples / passes["wall_s"],
        "cpu_us_per_example": 1e6 * passes["cpu_s"] / (2 * examples),
        "peak_mib": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
        "classes_per_batch": float(np.mean(classes)),
        "displacement_pct": 100 * float(shift.mean()),
        "same_beginning_pct": 100 * len(beginning) / part,
    }


def _shuffle_buffer(paths: list[str], parser: ExampleParser, buffer_size: int) -> tf.data.Dataset:
    compression = "GZIP" if paths[0].endswith(".gz") else ""
    files = tf.data.Dataset.from_tensor_slices(paths)
    records = files.interleave(
        lambda path: tf.data.TFRecordDataset(path, compression),
        cycle_length=min(FILES, len(paths)),
        num_parallel_calls=tf.data.AUTOTUNE,
    )
    batches = records.shuffle(buffer_size).repeat(2).batch(BATCH_SIZE)
    return batches.map(parser, num_parallel_calls=tf.data.AUTOTUNE).prefetch(tf.data.AUTOTUNE)


def _write(folder: Path, examples: int, files: int, gzip: bool) -> None:
    """Writes images of noise; the label is the position of the example."""
    noise = np.random.default_rng(0).integers(0, 256, 2 * IMAGE_BYTES, np.uint8).tobytes()
    for file in range(files):
        path = folder / f"train-{file:05d}{'.gz' * gzip}"
        with tf.io.TFRecordWriter(str(path), "GZIP" if gzip else "") as writer:
            for position in range(file * examples // files, (file + 1) * examples // files):
                begin = position * 7919 % IMAGE_BYTES
                writer.write(_example(noise[begin : begin + IMAGE_BYTES], position))


def _example(image: bytes, label: int) -> bytes:
    features = {
        "image": tf.train.Feature(bytes_list=tf.train.BytesList(value=[image])),
        "label": tf.train.Feature(int64_list=tf.train.Int64List(value=[label])),
    }
    return tf.train.Example(features=tf.train.Features(feature=features)).SerializeToString()


def _resident_mib() -> float:
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / (1 << 20)


if __name__ == "__main__":
    main()
