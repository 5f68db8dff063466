"""Chart data sets from training histories."""

import math
from collections.abc import Sequence
from typing import TypeVar

from tfx_feeder.pipeline.report.charts.base import Rows, finite
from tfx_feeder.schemas.training_history import History

MAX_POINTS = 1_000
"""Maximum number of drawn epochs; longer trainings are subsampled."""
VALIDATION = "val_"
_MIN_LABELED = 1 / 30
"""Smallest fraction of the axis for which a phase gets a label."""

T = TypeVar("T")


def metric_names(histories: Sequence[History]) -> list[str]:
    """Returns the names of the training metrics, the loss first."""
    names = {
        name.removeprefix(VALIDATION): None
        for history in histories
        for row in history.epochs
        for name in row.metrics
    }
    return sorted(names, key=lambda name: name != "loss")


def subsample(rows: Sequence[T], max_points: int = MAX_POINTS) -> list[T]:
    """Returns rows at even distances, always including the last one.

    Args:
        rows: Rows in order.
        max_points: Approximate maximum number of returned rows.
    """
    step = math.ceil(len(rows) / max_points) or 1
    return [*rows[:-1:step], *rows[-1:]]


def epoch_rows(
    history: History, metrics: Sequence[str], run: str = "", max_points: int = MAX_POINTS
) -> Rows:
    """Returns the epochs as rows of a data set.

    Args:
        history: Training history.
        metrics: Metrics of the columns ``m0``, ``m1`` …; ``v0`` … are validation metrics.
        run: Label of the run.
        max_points: Approximate maximum number of rows.
    """
    rows = []
    for epoch in subsample(history.epochs, max_points):
        row = {
            "run": run,
            "x": epoch.examples_seen,
            "epoch": epoch.epoch + 1,
            "phase": epoch.phase + 1,
            "rate": finite(epoch.learning_rate),
            "batch": epoch.global_batch_size,
            "noise": finite(epoch.noise_scale),
            "speed": finite(epoch.examples_per_s),
            "wait": finite(epoch.input_wait_pct),
            "p50": finite(epoch.step_ms_p50),
            "p95": finite(epoch.step_ms_p95),
        }
        for index, name in enumerate(metrics):
            row[f"m{index}"] = finite(epoch.metrics.get(name))
            row[f"v{index}"] = finite(epoch.metrics.get(VALIDATION + name))
        rows.append(row)
    return rows


def setting_rows(history: History, run: str = "", max_points: int = MAX_POINTS) -> Rows:
    """Returns a row for each change of the learning rate or batch size.

    Args:
        history: Training history.
        run: Label of the run.
        max_points: Approximate maximum number of rows.
    """
    rows: Rows = []
    begin, before = 0, None
    for epoch in history.epochs:
        setting = {"rate": finite(epoch.learning_rate), "batch": epoch.global_batch_size}
        if setting != before:
            rows.append({"run": run, "epoch": epoch.epoch + 1, "x": begin, **setting})
        begin, before = epoch.examples_seen, setting
    return [*subsample(rows, max_points), {**rows[-1], "x": begin}] if rows else []


def phase_rows(history: History) -> Rows:
    """Returns the phases as intervals of the x-axis; long phases get a label."""
    rows, begin = [], 0
    total = sum(phase.examples for phase in history.phases)
    for phase in history.phases:
        end = begin + phase.examples
        rows.append(
            {
                "phase": phase.phase + 1,
                "label": f"{phase.phase + 1}" if phase.examples > total * _MIN_LABELED else "",
                "begin": begin,
                "end": end,
                "reason": phase.reason,
                "batch": phase.global_batch_size,
                "rate": finite(phase.learning_rate),
                "device": finite(phase.device_ceiling),
                "input": finite(phase.input_ceiling),
            }
        )
        begin = end
    return rows
