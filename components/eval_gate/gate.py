"""Options of the gate, and the slices that they refer to."""

import dataclasses
import json
import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import Any, Protocol

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least, check_number_at_least_0
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES
from tfx_feeder.schemas.slices import ORIGINS, SLICES_FEATURE

PASS, REFUSE = "pass", "refuse"
HIGHER, LOWER = "higher", "lower"
HOLM, BENJAMINI_HOCHBERG = "holm", "benjamini_hochberg"
FLOORS = "floors"
ANY = "*"


@dataclass(frozen=True, slots=True)
class Floor:
    """Worst acceptable value of a metric: a minimum, or a maximum if less is better.

    A slice passes if the measured value meets the floor. A value beyond it refuses the model only
    if chance does not explain it; otherwise the slice is undecided.

    Args:
        value: Worst acceptable value.
        slices: Name of a slice or a pattern with ``*`` for any characters, such as ``form *``. The
            pattern ``*`` stands for every slice except that of all examples.
        metric: Name of the metric.
        origin: Restricts the pattern to slices of one origin in ``slices.json``: ``declared``,
            ``proposed``, ``serving_skew``, ``drift`` or ``split``.

    Raises:
        ConfigError: An option has an invalid value.
    """

    value: float
    slices: str = ALL_EXAMPLES
    metric: str = "accuracy"
    origin: str = ""

    def __post_init__(self) -> None:
        if isinstance(self.value, bool) or not isinstance(self.value, (int, float)):
            raise ConfigError("floor value", received=self.value, expected="a number")
        if not math.isfinite(self.value):
            raise ConfigError("floor value", received=self.value, expected="a finite number")
        _check_selection("floor", self)


@dataclass(frozen=True, slots=True)
class Margin:
    """Loss against the baseline that does not matter.

    The test is one of non-inferiority: a slice passes if a loss of the margin or more is ruled out,
    refuses the model if a loss of more than the margin is proven, and is undecided otherwise.

    Args:
        value: Largest acceptable loss, in the unit of the metric. With 0, a slice passes if the
            measured value is no worse than that of the baseline.
        slices: Name or pattern, as of ``Floor``.
        metric: Name of the metric.
        origin: Origin of the slices, as of ``Floor``.

    Raises:
        ConfigError: An option has an invalid value.
    """

    value: float
    slices: str = ALL_EXAMPLES
    metric: str = "accuracy"
    origin: str = ""

    def __post_init__(self) -> None:
        check_number_at_least_0("margin value", self.value)
        if not math.isfinite(self.value):
            raise ConfigError("margin value", received=self.value, expected="a finite number")
        _check_selection("margin", self)


class Selection(Protocol):
    """Rule that applies to the slices whose name matches a pattern."""

    @property
    def slices(self) -> str:
        """Pattern of the names of the slices."""
        ...

    @property
    def metric(self) -> str:
        """Name of the metric."""
        ...

    @property
    def origin(self) -> str:
        """Origin of the slices; empty for any."""
        ...


@dataclass(frozen=True, slots=True)
class Gate:
    """Conditions under which a model is blessed.

    On each slice, the first floor and the first margin of a metric that match apply.

    Args:
        floors: Worst acceptable values.
        margins: Largest acceptable losses against the baseline, overall and per group of slices.
        must_not_regress: Names or patterns of slices on which any proven loss of any metric refuses
            the model; the same as margins of 0 that precede all others.
        min_examples: Slices with fewer examples are listed but not judged. The slice of all
            examples is always judged.
        metrics: Direction in which each metric is better, ``"higher"`` or ``"lower"``.
        when_undecided: ``"pass"`` refuses a model only if its loss is proven. ``"refuse"`` blesses
            a model only if every slice passes.
        when_baseline_fails: ``"floors"`` judges by the floors alone if there is a blessed model but
            the evaluation has no results of it. ``"refuse"`` refuses the model.
        correction: ``"holm"`` bounds the probability that chance alone refuses a model anywhere;
            ``"benjamini_hochberg"`` bounds the fraction of false refusals among all refusals, and
            finds more.
        error_rate: Bound of the correction, over all slices, metrics and rules together.

    Raises:
        ConfigError: There is no threshold at all, or an option has an invalid value.

    Example:
        >>> Gate(
        ...     floors=(Floor(0.9), Floor(0.6, "label *")),
        ...     margins=(Margin(0.01), Margin(0.03, "*")),
        ...     must_not_regress=("form 3",),
        ...     min_examples=20,
        ... ).error_rate
        0.05
    """

    floors: tuple[Floor, ...] = ()
    margins: tuple[Margin, ...] = ()
    must_not_regress: tuple[str, ...] = ()
    min_examples: int = 0
    metrics: Mapping[str, str] = field(default_factory=lambda: {"accuracy": HIGHER})
    when_undecided: str = PASS
    when_baseline_fails: str = FLOORS
    correction: str = HOLM
    error_rate: float = 0.05

    def __post_init__(self) -> None:
        if isinstance(self.must_not_regress, str):
            raise ConfigError(
                "must_not_regress", received=self.must_not_regress, expected="a list of slice names"
            )
        for name in ("floors", "margins", "must_not_regress"):
            object.__setattr__(self, name, tuple(getattr(self, name)))
        if not (self.floors or self.margins or self.must_not_regress):
            raise ConfigError(
                "gate",
                received="no threshold",
                expected="at least one of floors, margins and must_not_regress",
                fix="A gate without thresholds would bless every model.",
            )
        for name in self.must_not_regress:
            _check_name("must_not_regress", name)
        check_at_least("min_examples", self.min_examples, 0)
        check_among("when_undecided", self.when_undecided, (PASS, REFUSE))
        check_among("when_baseline_fails", self.when_baseline_fails, (FLOORS, REFUSE))
        check_among("correction", self.correction, (HOLM, BENJAMINI_HOCHBERG))
        rate = self.error_rate
        if isinstance(rate, bool) or not isinstance(rate, (int, float)) or not 0 < rate < 1:
            raise ConfigError("error_rate", received=rate, expected="a number between 0 and 1")
        if not self.metrics:
            raise ConfigError("metrics", received=self.metrics, expected="at least one metric")
        for direction in self.metrics.values():
            check_among("direction of a metric", direction, (HIGHER, LOWER))
        for rule in (*self.floors, *self.margins):
            if rule.metric not in self.metrics:
                raise ConfigError(
                    "metric of a threshold",
                    received=rule.metric,
                    expected=f"one of the gate's metrics: {', '.join(self.metrics)}",
                    fix='Add it to metrics with its direction, "higher" or "lower".',
                )

    def all_margins(self) -> tuple[Margin, ...]:
        """Returns the margins in order of precedence, those of ``must_not_regress`` first."""
        strict = (Margin(0, name, m) for name in self.must_not_regress for m in self.metrics)
        return (*strict, *self.margins)

    def to_dict(self) -> dict[str, Any]:
        """Returns the options in JSON types."""
        return json.loads(json.dumps(dataclasses.asdict(self)))

    @classmethod
    def from_dict(cls, options: Mapping[str, Any]) -> "Gate":
        """Returns the gate of the options that ``to_dict`` returned."""
        floors = tuple(Floor(**each) for each in options["floors"])
        margins = tuple(Margin(**each) for each in options["margins"])
        return cls(**{**options, "floors": floors, "margins": margins})


def matches(rule: Selection, name: str, origin: str = "") -> bool:
    """Returns True if a rule applies to a slice.

    Args:
        rule: Floor or margin.
        name: Name of the slice.
        origin: Origin of the slice, if known.
    """
    if rule.origin and rule.origin != origin:
        return False
    return matches_name(rule.slices, name)


def matches_name(pattern: str, name: str) -> bool:
    """Returns True if a pattern with ``*`` matches the name of a slice.

    Args:
        pattern: Pattern; patterns with ``*`` never match the slice of all examples.
        name: Name of the slice.
    """
    if name == ALL_EXAMPLES or ANY not in pattern:
        return pattern == name
    parts = map(re.escape, pattern.split(ANY))
    return re.fullmatch(".*".join(parts), name, re.DOTALL) is not None


def check_slices_exist(gate: Gate, eval_config: Mapping[str, Any]) -> None:
    """Checks, when a pipeline is built, that the Evaluator computes the slices of a gate.

    Args:
        gate: Options.
        eval_config: ``EvalConfig`` of the Evaluator in JSON types.

    Raises:
        ConfigError: A slice cannot exist; the message lists those that can.
    """
    specs = eval_config.get("slicing_specs", eval_config.get("slicingSpecs", ())) or ({},)
    templates = [ALL_EXAMPLES]
    for spec in specs:
        keys = spec.get("feature_keys", spec.get("featureKeys", ()))
        values = spec.get("feature_values", spec.get("featureValues", {}))
        if spec.get("slice_keys_sql", spec.get("sliceKeysSql")):
            return  # Which slices a query returns is not known yet.
        columns = {**dict.fromkeys(keys, ANY), **values}
        if columns:
            templates.append(template(columns))
    check_patterns(gate, templates)


def template(columns: Mapping[str, Any]) -> str:
    """Returns the pattern of the names that the slices of some columns have.

    Args:
        columns: Values by column; ``*`` for any.
    """
    parts = [v if k == SLICES_FEATURE else f"{k} {v}" for k, v in sorted(columns.items())]
    return ", ".join(parts) or ALL_EXAMPLES


def check_patterns(gate: Gate, templates: Iterable[str]) -> None:
    """Checks that each rule of a gate can apply to some slice.

    Args:
        gate: Options.
        templates: Patterns of the slices that exist.

    Raises:
        ConfigError: A rule can apply to none of them.
    """
    known = list(dict.fromkeys(templates))
    rules = [*gate.floors, *gate.all_margins()]
    for pattern in dict.fromkeys(rule.slices for rule in rules if not rule.origin):
        if pattern != ANY and not any(_overlap(pattern, name) for name in known):
            raise ConfigError(
                "slice of the gate",
                received=pattern,
                expected=f"a slice of the evaluation: {', '.join(known)}",
            )


@cache
def _overlap(left: str, right: str) -> bool:
    """Returns True if some name matches both patterns."""
    if not left or not right:
        return not (left or right).strip(ANY)
    if left[0] == ANY:
        return _overlap(left[1:], right) or _overlap(left, right[1:])
    if right[0] == ANY:
        return _overlap(left, right[1:]) or _overlap(left[1:], right)
    return left[0] == right[0] and _overlap(left[1:], right[1:])


def _check_selection(rule: str, selection: Selection) -> None:
    _check_name(f"slices of a {rule}", selection.slices)
    _check_name(f"metric of a {rule}", selection.metric)
    if selection.origin:
        check_among(f"origin of a {rule}", selection.origin, ORIGINS)


def _check_name(argument: str, name: object) -> None:
    if not isinstance(name, str) or not name:
        raise ConfigError(argument, received=name, expected="a name that is not empty")
