"""Round trip of drift reports, and what is made of damaged ones."""

import dataclasses
import json
import math

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas import drift_report
from tfx_feeder.schemas.drift_report import ClassifierResult, DriftReport, FeatureDrift

LINE = FeatureDrift("age", "values", "number", 90, 100, "drift", "because", distance=0.3)
SMALL = FeatureDrift("size", "values", "number", 9, 9, "drift", "", distance=0.9, noise_floor=0.8)
GONE = FeatureDrift("name", "values", "category", 0, 100, "missing", "missing in the current data")
CLASSIFIER = ClassifierResult(
    "3 columns", "trees", 5, 6, 0.7, math.nan, 1, 0.1, 0.2, "no drift", ""
)
REPORT = DriftReport("drift", "span 2", "span 1", 90, 100, 0.05, (SMALL, GONE, LINE), (CLASSIFIER,))


def test_what_is_written_is_read(tmp_path):
    empty = DriftReport("serving_skew", "log", "train", 0, 100, 0.05)
    drift_report.write([REPORT, empty], tmp_path)
    first, second = drift_report.read(tmp_path)
    assert second == empty
    assert first.features == REPORT.features
    assert math.isnan(first.classifiers[0].low)
    # Strict JSON, for readers in other languages.
    json.loads((tmp_path / "drift_report.json").read_text(), parse_constant=pytest.fail)


def test_the_summary_comes_from_the_lines():
    assert [row.feature for row in REPORT.drifted] == ["age", "size"]
    assert REPORT.missing == ("name",)
    assert REPORT.verdict == "drift"
    assert DriftReport("drift", "a", "b", 1, 1, 0.05, (GONE,)).verdict == "not tested"
    assert DriftReport("drift", "a", "b", 1, 1, 0.05, (GONE,), (CLASSIFIER,)).verdict == "no drift"


def test_a_damaged_report_is_told(tmp_path):
    path = drift_report.write([REPORT], tmp_path)
    document = json.loads(path.read_text())
    document["comparisons"][0]["features"][0]["verdict"] = 3
    path.write_text(json.dumps(document))
    with pytest.raises(DataError, match="damaged"):
        drift_report.read(tmp_path)


def test_a_summary_lists_the_worst_feature_and_raises_the_alarm() -> None:
    assert drift_report.summary([]) == {
        "features_tested": 0,
        "features_drifted": 0,
        "features_skewed": 0,
        "worst_feature": "",
        "alarm": 0,
    }
    skew = dataclasses.replace(REPORT, kind="serving_skew", classifiers=())
    found = drift_report.summary([REPORT, skew])
    assert found["worst_feature"] == REPORT.drifted[0].feature
    assert (found["features_drifted"], found["features_skewed"]) == (2, 2)
    assert found["alarm"] == 1
