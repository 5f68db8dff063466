"""File format of a drift report: one versioned JSON document with one or more comparisons."""

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tfx_feeder.schemas.document import JsonDocument, storable

VERSION = 1
FILE_NAME = "drift_report.json"

_FORMAT = JsonDocument("tfx_feeder.drift_report", VERSION, FILE_NAME, "drift report")

DRIFT, NO_DRIFT = "drift", "no drift"
MISSING, NOT_TESTED = "missing", "not tested"

VALUES, PRESENCE = "values", "presence"
"""Aspects of a feature: the distribution of its values, and the fraction of examples without it."""

BETWEEN_SPANS, SERVING_SKEW = "drift", "serving_skew"
"""Kinds of a comparison: of newer with earlier data, and of served with training data."""


@dataclass(frozen=True, slots=True)
class FeatureDrift:
    """Comparison of one feature between two data sets.

    Args:
        feature: Name of the feature.
        aspect: ``values``, or ``presence`` for the fraction of examples without the feature.
        kind: ``number``, ``category`` or ``bytes``.
        current_examples: Number of examples with the feature in the current data; all examples
            for its presence.
        baseline_examples: The same number in the baseline.
        verdict: ``drift``, ``no drift``, ``missing`` if one side lacks the feature, or
            ``not tested``.
        reason: Figures that decided, as a sentence without a period.
        test: Name of the test; empty if there is none.
        p_value: Probability of such a difference by chance.
        adjusted_p_value: The same, corrected for the number of tests.
        measure: Name of the distance; empty if it is undefined.
        distance: Distance as TensorFlow Data Validation defines it, 0 to 1.
        noise_floor: Distance that chance alone makes one expect between samples of these sizes.
        threshold: Distance above the noise floor from which drift matters.
    """

    feature: str
    aspect: str
    kind: str
    current_examples: int
    baseline_examples: int
    verdict: str
    reason: str
    test: str = ""
    p_value: float | None = None
    adjusted_p_value: float | None = None
    measure: str = ""
    distance: float | None = None
    noise_floor: float | None = None
    threshold: float | None = None

    @property
    def excess(self) -> float:
        """Distance above the noise floor, 0 or more; 0 if the distance is undefined."""
        return max(0.0, (self.distance or 0.0) - (self.noise_floor or 0.0))


@dataclass(frozen=True, slots=True)
class ClassifierResult:
    """Result of a classifier that had to tell current from baseline examples.

    Args:
        inputs: Inputs of the classifier, such as ``20 principal components of 784 inputs``.
        learner: Name of the classifier.
        current_examples: Number of held-out current examples.
        baseline_examples: Number of held-out baseline examples.
        auc: Area under the ROC curve on the held-out examples; 0.5 if they cannot be told apart.
        low: Lower bound of its 95 % confidence interval.
        high: Upper bound.
        p_value: Probability of such an area by chance.
        adjusted_p_value: The same, corrected for the number of classifiers.
        verdict: ``drift``, ``no drift`` or ``not tested``.
        reason: Figures that decided, as a sentence without a period.
    """

    inputs: str
    learner: str
    current_examples: int
    baseline_examples: int
    auc: float | None
    low: float | None
    high: float | None
    p_value: float | None
    adjusted_p_value: float | None
    verdict: str
    reason: str


@dataclass(frozen=True, slots=True)
class DriftReport:
    """Comparison of two data sets.

    Args:
        kind: ``drift`` or ``serving_skew``.
        current: Description of the current data.
        baseline: Description of the baseline.
        current_examples: Number of current examples.
        baseline_examples: Number of baseline examples.
        error_rate: False discovery rate over the features, and probability of a false alarm of the
            classifiers.
        features: Comparisons by feature, those that drifted first.
        classifiers: Results of the two-sample classifier test.
    """

    kind: str
    current: str
    baseline: str
    current_examples: int
    baseline_examples: int
    error_rate: float
    features: tuple[FeatureDrift, ...] = ()
    classifiers: tuple[ClassifierResult, ...] = ()

    @property
    def drifted(self) -> tuple[FeatureDrift, ...]:
        """Comparisons in which a feature drifted, the largest distance above the floor first."""
        found = [feature for feature in self.features if feature.verdict == DRIFT]
        return tuple(sorted(found, key=lambda feature: -feature.excess))

    @property
    def missing(self) -> tuple[str, ...]:
        """Names of the features that one of both data sets lacks."""
        return tuple(f.feature for f in self.features if f.verdict == MISSING)

    @property
    def verdict(self) -> str:
        """``drift`` if a feature or a classifier says so; ``not tested`` if nothing was tested."""
        verdicts = {line.verdict for line in (*self.features, *self.classifiers)}
        return next((v for v in (DRIFT, NO_DRIFT) if v in verdicts), NOT_TESTED)


def summary(reports: Sequence[DriftReport]) -> dict[str, int | str]:
    """Returns the figures by which reports are listed without opening the file.

    Args:
        reports: Comparisons of a report.

    Returns:
        ``features_tested``, ``features_drifted``, ``features_skewed``, ``worst_feature`` (empty if
        none drifted), and ``alarm``, 1 if a feature or a classifier says that the data differ.
    """
    tested = {f.feature for r in reports for f in r.features if f.verdict in (DRIFT, NO_DRIFT)}
    drifted = [f for report in reports for f in report.drifted]
    worst = max(drifted, key=lambda feature: feature.excess, default=None)
    by_kind = {
        kind: len({f.feature for r in reports if r.kind == kind for f in r.drifted})
        for kind in (BETWEEN_SPANS, SERVING_SKEW)
    }
    return {
        "features_tested": len(tested),
        "features_drifted": by_kind[BETWEEN_SPANS],
        "features_skewed": by_kind[SERVING_SKEW],
        "worst_feature": worst.feature if worst else "",
        "alarm": int(any(report.verdict == DRIFT for report in reports)),
    }


def write(reports: Sequence[DriftReport], folder: str | Path) -> Path:
    """Writes ``drift_report.json`` to a folder atomically.

    Args:
        reports: Comparisons to write.
        folder: Target folder; created if missing.

    Returns:
        Path of the file.
    """
    return _FORMAT.write({"comparisons": [_to_document(report) for report in reports]}, folder)


def read(folder: str | Path) -> tuple[DriftReport, ...]:
    """Reads ``drift_report.json`` from a folder.

    Raises:
        DataError: The file is missing, damaged, or has an unknown version.
    """
    return _FORMAT.read(folder, _from_document).comparisons


@dataclass(frozen=True, slots=True)
class _Reports:
    comparisons: tuple[DriftReport, ...]


def _to_document(report: DriftReport) -> dict[str, Any]:
    document = dataclasses.asdict(report)
    for row in (*document["features"], *document["classifiers"]):
        row |= {name: storable(v) for name, v in row.items() if isinstance(v, float)}
    return document


def _from_document(document: dict[str, Any]) -> _Reports:
    return _Reports(
        tuple(
            DriftReport(
                **report
                | {
                    "features": tuple(_row(FeatureDrift, row) for row in report["features"]),
                    "classifiers": tuple(
                        _row(ClassifierResult, row) for row in report["classifiers"]
                    ),
                }
            )
            for report in document["comparisons"]
        )
    )


def _row(make: Any, row: dict[str, Any]) -> Any:
    names = {f.name for f in dataclasses.fields(make) if f.type == float | None}
    return make(**{n: float(v) if n in names and v is not None else v for n, v in row.items()})
