"""What a training did, as rows of data sets."""

import math
from collections.abc import Sequence
from typing import TypeVar

from tfx_feeder.pipeline.report.charts.base import Rows, number
from tfx_feeder.schemas.training_history import History

MOST_POINTS = 1_000
"""Epochs that are drawn; of longer trainings, some in even distances."""
VALIDATION = "val_"
_LEAST_LABELLED = 1 / 30
"""Share of the axis from which on a phase has its number on it."""

T = TypeVar("T")


def metric_names(histories: Sequence[History]) -> list[str]:
    """Returns the metrics of trainings without those of the validation, the loss first."""
    names = {
        name.removeprefix(VALIDATION): None
        for history in histories
        for row in history.epochs
        for name in row.metrics
    }
    return sorted(names, key=lambda name: name != "loss")


def thinned(rows: Sequence[T], most: int = MOST_POINTS) -> list[T]:
    """Returns some of the rows in even distances, the last one always."""
    step = math.ceil(len(rows) / most) or 1
    return [*rows[:-1:step], *rows[-1:]]


def epoch_rows(
    history: History, metrics: Sequence[str], run: str = "", most: int = MOST_POINTS
) -> Rows:
    """Returns the epochs as rows of a data set.

    Args:
        history: Of the training.
        metrics: Names that the columns ``m0``, ``m1`` stand for; ``v0`` are of the validation.
        run: Label of the run.
        most: Rows at most, about.
    """
    rows = []
    for epoch in thinned(history.epochs, most):
        row = {
            "run": run,
            "x": epoch.examples_seen,
            "epoch": epoch.epoch + 1,
            "phase": epoch.phase + 1,
            "rate": number(epoch.learning_rate),
            "batch": epoch.global_batch_size,
            "noise": number(epoch.noise_scale),
            "speed": number(epoch.examples_per_s),
            "wait": number(epoch.input_wait_pct),
            "p50": number(epoch.step_ms_p50),
            "p95": number(epoch.step_ms_p95),
        }
        for index, name in enumerate(metrics):
            row[f"m{index}"] = number(epoch.metrics.get(name))
            row[f"v{index}"] = number(epoch.metrics.get(VALIDATION + name))
        rows.append(row)
    return rows


def setting_rows(history: History, run: str = "", most: int = MOST_POINTS) -> Rows:
    """Returns where learning rate or batch size changed, and to what."""
    rows: Rows = []
    begin, before = 0, None
    for epoch in history.epochs:
        setting = {"rate": number(epoch.learning_rate), "batch": epoch.global_batch_size}
        if setting != before:
            rows.append({"run": run, "epoch": epoch.epoch + 1, "x": begin, **setting})
        begin, before = epoch.examples_seen, setting
    return [*thinned(rows, most), {**rows[-1], "x": begin}] if rows else []


def phase_rows(history: History) -> Rows:
    """Returns the phases as stretches of the axis; those that are long enough have a label."""
    rows, begin = [], 0
    whole = sum(phase.examples for phase in history.phases)
    for phase in history.phases:
        end = begin + phase.examples
        rows.append(
            {
                "phase": phase.phase + 1,
                "label": f"{phase.phase + 1}" if phase.examples > whole * _LEAST_LABELLED else "",
                "begin": begin,
                "end": end,
                "reason": phase.reason,
                "batch": phase.global_batch_size,
                "rate": number(phase.learning_rate),
                "device": number(phase.device_ceiling),
                "input": number(phase.input_ceiling),
            }
        )
        begin = end
    return rows
