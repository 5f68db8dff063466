r"""The whole reference pipeline against one of stock TFX components that does the same work.

\b
stock        stock components with their defaults and no Beam arguments
stock_tuned  the same with the reference pipeline's Beam arguments and Transform's statistics off
feeder       the reference pipeline

All of them go from images to a pushed model: examples, statistics, schema, validation, transform,
training by one schedule, evaluation on the same slices and gates, push. The stock ones read a
TFRecord file that was made for them beforehand; the reference pipeline reads the images themselves.
"""

import itertools
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import harness
import numpy as np
import reference
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.pipeline.configs import BEAM_ARGS, FULL_SCHEDULE, SHORT_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.datasets import Dataset, open_data_set

SPAN = 1
VARIANTS = ("stock", "stock_tuned", "feeder")
TOTALS = ("run()", "process")
ROLES = {
    "ImportExampleGen": "ExampleGen",
    "ImageExampleGen": "ExampleGen",
    "StatisticsGen": "StatisticsGen",
    "ImportSchemaGen": "SchemaGen",
    "ExampleValidator": "ExampleValidator",
    "Transform": "Transform",
    "Trainer": "Trainer",
    "FeederTrainer": "Trainer",
    "Evaluator": "Evaluator",
    "Pusher": "Pusher",
    "ModelCard": "ModelCard",
    "base_model": "Resolvers",
    "baseline": "Resolvers",
}
_BEGIN = time.perf_counter()


@click.command(help=__doc__)
@click.option("--full", is_flag=True, help="Train by the reference schedule, not the short one.")
@harness.options(repeats=3)
def main(full: bool, repeats: int, quick: bool, only: str | None, work_dir: Path | None) -> None:
    schedule = FULL_SCHEDULE if full else SHORT_SCHEDULE
    if quick:
        schedule = Schedule([(0.01, 16, 1), (0.005, 32, 1)], steps_per_epoch=5)
    if only:
        assert work_dir is not None
        harness.emit(_measure(only, work_dir, schedule))
        return
    with tempfile.TemporaryDirectory() as folder:
        _write_records(open_data_set("digits", Path(folder)), _records(Path(folder)))
        samples = harness.in_turn(__file__, VARIANTS, repeats, Path(folder), quick=quick)
    _report(samples, f"digits, span {SPAN}, {schedule}")


def _measure(variant: str, work_dir: Path, schedule: Schedule) -> dict[str, Any]:
    data, sample = open_data_set("digits", work_dir), {}
    with tempfile.TemporaryDirectory() as root:
        if variant == "feeder":
            pipeline = _reference_pipeline(data, Path(root), schedule)
        else:
            tuned = variant == "stock_tuned"
            pipeline = _stock_pipeline(data, _records(work_dir), Path(root), schedule, tuned=tuned)
        sample["import wall"] = time.perf_counter() - _BEGIN
        _run(pipeline, sample)
        sample["accuracy"] = _accuracy(Path(root))
    return sample


# TFX is imported below and not above, because what that takes is a part of a process's time.


def _reference_pipeline(data: Dataset, root: Path, schedule: Schedule) -> Any:
    from tfx_feeder.pipeline.pipeline import create_pipeline

    config = PipelineConfig(data, root, span=SPAN, schedule=schedule)
    config.workspace.prepare()
    return create_pipeline(config)


def _stock_pipeline(
    data: Dataset, records: Path, root: Path, schedule: Schedule, *, tuned: bool
) -> Any:
    from stock_pipeline import create_pipeline

    beam_args = list(BEAM_ARGS) if tuned else []
    return create_pipeline(
        data, records, root, schedule, beam_args=beam_args, transform_statistics=not tuned
    )


def _run(pipeline: Any, sample: dict[str, Any]) -> None:
    """Runs the components one after another and adds the times of each to the sample."""
    from timed_nodes import run_timed

    for node, times in run_timed(pipeline).items():
        for kind, seconds in times.items():
            key = f"{ROLES.get(node, node)} {kind}"
            sample[key] = sample.get(key, 0.0) + seconds


def _accuracy(root: Path) -> float:
    from tfx_feeder.pipeline.eval_config import METRIC
    from tfx_feeder.schemas.evaluation import read_evaluation

    [folder] = root.glob("**/Evaluator/evaluation/*")
    return read_evaluation(folder).slices(METRIC)[0].candidate


def _records(work_dir: Path) -> Path:
    return work_dir / "records"


def _write_records(data: Dataset, folder: Path) -> None:
    """Writes the images of the span as a user of ImportExampleGen has to: PNG in tf.Example."""
    folder.mkdir()
    arrays = np.load(data.folder / f"span-{SPAN}" / "digits.npz")
    with tf.io.TFRecordWriter(str(folder / "digits.tfrecord")) as writer:
        columns = (arrays[key] for key in ("images", "labels", "form"))
        for image, label, form in zip(*columns, strict=True):
            png = tf.io.encode_png(image[..., None]).numpy()
            height, width = image.shape
            writer.write(reference.example(png, label=label, form=form, height=height, width=width))


def _report(samples: harness.Samples, title: str) -> None:
    feeder = samples["feeder"]
    for sample in itertools.chain(*samples.values()):
        sample["process wall"], sample["process cpu"] = sample["process_s"], sample["process_cpu_s"]
    rows = []
    for role in ("import", *dict.fromkeys(ROLES.values()), *TOTALS):
        for kind in ("wall", "cpu"):
            figure = f"{role} {kind}"
            # A stock pipeline writes no cards; what ours take is in run().
            if all(figure in taken[0] for taken in samples.values()):
                medians = [f"{harness.median(samples[name], figure):.1f}" for name in VARIANTS]
                to = [harness.ratios(feeder, samples[name], figure) for name in VARIANTS[:-1]]
                rows.append((f"{figure} s", *medians, *map(harness.describe, to)))
    columns = ("", *VARIANTS, *(f"feeder to {name}" for name in VARIANTS[:-1]))
    harness.show(title, columns, rows)
    figures = {"accuracy": ".4f", "peak_rss_mib": ",.0f"}
    rows = [(name, *harness.medians(taken, figures)) for name, taken in samples.items()]
    harness.show("", ("pipeline", *figures), rows)
    for competitor in VARIANTS[:-1]:
        wall, cpu = (
            harness.ratios(feeder, samples[competitor], f"run() {k}") for k in ("wall", "cpu")
        )
        print(f"CPU seconds of run(), feeder to {competitor}: {harness.describe(cpu)}")
        print(f"ratio {harness.describe(wall)}: wall time of run(), feeder to {competitor}")


if __name__ == "__main__":
    main()
