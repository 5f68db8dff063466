"""Options of SliceGen."""

import dataclasses
import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least
from tfx_feeder.components.slice_gen.classifier_options import ClassifierTestOptions
from tfx_feeder.components.slice_gen.drift import DriftOptions
from tfx_feeder.components.slice_gen.log_options import LabelOptions, ServingLogOptions
from tfx_feeder.components.slice_gen.search import SliceSearchOptions

ERROR, SQUARED_ERROR, ABSOLUTE_ERROR = "error", "squared_error", "absolute_error"
LOSSES = ("auto", ERROR, SQUARED_ERROR, ABSOLUTE_ERROR)
MEASURES: Mapping[str, str] = {
    ERROR: "error rate",
    SQUARED_ERROR: "squared error",
    ABSOLUTE_ERROR: "absolute error",
}
"""Names of the mean losses."""


@dataclass(frozen=True, slots=True)
class LossOptions:
    """Loss of the model on an example.

    Args:
        label: Feature with the label.
        kind: ``error`` (1 for a wrong class), ``squared_error``, ``absolute_error``, or ``auto``:
            the squared error of a label that is a float, the error of any other.
        signature: Signature that takes serialized Examples.
        output: Output of the signature; ``None`` if it has only one.
        classes: Class names in the order of the model's scores, for labels that are text.
        threshold: Score above which a model with a single score predicts class 1.
        batch_size: Examples in a call of the model.

    Raises:
        ConfigError: A value is out of range.
    """

    label: str
    kind: str = "auto"
    signature: str = "serving_default"
    output: str | None = None
    classes: tuple[str, ...] = ()
    threshold: float = 0.5
    batch_size: int = 256

    def __post_init__(self) -> None:
        check_among("kind", self.kind, LOSSES)
        check_at_least("batch_size", self.batch_size, 1)
        for name in ("label", "signature"):
            _check_name(name, getattr(self, name))
        _check_names("classes", self.classes)


@dataclass(frozen=True, slots=True)
class ClusterOptions:
    """Clusters of the model's embedding, each of which is a slice.

    Args:
        count: Number of clusters.
        thumbnails: Largest number of images that show a cluster; 0 for none.
        max_examples: Largest number of examples from which the clusters are made.

    Raises:
        ConfigError: A value is out of range.
    """

    count: int = 8
    thumbnails: int = 8
    max_examples: int = 10_000

    def __post_init__(self) -> None:
        check_at_least("count", self.count, 2)
        check_at_least("thumbnails", self.thumbnails, 0)
        check_at_least("max_examples", self.max_examples, 2 * self.count)


@dataclass(frozen=True, slots=True)
class SliceGenOptions:
    """Slices of the evaluation data.

    Args:
        slices: Features and crosses of features, such as ``("form", ("digit", "form"))``; each of
            their values, or combination of values, is a slice. With ``image_feature``, properties
            of images may be named as well.
        splits: Splits of the examples that become the split ``eval``.
        image_feature: Feature with an encoded image, whose properties are measured: brightness,
            contrast, sharpness, size, aspect and color.
        boundaries: Bounds between the intervals of numbers, by feature or property; the others are
            cut at quantiles, which differ between data sets.
        intervals: Number of intervals of a number that has no boundaries.
        max_values: Largest number of values of a feature, and of combinations of a cross, that are
            slices; the most frequent ones are chosen.
        loss: Loss by which slices are proposed; required with a model.
        search: Search for slices in which the model is worse than elsewhere.
        columns: Features that are searched; ``None`` for all that have suitable values, except the
            label.
        max_columns: Largest number of features searched; the time grows with its third power.
        max_searched: Largest number of examples searched, all of which are in memory as a row of
            small integers; of more examples, a sample.
        drift: Comparison of the distributions of features, with earlier data and with the log.
        serving_log: Options of reading the serving log.
        labels: Options of joining labels to the serving log; required with labels.
        classifier: Two-sample classifier test of the examples themselves, beside the statistics;
            with ``image_feature`` it sees the images, and their properties are compared like
            features. Needs ``baseline_examples`` or a serving log.
        clusters: Clusters of the examples as the model sees them; needs a model.
        max_served: Largest number of examples of the split ``serving_skew``; of more, a sample.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> SliceGenOptions(slices=("form", ("digit", "form"))).crosses
        (('form',), ('digit', 'form'))
    """

    slices: tuple[str | tuple[str, ...], ...] = ()
    splits: tuple[str, ...] = ("eval",)
    image_feature: str | None = None
    boundaries: Mapping[str, tuple[float, ...]] = field(default_factory=dict)
    intervals: int = 5
    max_values: int = 50
    loss: LossOptions | None = None
    search: SliceSearchOptions = field(default_factory=SliceSearchOptions)
    columns: tuple[str, ...] | None = None
    max_columns: int = 30
    max_searched: int = 1_000_000
    drift: DriftOptions = field(default_factory=DriftOptions)
    serving_log: ServingLogOptions = field(default_factory=ServingLogOptions)
    labels: LabelOptions | None = None
    classifier: ClassifierTestOptions | None = None
    clusters: ClusterOptions | None = None
    max_served: int = 100_000

    def __post_init__(self) -> None:
        if isinstance(self.slices, str) or not isinstance(self.slices, Collection):
            raise ConfigError(
                "slices", received=self.slices, expected="a list of features and crosses"
            )
        for declared in self.slices:
            _check_names("slices", (declared,) if isinstance(declared, str) else declared, least=1)
        if len(set(map(frozenset, self.crosses))) < len(self.crosses):
            raise ConfigError(
                "slices", received=self.slices, expected="each feature and cross once"
            )
        _check_names("splits", self.splits, least=1)
        if self.columns is not None:
            _check_names("columns", self.columns, least=1)
        if self.image_feature is not None:
            _check_name("image_feature", self.image_feature)
        for name, bounds in self.boundaries.items():
            _check_bounds(name, bounds)
        for name, least in (
            ("intervals", 2),
            ("max_values", 2),
            ("max_columns", 1),
            ("max_searched", 1),
            ("max_served", 1),
        ):
            check_at_least(name, getattr(self, name), least)

    @property
    def crosses(self) -> tuple[tuple[str, ...], ...]:
        """Declared slices, each as a sorted tuple of features."""
        return tuple(
            (declared,) if isinstance(declared, str) else tuple(sorted(declared))
            for declared in self.slices
        )

    def as_dict(self) -> dict[str, Any]:
        """Returns the options as JSON types; the inverse of ``from_dict``."""
        values = dataclasses.asdict(self)
        if self.labels is not None and self.labels.until is not None:
            values["labels"]["until"] = self.labels.until.isoformat()
        return values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> "SliceGenOptions":
        """Creates options from the result of ``as_dict``, also after a round trip through JSON."""
        loss, columns, log = values["loss"], values["columns"], values["serving_log"]
        classifier, clusters = values["classifier"], values["clusters"]
        return cls(
            **{
                **values,
                "slices": tuple(d if isinstance(d, str) else tuple(d) for d in values["slices"]),
                "splits": tuple(values["splits"]),
                "boundaries": {k: tuple(v) for k, v in values["boundaries"].items()},
                "loss": loss and LossOptions(**loss | {"classes": tuple(loss["classes"])}),
                "search": SliceSearchOptions(**values["search"]),
                "serving_log": ServingLogOptions(**log | {"signatures": tuple(log["signatures"])}),
                "labels": values["labels"] and _label_options(values["labels"]),
                "classifier": classifier and ClassifierTestOptions(**classifier),
                "clusters": clusters and ClusterOptions(**clusters),
                "drift": _drift_options(values["drift"]),
                "columns": None if columns is None else tuple(columns),
            }
        )


def _drift_options(values: Mapping[str, Any]) -> DriftOptions:
    names = {name: tuple(values[name]) for name in ("features", "excluded")}
    return DriftOptions(**{**values, **names})


def _label_options(values: Mapping[str, Any]) -> LabelOptions:
    until = values["until"] and datetime.fromisoformat(values["until"])
    return LabelOptions(**{**values, "until": until})


def _check_name(argument: str, value: Any) -> None:
    if not isinstance(value, str) or not value:
        raise ConfigError(argument, received=value, expected="a name")


def _check_names(argument: str, values: Any, least: int = 0) -> None:
    if (
        not isinstance(values, (tuple, list))
        or not all(isinstance(name, str) and name for name in values)
        or len(set(values)) < len(values)
        or len(values) < least
    ):
        raise ConfigError(argument, received=values, expected="a list of different names")


def _check_bounds(name: str, bounds: Any) -> None:
    if (
        not isinstance(bounds, (tuple, list))
        or not bounds
        or not all(isinstance(b, (int, float)) and math.isfinite(b) for b in bounds)
        or list(bounds) != sorted(set(bounds))
    ):
        raise ConfigError(
            f"boundaries of {name}", received=bounds, expected="numbers in ascending order"
        )
