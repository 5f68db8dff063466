r"""Every distribution strategy on two devices or processes of this machine, against sequential.

On one processor they share the cores that a sequential training has alone, so that the ratio is
what distribution costs, not what it gains.

\b
(no option)  one constant phase: speed, and loss and accuracy at equal examples; mirrored also
             against fit() under MirroredStrategy
--converge   the reference pipeline's short schedule: accuracy at equal examples, and how many
             more epochs an asynchronous strategy takes
--staleness  asynchronous parameter servers with and without their corrections: loss and accuracy
             at equal examples
--predict    what a probe predicts of three schedules, against the training that follows
"""

import contextlib
import dataclasses
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import click
import distributed
import harness
import reference

from tfx_feeder.components.feeder_trainer.distribution.fit import open_fit_context, run
from tfx_feeder.components.feeder_trainer.distribution.options import Auto
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.strategy_selection.select import select
from tfx_feeder.pipeline.configs import FULL_SCHEDULE, SHORT_SCHEDULE

BASELINE = "sequential"
DISTRIBUTED = [name for name in STRATEGIES if name not in (BASELINE, "tpu")]
LEARNING_RATE = 0.005  # At 0.01, large batches of this task now and then fall back to chance.
POINT = 0.01
"""Of accuracy: as near as a strategy has to come to sequential."""
FIGURES = {
    "examples_per_s": ",.0f",
    "cpu_us_per_example": ",.0f",
    "loss": ".4f",
    "accuracy": ".4f",
    "start_s": ".1f",
}
QUICK = Schedule.from_value("0.01:16x2 @2")
SCHEDULES = {
    "short": SHORT_SCHEDULE,
    "middle": Schedule(FULL_SCHEDULE.phases, steps_per_epoch=40),
    "full": FULL_SCHEDULE,
}
"""To predict: that of a trial, that of a real training, and one in between."""


@click.command(help=__doc__)
@click.option("--data", type=click.Choice(reference.DATA), default="digits", show_default=True)
@click.option("--batch", default=512, show_default=True, help="Global batch size.")
@click.option("--examples", default=12_800, show_default=True, help="In each of three epochs.")
@click.option(
    "--strategy", "named", multiple=True, type=click.Choice(DISTRIBUTED), help="Only these."
)
@click.option("--converge", "part", flag_value="converge", help="Compare accuracies.")
@click.option("--staleness", "part", flag_value="staleness", help="Compare corrections.")
@click.option("--predict", "part", flag_value="predict", help="Compare predictions.")
@click.option(
    "--more-epochs", default=5, show_default=True, help="Limit for asynchronous strategies."
)
@click.option(
    "--schedule", "schedules", multiple=True, type=click.Choice(list(SCHEDULES)), help="To predict."
)
@harness.options(repeats=3)
def main(
    data: str,
    batch: int,
    examples: int,
    named: Sequence[str],
    part: str | None,
    more_epochs: int,
    schedules: Sequence[str],
    repeats: int,
    quick: bool,
    only: str | None,
    work_dir: Path | None,
) -> None:
    speed = Schedule([(LEARNING_RATE, batch, 3)], steps_per_epoch=max(2, examples // batch))
    if only:
        assert work_dir is not None
        if part == "predict":
            harness.emit(_predict(work_dir, QUICK if quick else SCHEDULES[only]))
        elif part == "converge":
            harness.emit(_converge(work_dir, only, QUICK if quick else SHORT_SCHEDULE, more_epochs))
        else:
            harness.emit(_speed(work_dir, only, QUICK if quick else speed))
        return
    strategies = [name for name in DISTRIBUTED if not named or name in named]
    variants = [BASELINE, *strategies]
    if part == "predict":
        variants = list(schedules) or list(SCHEDULES)
    elif part == "staleness":
        variants = [BASELINE, *distributed.CORRECTIONS]
    elif part is None and "mirrored" in strategies:
        variants += distributed.FEEDS
    with tempfile.TemporaryDirectory() as folder:
        reference.write_records(data, Path(folder))
        samples = harness.in_turn(__file__, variants, repeats, Path(folder), quick=quick)
    if part == "predict":
        _report_predictions(samples)
    elif part == "converge":
        _report_accuracies(samples, data)
    else:
        _report_speed(samples, f"{data}, batch {batch}")


def _speed(folder: Path, variant: str, schedule: Schedule) -> dict[str, Any]:
    if variant in distributed.FEEDS:
        training = distributed.fit(variant, folder, schedule)
    else:
        training = _train(folder, variant, schedule)
    # The first epoch warms up: it is traced in it.
    warm = training.epochs[1:]
    examples = sum(epoch.examples for epoch in warm)
    return {
        "examples_per_s": examples / sum(epoch.seconds for epoch in warm),
        "cpu_us_per_example": 1e6 * sum(epoch.cpu_s for epoch in warm) / examples,
        "loss": warm[-1].loss,
        "accuracy": warm[-1].accuracy,
        "start_s": training.start_s,
    }


def _converge(folder: Path, variant: str, schedule: Schedule, more_epochs: int) -> dict[str, Any]:
    epochs = sum(phase.length.amount for phase in schedule.phases)
    if not STRATEGIES[variant].synchronous:
        *phases, last = ((p.learning_rate, p.batch_size, p.length.amount) for p in schedule.phases)
        longer = (*last[:-1], last[-1] + more_epochs)
        schedule = Schedule([*phases, longer], steps_per_epoch=schedule.steps_per_epoch)
    training = _train(folder, variant, schedule)
    return {
        "loss": training.epochs[epochs - 1].loss,
        "accuracies": [epoch.accuracy for epoch in training.epochs[epochs - 1 :]],
    }


def _train(folder: Path, variant: str, schedule: Schedule) -> distributed.Training:
    with tempfile.TemporaryDirectory() as work_dir:
        strategy = distributed.strategy(variant)
        spec = distributed.fit_spec(folder, strategy, schedule, Path(work_dir))
        return distributed.train(spec, Path(work_dir))


def _predict(folder: Path, schedule: Schedule) -> dict[str, float]:
    with contextlib.ExitStack() as stack:
        work_dir = stack.enter_context(tempfile.TemporaryDirectory())
        auto = distributed.fit_spec(folder, Auto(candidates=(BASELINE,)), schedule, Path(work_dir))
        # The Trainer also trains in the context that was opened for profiling.
        spec = dataclasses.replace(auto, strategy=distributed.strategy(BASELINE))
        context = stack.enter_context(open_fit_context(spec))
        begin = time.perf_counter()
        prediction = select(
            auto, context, lambda: 0.0, log_dir=work_dir, profile_dir=work_dir
        ).prediction
        selected = time.perf_counter()
        run(spec, context)
        measured_s = time.perf_counter() - selected
        (kept,) = Path(work_dir).glob("*.json")
        # Traced in the probe is not traced again, so that it is no loss.
        tracing_s = json.loads(kept.read_text())["start_s"]
    probe_s = selected - begin - tracing_s
    return {
        "predicted_s": prediction.seconds,
        "low_s": prediction.low_s,
        "high_s": prediction.high_s,
        "measured_s": measured_s,
        "tracing_s": tracing_s,
        "probe_s": probe_s,
        "to_measured": prediction.seconds / measured_s,
        "probe_pct": 100 * probe_s / prediction.seconds,
    }


def _report_speed(samples: harness.Samples, title: str) -> None:
    rows = [
        (
            name,
            *harness.medians(taken, FIGURES),
            *(
                harness.describe(harness.ratios(taken, samples[BASELINE], figure))
                for figure in ("examples_per_s", "cpu_us_per_example")
            ),
        )
        for name, taken in samples.items()
    ]
    columns = ("strategy", *FIGURES, "examples/s to sequential", "CPU to sequential")
    harness.show(title, columns, rows)
    for competitor in distributed.FEEDS:
        if competitor in samples:
            for figure in ("examples_per_s", "cpu_us_per_example"):
                ratio = harness.ratios(samples["mirrored"], samples[competitor], figure)
                print(f"{figure}, mirrored to {competitor}: {harness.describe(ratio)}")
    ratios = (
        f"{harness.describe(harness.ratios(samples[name], samples[BASELINE], 'examples_per_s'))} "
        f"{name}"
        for name in samples
        if name not in (BASELINE, *distributed.FEEDS)
    )
    print(f"ratio {', '.join(ratios)}: examples/s to sequential")


def _report_accuracies(samples: harness.Samples, data: str) -> None:
    rows, ratios = [], []
    for name, taken in samples.items():
        pairs = list(zip(taken, samples[BASELINE], strict=True))
        ours = [sample["accuracies"][0] for sample, _ in pairs]
        theirs = [baseline["accuracies"][0] for _, baseline in pairs]
        points = [100 * (a - b) for a, b in zip(ours, theirs, strict=True)]
        more = [_more_epochs(s["accuracies"], b) for (s, _), b in zip(pairs, theirs, strict=True)]
        rows.append(
            (
                name,
                *harness.medians(taken, {"loss": ".4f"}),
                _each(ours, ".4f"),
                _each(points, "+.1f"),
                ", ".join(more),
            )
        )
        if name != BASELINE:
            ratios.append(
                f"{harness.describe([a / b for a, b in zip(ours, theirs, strict=True)])} {name}"
            )
    columns = ("strategy", "loss", "accuracy", "points to sequential", "more epochs to 1 point")
    harness.show(f"{data}, {SHORT_SCHEDULE}", columns, rows)
    print(f"ratio {', '.join(ratios)}: validation accuracy at equal examples to sequential")


def _more_epochs(accuracies: Sequence[float], baseline: float) -> str:
    near = (n for n, value in enumerate(accuracies) if value >= baseline - POINT)
    return str(next(near, f"not in {len(accuracies) - 1}"))


def _each(values: Sequence[float], layout: str) -> str:
    return ", ".join(format(value, layout) for value in values)


def _report_predictions(samples: harness.Samples) -> None:
    layouts = {
        "predicted_s": ".1f",
        "low_s": ".1f",
        "high_s": ".1f",
        "measured_s": ".1f",
        "tracing_s": ".2f",
        "probe_s": ".2f",
        "probe_pct": ".1f",
    }
    ratios = {name: [s["to_measured"] for s in taken] for name, taken in samples.items()}
    rows = [
        (name, *harness.medians(taken, layouts), harness.describe(ratios[name]))
        for name, taken in samples.items()
    ]
    harness.show("sequential", ("schedule", *layouts, "predicted to measured"), rows)
    described = (f"{harness.describe(values)} {name}" for name, values in ratios.items())
    print(f"ratio {', '.join(described)}: predicted to measured")


if __name__ == "__main__":
    main()
