"""Drift between two data sets, from their statistics alone.

A feature drifted if the difference is significant among all tests (Benjamini–Hochberg) and its
distance exceeds by a threshold what chance makes one expect. Either alone misleads: a distance of
few examples is noise, and among many examples a difference that does not matter is significant.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.multiple_testing import benjamini_hochberg
from tfx_feeder.components.slice_gen.category_counts import (
    HomogeneityTest,
    chi_squared,
    compare_categories,
    is_complete,
    listed_fractions,
)
from tfx_feeder.components.slice_gen.distances import L_INFINITY, distance
from tfx_feeder.components.slice_gen.noise_floors import jensen_shannon_floor, l_infinity_floor
from tfx_feeder.components.slice_gen.number_histograms import (
    compare_numbers,
    quantile_divergence,
    range_effect,
)
from tfx_feeder.schemas.drift_report import (
    BETWEEN_SPANS,
    DRIFT,
    MISSING,
    NO_DRIFT,
    NOT_TESTED,
    PRESENCE,
    VALUES,
    DriftReport,
    FeatureDrift,
)
from tfx_feeder.schemas.statistics import FeatureStatistics, SplitStatistics

_NAMED = 3
"""Number of absent values that a reason names."""


@dataclass(frozen=True, slots=True)
class DriftOptions:
    """Options of a comparison.

    Args:
        l_infinity: Difference in the frequency of a category, above the noise floor, that does not
            matter.
        jensen_shannon: Divergence of the distribution of a number, in bits, above the noise floor,
            that does not matter.
        error_rate: False discovery rate over the features, 0 to 1; the probability of any alarm if
            nothing drifted.
        min_class: Smallest fraction of a value whose absence is drift, however small the distance.
        features: Names of the features to compare; empty for all.
        excluded: Names of features that are not compared, such as keys and time stamps.

    Raises:
        ConfigError: A value is out of range.
    """

    l_infinity: float = 0.02
    jensen_shannon: float = 0.01
    error_rate: float = 0.05
    min_class: float = 0.005
    features: tuple[str, ...] = ()
    excluded: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        for name in ("l_infinity", "jensen_shannon", "error_rate", "min_class"):
            if not 0 < getattr(self, name) < 1:
                raise ConfigError(name, received=getattr(self, name), expected="between 0 and 1")


def compare_statistics(
    current: SplitStatistics,
    baseline: SplitStatistics,
    options: DriftOptions = DriftOptions(),
    *,
    kind: str = BETWEEN_SPANS,
) -> DriftReport:
    """Compares the distribution of each feature.

    The numbers of examples are those that the statistics were computed from: if they are of a
    sample, the size of the sample. Weights are ignored, and the values of one example count as one.

    Args:
        current: Statistics of the current data.
        baseline: Statistics of the data to compare with.
        options: Options of the comparison.
        kind: ``drift`` or ``serving_skew``.
    """
    sides = {s.name: s for s in baseline.features} | {s.name: s for s in current.features}
    names = [
        name
        for name in sides
        if (not options.features or name in options.features) and name not in options.excluded
    ]
    lines = [line for name in names for line in _Feature(name, current, baseline, options).lines()]
    return DriftReport(
        kind=kind,
        current=current.split,
        baseline=baseline.split,
        current_examples=current.examples,
        baseline_examples=baseline.examples,
        error_rate=options.error_rate,
        features=_judged(lines, options),
    )


@dataclass(frozen=True, slots=True)
class _Line:
    """Comparison that has not been corrected for the others yet.

    Args:
        row: Row of the report.
        absent: Reason why the absence of a value counts; empty if none is absent.
    """

    row: FeatureDrift
    absent: str = ""


class _Feature:
    """Feature of two data sets."""

    def __init__(
        self, name: str, current: SplitStatistics, baseline: SplitStatistics, options: DriftOptions
    ) -> None:
        self._name, self._options = name, options
        self._examples = (current.examples, baseline.examples)
        self._sides = tuple(
            side.feature(name) or FeatureStatistics(name, "bytes", 100.0)
            for side in (current, baseline)
        )
        self._present = tuple(_present(side) for side in self._sides)

    def lines(self) -> Iterator[_Line]:
        """Yields the comparisons of the feature."""
        current, baseline = self._present
        if not all(self._examples):
            side = "current data" if not self._examples[0] else "baseline"
            yield _Line(self._row(NOT_TESTED, f"the {side} has no examples"))
        elif not current and not baseline:
            yield _Line(self._row(NOT_TESTED, "no example has a value"))
        elif not current:
            yield _Line(self._row(MISSING, "missing in the current data"))
        elif not baseline:
            yield _Line(self._row(MISSING, "absent in the baseline"))
        else:
            yield self._values()
            if self._present != self._examples:
                yield self._presence()

    def _row(self, verdict: str, reason: str, **values: object) -> FeatureDrift:
        kinds = [s.kind for s, n in zip(self._sides, self._present, strict=True) if n]
        return FeatureDrift(
            **{
                "feature": self._name,
                "aspect": VALUES,
                "kind": kinds[0] if kinds else "bytes",
                "current_examples": self._present[0],
                "baseline_examples": self._present[1],
                "verdict": verdict,
                "reason": reason,
                **values,
            }  # type: ignore[arg-type]
        )

    def _values(self) -> _Line:
        current, baseline = self._sides
        found = distance(current, baseline)
        if current.kind != baseline.kind:
            text = f"a {current.kind} in the current data, a {baseline.kind} in the baseline"
            return _Line(self._row(NOT_TESTED, text))
        if found is None:
            return _Line(self._row(NOT_TESTED, "the statistics hold no distribution of its values"))
        sizes = self._independent()
        if found.measure == L_INFINITY:
            result = compare_categories(current, baseline, sizes)
            value, threshold = found.value, self._options.l_infinity
            floor = l_infinity_floor(current.fractions, baseline.fractions, sizes)
        else:
            result = compare_numbers(current, baseline, sizes)
            value, threshold = found.value, self._options.jensen_shannon
            by_range = range_effect(current, baseline)
            floor = jensen_shannon_floor(current.buckets, baseline.buckets, sizes) + by_range
            by_quantiles = quantile_divergence(current, baseline, sizes)
            if by_range > threshold / 2 and by_quantiles:
                value, floor = by_quantiles
        return _Line(
            self._tested(result, found.measure, value, min(1.0, floor), threshold),
            self._absent_values(sizes),
        )

    def _presence(self) -> _Line:
        fractions = [
            (("present", n / total), ("missing", 1 - n / total))
            for n, total in zip(self._present, self._examples, strict=True)
        ]
        n1, n2 = (float(n) for n in self._examples)
        row = self._tested(
            chi_squared(
                [n1 * share for _, share in fractions[0]],
                [n2 * share for _, share in fractions[1]],
            ),
            L_INFINITY,
            abs(fractions[0][0][1] - fractions[1][0][1]),
            l_infinity_floor(fractions[0], fractions[1], (n1, n2)),
            self._options.l_infinity,
        )
        examples = {"current_examples": self._examples[0], "baseline_examples": self._examples[1]}
        return _Line(replace(row, aspect=PRESENCE, **examples))

    def _tested(
        self, result: HomogeneityTest, measure: str, value: float, floor: float, threshold: float
    ) -> FeatureDrift:
        return self._row(
            NO_DRIFT if result.p_value is not None else NOT_TESTED,
            "" if result.p_value is not None else "too few examples of any value",
            test=result.test,
            p_value=result.p_value,
            measure=measure,
            distance=value,
            noise_floor=floor,
            threshold=threshold,
        )

    def _independent(self) -> tuple[float, float]:
        """Returns the numbers of independent values: one for each example at most."""
        one, other = (
            min(n, s.counted or n) for n, s in zip(self._present, self._sides, strict=True)
        )
        return one, other

    def _absent_values(self, sizes: tuple[float, float]) -> str:
        """Describes values that one side lacks, though not by chance."""
        sides, texts = self._sides, []
        if sides[0].kind != "category":
            return ""
        listed = [listed_fractions(side) for side in sides]
        for missing, has, where in ((0, 1, "current data"), (1, 0, "baseline")):
            gone = {
                value: share
                for value, share in listed[has].items()
                if value not in listed[missing] and share >= self._options.min_class
            }
            tests = max(1, len(listed[has]))
            gone = {
                value: share
                for value, share in gone.items()
                if tests * (1 - share) ** sizes[missing] < self._options.error_rate
            }
            if gone and is_complete(sides[missing]):
                names = sorted(gone, key=lambda value: (-gone[value], value))
                shown = ", ".join(f"{name!r} ({gone[name]:.1%})" for name in names[:_NAMED])
                more = f" and {len(names) - _NAMED} more" if len(names) > _NAMED else ""
                texts.append(f"absent in the {where}: {shown}{more}")
        return "; ".join(texts)


def _present(feature: FeatureStatistics) -> int:
    """Returns the number of examples with a value that is not NaN."""
    if feature.kind == "number" and feature.values:
        # Without NaN, the histogram covers all values.
        return round(feature.present * min(1.0, feature.counted / feature.values))
    return feature.present


def _judged(lines: list[_Line], options: DriftOptions) -> tuple[FeatureDrift, ...]:
    tested = [line.row.p_value for line in lines if line.row.p_value is not None]
    adjusted = iter(benjamini_hochberg(tested))
    rows = [
        _verdict(line, float(next(adjusted)), options) if line.row.p_value is not None else line.row
        for line in lines
    ]
    return tuple(sorted(rows, key=lambda row: (row.verdict != DRIFT, -row.excess)))


def _verdict(line: _Line, adjusted: float, options: DriftOptions) -> FeatureDrift:
    row = replace(line.row, adjusted_p_value=adjusted)
    threshold, above = row.threshold or 0.0, (row.distance or 0.0) - (row.noise_floor or 0.0)
    what = f"{row.measure} {row.distance:.3g}"
    what += f", {above:.3g} above the noise" if above > 0 else ", within the noise"
    if row.aspect == PRESENCE:
        what = f"fraction of examples with a value: {what}"
    if adjusted >= options.error_rate:
        reason = f"{what}; by chance with p = {adjusted:.2g} after correction"
        return replace(row, verdict=NO_DRIFT, reason=reason)
    significant = f"p = {adjusted:.2g} after correction"
    if above > threshold:
        reason = "; ".join(filter(None, (line.absent, f"{what}, limit {threshold:g}", significant)))
        return replace(row, verdict=DRIFT, reason=reason)
    if line.absent:
        return replace(row, verdict=DRIFT, reason=f"{line.absent}; {significant}")
    reason = f"{what}, limit {threshold:g}; real ({significant}), but too small to matter"
    return replace(row, verdict=NO_DRIFT, reason=reason)
