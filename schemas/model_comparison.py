"""Results of two models in an evaluation: paired counts and sums per slice.

``eval_gate.tfma_metrics`` makes the Evaluator write them beside the metrics, as arrays whose names
start with ``paired_``. Readers of scalar metrics skip arrays.
"""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.schemas.evaluation import (
    EXAMPLE_COUNT,
    metric_name,
    scalar_value,
    slice_key,
    slice_name,
    slice_order,
)
from tfx_feeder.schemas.tfma import read_metrics

PAIRED_PREFIX = "paired_"
"""Start of the names of the arrays; the rest is the name of the metric."""
_BASELINE = "baseline"
_PAIRED_ANSWERS, _ANSWERS = 4, 2
_PAIRED_SUMS, _SUMS = 5, 3


@dataclass(frozen=True, slots=True)
class AnswerCounts:
    """Right and wrong answers to the examples of a slice.

    Args:
        both: Examples that both models answer right; without a baseline, that the candidate does.
        candidate_only: Examples that only the candidate answers right.
        baseline_only: Examples that only the baseline answers right.
        neither: Examples that both models answer wrong; without a baseline, that the candidate
            does.
        paired: False if there is no baseline.
    """

    both: int
    candidate_only: int
    baseline_only: int
    neither: int
    paired: bool = True

    @property
    def examples(self) -> int:
        """Number of examples."""
        return self.both + self.candidate_only + self.baseline_only + self.neither

    @property
    def right(self) -> int:
        """Number of examples that the candidate answers right."""
        return self.both + self.candidate_only


@dataclass(frozen=True, slots=True)
class MeasureSums:
    """Means and variances of a per-example measure, such as a loss.

    Args:
        examples: Number of examples.
        candidate: Mean of the candidate.
        candidate_variance: Sample variance of the candidate.
        baseline: Mean of the baseline; ``None`` without one.
        difference_variance: Sample variance of candidate minus baseline; ``None`` without one.
    """

    examples: int
    candidate: float
    candidate_variance: float
    baseline: float | None = None
    difference_variance: float | None = None


@dataclass(frozen=True, slots=True)
class Estimate:
    """Value with the standard error that TFMA computed by jackknife or bootstrap.

    Args:
        value: Value on all examples of the slice.
        error: Standard error.
        freedom: Degrees of freedom of the t-distribution.
    """

    value: float
    error: float
    freedom: int


@dataclass(frozen=True, slots=True)
class ComparedSlice:
    """Results of both models on one slice.

    Args:
        name: Name of the slice, such as ``form 3`` or ``all examples``.
        columns: Columns by which the examples were selected; empty for all examples, and
            ``evaluation_slices`` for a slice of annotated examples.
        examples: Number of examples; ``None`` if they were not counted.
        candidate: Scalar metrics of the candidate.
        baseline: Scalar metrics of the baseline.
        answers: Right and wrong answers, by metric.
        sums: Means and variances, by metric.
        estimates: Metrics of the candidate that have a standard error.
        differences: Differences, candidate minus baseline, that have a standard error.
    """

    name: str
    columns: tuple[str, ...] = ()
    examples: int | None = None
    candidate: Mapping[str, float] = field(default_factory=dict)
    baseline: Mapping[str, float] = field(default_factory=dict)
    answers: Mapping[str, AnswerCounts] = field(default_factory=dict)
    sums: Mapping[str, MeasureSums] = field(default_factory=dict)
    estimates: Mapping[str, Estimate] = field(default_factory=dict)
    differences: Mapping[str, Estimate] = field(default_factory=dict)

    @property
    def metrics(self) -> tuple[str, ...]:
        """Names of all metrics of the candidate, sorted."""
        return tuple(sorted({*self.candidate, *self.answers, *self.sums}))

    @property
    def has_baseline(self) -> bool:
        """True if the baseline was evaluated."""
        return (
            bool(self.baseline)
            or any(counts.paired for counts in self.answers.values())
            or any(sums.baseline is not None for sums in self.sums.values())
        )


def read_comparison(folder: Path) -> tuple[ComparedSlice, ...]:
    """Reads both models' results from an evaluation.

    Args:
        folder: Folder of the ``ModelEvaluation`` artifact.

    Returns:
        The slices: all examples first, then in order.

    Raises:
        DataError: The evaluation cannot be read.
    """
    return from_messages(read_metrics(folder))


def from_messages(messages: Iterable[Any]) -> tuple[ComparedSlice, ...]:
    """Converts ``MetricsForSlice`` messages; comparisons of one slice with another are skipped.

    Args:
        messages: Messages, one per slice.
    """
    single = (message for message in messages if not message.HasField("cross_slice_key"))
    in_order = sorted(single, key=lambda message: slice_order(slice_key(message)))
    by_name: dict[str, ComparedSlice] = {}
    for found in map(_compared, in_order):
        # The same slice may be declared by columns and be annotated as well.
        by_name.setdefault(found.name, found)
    return tuple(by_name.values())


def _compared(message: Any) -> ComparedSlice:
    candidate, baseline, answers, sums = {}, {}, {}, {}
    estimates, differences = {}, {}
    for pair in message.metric_keys_and_values:
        name, number = metric_name(pair.key), scalar_value(pair.value)
        if number is None:
            metric, array = name.removeprefix(PAIRED_PREFIX), pair.value.array_value
            if metric == name or pair.key.model_name == _BASELINE:
                continue
            if array.int64_values:
                answers[metric] = _answers(array.int64_values)
            elif array.float64_values:
                sums[metric] = _sums(array.float64_values)
            continue
        estimate = _estimate(pair, number)
        if pair.key.is_diff:
            if estimate:
                differences[name] = estimate
        elif pair.key.model_name == _BASELINE:
            baseline[name] = number
        else:
            candidate[name] = number
            if estimate:
                estimates[name] = estimate
    counted = candidate.pop(EXAMPLE_COUNT, None)
    baseline.pop(EXAMPLE_COUNT, None)
    key = slice_key(message)
    return ComparedSlice(
        name=slice_name(key),
        columns=tuple(column for column, _ in key),
        examples=next(_examples(answers, sums, counted), None),
        candidate=candidate,
        baseline=baseline,
        answers=answers,
        sums=sums,
        estimates=estimates,
        differences=differences,
    )


def _examples(
    answers: Mapping[str, AnswerCounts], sums: Mapping[str, MeasureSums], counted: float | None
) -> Iterator[int]:
    if counted is not None and math.isfinite(counted):
        yield round(counted)
    for counts in (*answers.values(), *sums.values()):
        yield counts.examples


def _answers(cells: Sequence[int]) -> AnswerCounts:
    if len(cells) == _PAIRED_ANSWERS:
        both, candidate_only, baseline_only, neither = map(int, cells)
        return AnswerCounts(both, candidate_only, baseline_only, neither)
    right, wrong = map(int, cells[:_ANSWERS])
    return AnswerCounts(right, 0, 0, wrong, paired=False)


def _sums(values: Sequence[float]) -> MeasureSums:
    examples, candidate, variance, *of_baseline = values
    return MeasureSums(int(examples), candidate, variance, *of_baseline)


def _estimate(pair: Any, value: float) -> Estimate | None:
    if not pair.HasField("confidence_interval"):
        return None
    interval = pair.confidence_interval
    error, freedom = scalar_value(interval.standard_error), interval.degrees_of_freedom.value
    if error is None or not math.isfinite(error) or freedom < 1:
        return None
    return Estimate(value, error, int(freedom))
