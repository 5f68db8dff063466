"""Both models on every slice, whether or not a rule of the gate applies to it."""

from collections.abc import Iterator, Sequence

from tfx_feeder.components.eval_gate.evidence import judge_floor, judge_margin
from tfx_feeder.components.eval_gate.gate import LOWER, Gate
from tfx_feeder.schemas.gate_report import SliceComparison
from tfx_feeder.schemas.model_comparison import ComparedSlice


def compare_slices(slices: Sequence[ComparedSlice], gate: Gate) -> Iterator[SliceComparison]:
    """Yields the values of the gate's metrics on each slice, with their intervals.

    Args:
        slices: Results of both models.
        gate: Options that name the metrics.
    """
    for found in slices:
        for metric in (name for name in gate.metrics if name in found.metrics):
            lower = gate.metrics[metric] == LOWER
            # The intervals do not depend on the thresholds.
            alone = judge_floor(found, metric, 0.0, lower=lower)
            both = judge_margin(found, metric, 0.0, lower=lower)
            baseline = both.baseline if both else None
            yield SliceComparison(
                slice=found.name,
                metric=metric,
                examples=found.examples,
                candidate=alone.candidate,
                candidate_low=alone.low,
                candidate_high=alone.high,
                baseline=baseline,
                difference=None if baseline is None else alone.candidate - baseline,
                low=both.low if both else None,
                high=both.high if both else None,
                method=(both or alone).method,
            )
