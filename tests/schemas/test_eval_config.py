"""What each metric had to reach on each slice."""

import json

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.eval_config import MetricThreshold, read_thresholds, threshold_for


@pytest.fixture
def rules(tmp_path):
    def read(*metrics_specs):
        document = {"evalConfig": {"metricsSpecs": metrics_specs}}
        (tmp_path / "eval_config.json").write_text(json.dumps(document))
        return read_thresholds(tmp_path)

    return read


def _metric(name, **options):
    return {"metrics": [{"className": "X", "config": json.dumps({"name": name}), **options}]}


def _at_least(value):
    return {"valueThreshold": {"lowerBound": value}}


def test_threshold_of_a_metric_applies_everywhere(rules):
    found = rules(_metric("accuracy", threshold=_at_least(0.9)))
    assert threshold_for(found, "accuracy", "all examples") == MetricThreshold(lower_bound=0.9)
    assert threshold_for(found, "accuracy", "label 3") == MetricThreshold(lower_bound=0.9)
    assert threshold_for(found, "auc", "label 3") is None


def test_thresholds_per_slice_apply_there_only(rules):
    per_slice = [
        {"slicingSpecs": [{}], "threshold": _at_least(0.9)},
        {"slicingSpecs": [{"featureKeys": ["form", "label"]}], "threshold": _at_least(0.8)},
        {"slicingSpecs": [{"featureValues": {"City of": "New York"}}], "threshold": _at_least(0.7)},
    ]
    found = rules(_metric("accuracy", perSliceThresholds=per_slice))
    assert threshold_for(found, "accuracy", "all examples") == MetricThreshold(lower_bound=0.9)
    assert threshold_for(found, "accuracy", "form 1, label 3") == MetricThreshold(lower_bound=0.8)
    assert threshold_for(found, "accuracy", "City of New York") == MetricThreshold(lower_bound=0.7)
    assert threshold_for(found, "accuracy", "label 3") is None


def test_thresholds_of_annotated_slices_apply_to_their_names(rules):
    of_one = {"featureValues": {"evaluation_slices": "form 3"}}
    per_slice = [
        {"slicingSpecs": [of_one], "threshold": _at_least(0.9)},
        {"slicingSpecs": [{"featureKeys": ["evaluation_slices"]}], "threshold": _at_least(0.8)},
    ]
    found = rules(_metric("accuracy", perSliceThresholds=per_slice))
    assert threshold_for(found, "accuracy", "form 3") == MetricThreshold(lower_bound=0.9)
    assert threshold_for(found, "accuracy", "form 2") == MetricThreshold(lower_bound=0.8)
    assert threshold_for(found, "accuracy", "all examples") is None


def test_thresholds_by_the_name_of_the_metric(rules):
    found = rules({"thresholds": {"auc": _at_least(0.6)}})
    assert threshold_for(found, "auc", "all examples") == MetricThreshold(lower_bound=0.6)


def test_metrics_are_named_after_their_class(rules):
    found = rules({"metrics": [{"className": "BinaryAccuracy", "threshold": _at_least(0.6)}]})
    assert threshold_for(found, "binary_accuracy", "all examples") == MetricThreshold(
        lower_bound=0.6
    )


def test_gate_holds_for_classes_and_outputs_of_the_metric(rules):
    found = rules(_metric("recall", threshold=_at_least(0.6)))
    assert threshold_for(found, "head/recall of class 3", "all examples") == MetricThreshold(
        lower_bound=0.6
    )
    assert threshold_for(found, "recall_at_k", "all examples") is None


def test_names_of_fields_may_be_written_with_underscores(tmp_path):
    metric = {"class_name": "AUC", "threshold": {"value_threshold": {"lower_bound": 0.6}}}
    document = {"eval_config": {"metrics_specs": [{"metrics": [metric]}]}}
    (tmp_path / "eval_config.json").write_text(json.dumps(document))
    assert threshold_for(read_thresholds(tmp_path), "auc", "all examples") == MetricThreshold(
        lower_bound=0.6
    )


@pytest.mark.parametrize(
    ("gate", "text", "bound"),
    [
        (MetricThreshold(lower_bound=0.9), "≥ 0.9", 0.9),
        (MetricThreshold(lower_bound=0.8999999), "≥ 0.9", 0.8999999),
        (MetricThreshold(upper_bound=0.5), "≤ 0.5", 0.5),
        (MetricThreshold(change=-0.02), "≥ baseline −0.02", 0.93),
        (MetricThreshold(relative=-0.1), "≥ baseline −10.00%", 0.855),
        (MetricThreshold(change=0.02, lower_is_better=True), "≤ baseline +0.02", 0.97),
        (MetricThreshold(lower_bound=0.9, change=-0.02), "≥ 0.9, ≥ baseline −0.02", 0.93),
        (
            MetricThreshold(upper_bound=0.9, change=0.02, lower_is_better=True),
            "≤ 0.9, ≤ baseline +0.02",
            0.9,
        ),
    ],
)
def test_gate_in_words_and_as_a_bound(gate, text, bound):
    assert str(gate) == text
    assert gate.bound(0.95) == pytest.approx(bound)


def test_change_has_no_bound_without_a_baseline():
    assert MetricThreshold(change=-0.02).bound(None) is None


@pytest.mark.parametrize("content", ["", "[]", '{"evalConfig": {"metricsSpecs": [1]}}'])
def test_what_is_no_config_is_refused(tmp_path, content):
    (tmp_path / "eval_config.json").write_text(content)
    with pytest.raises(DataError, match=r"eval_config\.json"):
        read_thresholds(tmp_path)
