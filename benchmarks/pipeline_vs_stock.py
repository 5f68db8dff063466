r"""The whole reference pipeline against one of stock TFX components that does the same work.

\b
stock        stock components with their defaults and no Beam arguments
stock_tuned  the same with the reference pipeline's Beam arguments and Transform's statistics off
feeder       the reference pipeline

All of them go from images to a pushed model: examples, statistics, schema, validation, transform,
training by one schedule, evaluation on the same slices and gates, push. The stock ones import the
Examples that the reference pipeline makes of the images, so all train and evaluate on the same
ones. Each round has a seed of its own for the initial weights and the order of the examples.
"""

import itertools
import shutil
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import click
import harness

from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.pipeline.configs import BEAM_ARGS, FULL_SCHEDULE, SHORT_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.datasets import Dataset, open_data_set

SPAN = 1
VARIANTS = ("stock", "stock_tuned", "feeder")
_EXAMPLES = "examples"
"""Variant that prepares the Examples of the stock pipelines."""
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
@harness.options(repeats=5)
def main(full: bool, repeats: int, quick: bool, only: str | None, work_dir: Path | None) -> None:
    schedule = FULL_SCHEDULE if full else SHORT_SCHEDULE
    if quick:
        schedule = Schedule([(0.01, 16, 1), (0.005, 32, 1)], steps_per_epoch=5)
    if only:
        assert work_dir is not None
        if only == _EXAMPLES:
            _write_examples(open_data_set("digits", work_dir), work_dir)
            harness.emit({})
        else:
            harness.emit(_measure(only, work_dir, schedule))
        return
    with tempfile.TemporaryDirectory() as folder:
        harness.in_fresh_process(__file__, _EXAMPLES, Path(folder))
        samples = harness.in_turn(__file__, VARIANTS, repeats, Path(folder), quick=quick)
    _report(samples, f"digits, span {SPAN}, {schedule}")


def _measure(variant: str, work_dir: Path, schedule: Schedule) -> dict[str, Any]:
    data, sample = open_data_set("digits", work_dir), {}
    with tempfile.TemporaryDirectory() as root:
        if variant == "feeder":
            pipeline = _reference_pipeline(data, Path(root), schedule)
        else:
            tuned = variant == "stock_tuned"
            examples = work_dir / _EXAMPLES
            pipeline = _stock_pipeline(data, examples, Path(root), schedule, tuned=tuned)
        sample["import wall"] = time.perf_counter() - _BEGIN
        _run(pipeline, sample)
        sample["accuracy"] = _accuracy(Path(root))
    return sample


# TFX is imported below and not above, because what that takes is a part of a process's time.


def _reference_pipeline(data: Dataset, root: Path, schedule: Schedule) -> Any:
    from tfx_feeder.pipeline.pipeline import create_pipeline

    seed = harness.round_number()
    config = PipelineConfig(data, root, span=SPAN, schedule=schedule, seed=seed)
    config.workspace.prepare()
    return create_pipeline(config)


def _stock_pipeline(
    data: Dataset, examples: Path, root: Path, schedule: Schedule, *, tuned: bool
) -> Any:
    from stock_pipeline import create_pipeline

    beam_args = list(BEAM_ARGS) if tuned else []
    return create_pipeline(
        data,
        examples,
        root,
        schedule,
        seed=harness.round_number(),
        beam_args=beam_args,
        transform_statistics=not tuned,
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


def _write_examples(data: Dataset, work_dir: Path) -> None:
    """Writes the Examples of the reference pipeline into a folder for each split."""
    from tfx import v1 as tfx
    from tfx.orchestration.pipeline import RunOptions

    with tempfile.TemporaryDirectory() as root:
        pipeline = _reference_pipeline(data, Path(root), SHORT_SCHEDULE)
        only = RunOptions(to_nodes=["ImageExampleGen"])
        tfx.orchestration.LocalDagRunner().run(pipeline, run_options=only)
        [folder] = Path(root).glob("**/ImageExampleGen/examples/*")
        shutil.copytree(folder, work_dir / _EXAMPLES)


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
    rows = [
        (name, _spread(taken, "accuracy", ".4f"), _spread(taken, "peak_rss_mib", ",.0f"))
        for name, taken in samples.items()
    ]
    title = f"median (lowest to highest) of {len(feeder)} seeds"
    harness.show(title, ("pipeline", "accuracy", "peak MiB"), rows)
    for competitor in VARIANTS[:-1]:
        wall, cpu = (
            harness.ratios(feeder, samples[competitor], f"run() {k}") for k in ("wall", "cpu")
        )
        print(f"CPU seconds of run(), feeder to {competitor}: {harness.describe(cpu)}")
        print(f"ratio {harness.describe(wall)}: wall time of run(), feeder to {competitor}")


def _spread(samples: list[harness.Sample], figure: str, layout: str) -> str:
    values = [sample[figure] for sample in samples]
    median, low, high = statistics.median(values), min(values), max(values)
    return f"{median:{layout}} ({low:{layout}} to {high:{layout}})"


if __name__ == "__main__":
    main()
