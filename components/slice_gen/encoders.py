"""Encoders from the values of a feature to the codes of its slices."""

import bisect
import decimal
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfx_feeder.components.slice_gen.conjunctions import REST
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.schemas.slices import MISSING, Remark
from tfx_feeder.schemas.statistics import FeatureStatistics, SplitStatistics

Value = bytes | int | float

_DIGITS = range(2, 18)
"""Significant digits of bounds; the fewest that suffice."""
_MOST_SHIFT = 0.005
"""Fraction of the range of a number by which a bound may be rounded."""
_PLACEHOLDERS = ("__LARGE_BYTES__",)
"""Stands in the statistics for values that are too long."""


class Encoder:
    """Encoder of one feature.

    Args:
        name: Name of the feature.
        values: Description of each code from 1. The last one stands for examples without a value;
            code 0 stands for all values that are no slice.
        multivalent: True if examples have several values.
        feature: Feature of an example with the values; empty if it has the same name.
    """

    def __init__(
        self, name: str, values: Sequence[str], multivalent: bool = False, feature: str = ""
    ) -> None:
        self.name = name
        self.feature = feature or name
        self.values = (*values, MISSING)
        self.multivalent = multivalent

    @property
    def missing(self) -> int:
        """Code of examples without a value."""
        return len(self.values)

    def codes(self, values: Sequence[Value]) -> tuple[int, ...]:
        """Returns the codes of an example.

        Args:
            values: Values of the feature in the example.
        """
        if len(values) == 1:
            return (self._code(values[0]),)
        return tuple(dict.fromkeys(map(self._code, values))) if values else (self.missing,)

    def _code(self, value: Value) -> int:
        raise NotImplementedError


class ValueEncoder(Encoder):
    """Encoder of values that are a slice each.

    Args:
        name: Name of the feature.
        lookup: Description of each value, in the order of the codes.
        multivalent: True if examples have several values.
        feature: Feature of an example with the values; empty if it has the same name.
    """

    def __init__(
        self,
        name: str,
        lookup: Mapping[Value, str],
        multivalent: bool = False,
        feature: str = "",
    ) -> None:
        super().__init__(name, list(lookup.values()), multivalent, feature)
        self.lookup = dict(lookup)
        self._codes = {value: code for code, value in enumerate(lookup, 1)}

    def _code(self, value: Value) -> int:
        return self._codes.get(value, REST)


class IntervalEncoder(Encoder):
    """Encoder of numbers by half-open intervals.

    Args:
        name: Name of the feature.
        bounds: Ascending bounds between the intervals.
        multivalent: True if examples have several values.
    """

    def __init__(self, name: str, bounds: Sequence[float], multivalent: bool = False) -> None:
        self.bounds = tuple(bounds)
        texts = [text if float(text := f"{b:.15g}") == b else repr(float(b)) for b in bounds]
        edges = zip(["-inf", *texts], [*texts, "inf"], strict=True)
        names = [f"{'(' if low == '-inf' else '['}{low}, {high})" for low, high in edges]
        super().__init__(name, names, multivalent)

    def _code(self, value: Value) -> int:
        if isinstance(value, bytes):
            return REST
        return self.missing if math.isnan(value) else bisect.bisect_right(self.bounds, value) + 1


@dataclass(frozen=True, slots=True)
class Encoders:
    """Encoders of the features of a data set.

    Args:
        encoders: Encoders by feature.
        remarks: Features that have no encoder, or whose rare values are no slice, by feature.
    """

    encoders: Mapping[str, Encoder]
    remarks: Mapping[str, Remark]


def make_encoders(
    statistics: SplitStatistics,
    options: SliceGenOptions,
    baseline: SplitStatistics | None = None,
) -> Encoders:
    """Makes the encoders of all features that can be sliced.

    Args:
        statistics: Statistics of the examples.
        options: Numbers of values and intervals.
        baseline: Statistics whose quantiles cut numbers into intervals, so that the names of the
            slices stay the same from one data set to the next.
    """
    encoders, remarks = {}, {}
    for feature in statistics.features:
        name = feature.name
        encoder, reason, count = None, "its values are no text or numbers", 0
        if feature.kind == "category":
            encoder, reason, count = _of_category(feature, options.max_values)
        elif feature.kind == "number":
            before = baseline.feature(name) if baseline else None
            encoder, reason = _of_number(feature, before, options)
        if encoder:
            encoders[name] = encoder
        if reason:
            remarks[name] = Remark(name, reason, count)
    return Encoders(encoders, remarks)


def interval_encoder(name: str, values: Sequence[float], intervals: int) -> IntervalEncoder | None:
    """Returns an encoder of groups of about equal size; ``None`` if all values are equal.

    Args:
        name: Name of the feature.
        values: Quantiles from minimum to maximum, at equal distances.
        intervals: Number of groups.
    """
    if len(values) < 2 or not all(map(math.isfinite, values)):
        return None
    last = len(values) - 1
    cuts = [_at(values, last * group / intervals) for group in range(1, intervals)]
    # An interval below the minimum would be empty.
    bounds = sorted({cut for cut in cuts if cut > values[0]})
    rounded = [bound for bound in _rounded(bounds, values[-1] - values[0]) if bound > values[0]]
    return IntervalEncoder(name, rounded) if rounded else None


def extended(encoder: Encoder, feature: FeatureStatistics | None, most: int) -> Encoder:
    """Returns an encoder that knows the values of other data as well.

    Args:
        encoder: Encoder of one feature.
        feature: Statistics of the feature in the other data; ``None`` if they lack it.
        most: Largest number of values of the other data.
    """
    if not isinstance(encoder, ValueEncoder) or feature is None:
        return encoder
    lookup = dict(encoder.lookup)
    if feature.kind == "category":
        other, *_ = _of_category(feature, most)
        lookup |= other.lookup if isinstance(other, ValueEncoder) else {}
    elif feature.kind == "number" and feature.minimum is not None and feature.maximum is not None:
        low, high = feature.minimum, feature.maximum
        if feature.integer and high - low < most:
            lookup |= {n: str(n) for n in range(int(low), int(high) + 1)}
    return ValueEncoder(encoder.name, lookup, encoder.multivalent or feature.most_values > 1)


def _at(values: Sequence[float], position: float) -> float:
    below = math.floor(position)
    part = position - below
    if not part:
        return values[below]
    return values[below] * (1 - part) + values[below + 1] * part


def _of_category(feature: FeatureStatistics, most: int) -> tuple[Encoder | None, str, int]:
    labels = [label for label, _ in feature.fractions if label not in _PLACEHOLDERS]
    lookup: dict[Value, str] = {}
    for label in labels[:most]:
        value = int(label) if feature.integer else label.encode()
        lookup[value] = label or "''"
    rest = (feature.unique or len(labels)) - len(lookup)
    reason = f"values beyond the {len(lookup)} most frequent ones are no slices" if rest > 0 else ""
    if not lookup:
        return None, "its values are too long", 0
    return ValueEncoder(feature.name, lookup, feature.most_values > 1), reason, max(rest, 0)


def _of_number(
    feature: FeatureStatistics, baseline: FeatureStatistics | None, options: SliceGenOptions
) -> tuple[Encoder | None, str]:
    name, multivalent = feature.name, feature.most_values > 1
    if name in options.boundaries:
        return IntervalEncoder(name, options.boundaries[name], multivalent), ""
    low, high = feature.minimum or 0, feature.maximum or 0
    if feature.integer and high - low < options.max_values:
        numbers: dict[Value, str] = {n: str(n) for n in range(int(low), int(high) + 1)}
        return ValueEncoder(name, numbers, multivalent), ""
    quantiles = (baseline.quantiles if baseline else ()) or feature.quantiles
    encoder = interval_encoder(name, quantiles, options.intervals)
    if encoder is None:
        return None, "all its values are equal"
    encoder.multivalent = multivalent
    return encoder, ""


def _rounded(bounds: Sequence[float], span: float) -> list[float]:
    """Returns bounds with few digits that are still apart and near.

    Args:
        bounds: Ascending bounds.
        span: Difference between maximum and minimum.
    """
    for digits in _DIGITS:
        # Rounded up, a bound would exclude the value that it was cut at.
        floor = decimal.Context(digits, decimal.ROUND_FLOOR)
        rounded = [float(floor.create_decimal(repr(float(bound)))) for bound in bounds]
        shift = max((abs(r - b) for r, b in zip(rounded, bounds, strict=True)), default=0)
        if len(set(rounded)) == len(rounded) and shift <= _MOST_SHIFT * span:
            return rounded
    return list(bounds)
