r"""Does the step ever wait? FeederTrainer's own diagnosis, on a fast and on a slow feed.

\b
fast         small raw images: the feed keeps up
slow         large PNG files, decoded and resized again in every pass: it does not
recommended  the same files with the option that the diagnosis of `slow` recommends
"""

import tempfile
from pathlib import Path

import click
import harness
import numpy as np
import reference
import suite
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder

BATCH_SIZE = 32
LARGE = (256, 256, 3)
VARIANTS = ("fast", "slow", "recommended")
_FIGURES = {
    "examples_per_s": ",.0f",
    "input_wait_pct": ".1f",
    "utilization_pct": ".0f",
    "input_ceiling": ",.0f",
    "device_ceiling": ",.0f",
}


@click.command(help=__doc__)
@click.option("--steps", default=150, show_default=True, help="In each of four epochs.")
@harness.options(repeats=5)
def main(steps: int, repeats: int, quick: bool, only: str | None, work_dir: Path | None) -> None:
    steps = 40 if quick else steps
    if only:
        assert work_dir is not None
        harness.emit(_measure(only, work_dir, steps))
        return
    with tempfile.TemporaryDirectory() as folder:
        for name in ("small", "large"):
            (Path(folder) / name).mkdir()
        reference.write_records("digits", Path(folder) / "small")
        _write_large(Path(folder) / "large", 300)
        samples = harness.in_turn(__file__, VARIANTS, repeats, Path(folder), quick=quick)
    harness.show(
        f"batch {BATCH_SIZE}, medians",
        ["feed", "examples/s", "wait %", "of ceiling %", "feed alone/s", "device alone/s"],
        [[variant, *harness.medians(samples[variant], _FIGURES)] for variant in VARIANTS],
    )
    for variant in VARIANTS:
        last = samples[variant][-1]
        click.echo(f"{variant}: {last['verdict']}. {last['advice']}")
    gain = harness.ratios(samples["recommended"], samples["slow"], "examples_per_s")
    click.echo(f"ratio {harness.describe(gain)}: examples/s, recommended to slow")


def _measure(variant: str, folder: Path, steps: int) -> harness.Sample:
    options = {
        "fast": FeedOptions(images={"image": Image(*reference.SHAPE)}),
        "slow": FeedOptions(
            images={"image": Image(*reference.SHAPE, encoding="file")}, cache="none"
        ),
        "recommended": FeedOptions(
            images={"image": Image(*reference.SHAPE, encoding="file")}, cache="memory"
        ),
    }[variant]
    files = reference.files(folder / ("small" if variant == "fast" else "large"), "train")
    feed = open_feed(files, ExampleParser(reference.FEATURES, options), options, shuffle=True)
    model = reference.create_model()
    recorder = Recorder()
    schedule = Schedule([(0.01, BATCH_SIZE, 4)], steps_per_epoch=steps)
    TrainingLoop(
        suite.compiled_steps(model, next(iter(feed.batches([range(1)], 1)))),
        feed,
        make_plan(schedule, feed.num_examples),
        recorder,
    ).run()
    (phase,) = recorder.phases
    nan = float("nan")  # A phase too short for the probe has no ceilings.
    return {
        "examples_per_s": phase.examples_per_s,
        "input_wait_pct": phase.input_wait_pct,
        "utilization_pct": phase.utilization_pct or nan,
        "input_ceiling": phase.input_ceiling or nan,
        "device_ceiling": phase.device_ceiling or nan,
        "verdict": phase.verdict,
        "advice": phase.advice,
    }


def _write_large(folder: Path, number: int) -> None:
    """Writes large PNG files of noise, the most that there is to decode."""
    random = np.random.default_rng(0)
    with tf.io.TFRecordWriter(str(folder / "train-00000.gz"), "GZIP") as writer:
        for index in range(number):
            pixels = random.integers(0, 256, LARGE, np.uint8)
            content = tf.io.encode_png(pixels).numpy()
            writer.write(reference.example(content, label=index % 10))


if __name__ == "__main__":
    main()
