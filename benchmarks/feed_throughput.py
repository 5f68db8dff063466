r"""The feed alone, no training: FeederTrainer's against tf.data as tutorials and guide write it.

\b
textbook        map each example, shuffle, batch, prefetch
guide_cached    interleave, vectorised map, cache, shuffle, batch, prefetch
guide_streamed  the same without the cache: records are shuffled, batches mapped
feeder_memory   FeederTrainer's feed, cache="memory"
feeder_none     FeederTrainer's feed, cache="none"

Every feed delivers shuffled batches of decoded uint8 images. The first pass opens, reads and
decodes the files; the later passes are what a training lives on.
"""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import click
import harness
import reference
import suite
import tensorflow as tf
import tfdata_feeds

ENCODINGS = {"raw": "raw", "png": "file"}
FIGURES = {
    "first_pass_s": ".2f",
    "examples_per_s": ",.0f",
    "cpu_us_per_example": ".1f",
    "peak_rss_mib": ",.0f",
}
PAIRS = (
    ("feeder_memory", "textbook"),
    ("feeder_memory", "guide_cached"),
    ("feeder_none", "textbook"),
    ("feeder_none", "guide_streamed"),
)


@click.command(help=__doc__)
@click.option("--data", type=click.Choice(reference.DATA), default="digits", show_default=True)
@click.option("--encoding", type=click.Choice(list(ENCODINGS)), default="raw", show_default=True)
@click.option("--batch-size", default=128, show_default=True)
@click.option("--examples", default=100_000, show_default=True, help="After the first pass.")
@harness.options(repeats=5)
def main(
    data: str,
    encoding: str,
    batch_size: int,
    examples: int,
    repeats: int,
    quick: bool,
    only: str | None,
    work_dir: Path | None,
) -> None:
    examples = 2_000 if quick else examples
    if only:
        assert work_dir is not None
        harness.emit(_measure(only, work_dir, ENCODINGS[encoding], batch_size, examples))
        return
    with tempfile.TemporaryDirectory() as folder:
        reference.write_records(data, Path(folder), encoding=ENCODINGS[encoding])
        samples = harness.in_turn(__file__, list(VARIANTS), repeats, Path(folder), quick=quick)
    rows = [(name, *harness.medians(taken, FIGURES)) for name, taken in samples.items()]
    harness.show(f"{data}, {encoding}, batch {batch_size}", ("feed", *FIGURES), rows)
    for ours, competitor in PAIRS:
        cpu = harness.ratios(samples[ours], samples[competitor], "cpu_us_per_example")
        speed = harness.ratios(samples[ours], samples[competitor], "examples_per_s")
        print(f"CPU us/example, {ours} to {competitor}: {harness.describe(cpu)}")
        print(f"ratio {harness.describe(speed)}: examples/s, {ours} to {competitor}")


def _measure(
    variant: str, folder: Path, encoding: str, batch_size: int, examples: int
) -> dict[str, float]:
    steps = max(1, examples // batch_size)
    one_pass = suite.open_split(folder, "train", reference.feed_options()).num_examples
    total = one_pass + examples
    _drain(iter(VARIANTS[variant](folder, batch_size, encoding, total)), tf.constant(1))
    with harness.stopwatch() as first:
        batches = iter(VARIANTS[variant](folder, batch_size, encoding, total))
        _drain(batches, tf.constant(one_pass // batch_size)).numpy()
    with harness.stopwatch() as later:
        _drain(batches, tf.constant(steps)).numpy()
    return {
        "first_pass_s": first["wall_s"],
        "examples_per_s": steps * batch_size / later["wall_s"],
        "cpu_us_per_example": 1e6 * later["cpu_s"] / (steps * batch_size),
    }


@tf.function
def _drain(batches: Iterator, steps: tf.Tensor) -> tf.Tensor:
    """Takes batches as a compiled training loop does, and looks at a byte of each."""
    total = tf.constant(0, tf.int64)
    for _ in tf.range(steps):
        image, label = tf.nest.flatten(next(batches))
        total += label[0] + tf.cast(image[0, 0, 0, 0], tf.int64)
    return total


def _competitor(build: Callable[..., tf.data.Dataset]) -> Callable[..., tf.data.Dataset]:
    def open_competitor(
        folder: Path, batch_size: int, encoding: str, examples: int
    ) -> tf.data.Dataset:
        return build(reference.files(folder, "train"), batch_size, encoding)

    return open_competitor


def _feeder(cache: str) -> Callable[..., tf.data.Dataset]:
    def open_feeder(folder: Path, batch_size: int, encoding: str, examples: int) -> tf.data.Dataset:
        options = reference.feed_options(encoding=encoding, cache=cache)
        feed = suite.open_split(folder, "train", options)
        return feed.batches([range(examples)], batch_size)

    return open_feeder


VARIANTS: dict[str, Callable[..., tf.data.Dataset]] = {
    "textbook": _competitor(tfdata_feeds.textbook),
    "guide_cached": _competitor(tfdata_feeds.guide_cached),
    "guide_streamed": _competitor(tfdata_feeds.guide_streamed),
    "feeder_memory": _feeder("memory"),
    "feeder_none": _feeder("none"),
}


if __name__ == "__main__":
    main()
