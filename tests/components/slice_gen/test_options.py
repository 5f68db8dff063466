"""Options of SliceGen: checked when they are made, exact after a round trip."""

import json
from datetime import datetime, timezone

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.classifier_options import ClassifierTestOptions
from tfx_feeder.components.slice_gen.drift import DriftOptions
from tfx_feeder.components.slice_gen.log_options import LabelOptions, ServingLogOptions
from tfx_feeder.components.slice_gen.options import ClusterOptions, LossOptions, SliceGenOptions
from tfx_feeder.components.slice_gen.search import SliceSearchOptions

FULL = SliceGenOptions(
    slices=("form", ("form", "digit")),
    splits=("eval", "test"),
    image_feature="image",
    boundaries={"age": (18, 65.5)},
    loss=LossOptions("label", classes=("a", "b"), output="scores"),
    search=SliceSearchOptions(margin=0.05),
    columns=("form",),
    serving_log=ServingLogOptions(model="digits", signatures=("a", "b")),
    labels=LabelOptions("id", "label", "at", datetime(2026, 1, 2, tzinfo=timezone.utc)),
    classifier=ClassifierTestOptions(min_auc=0.6),
    clusters=ClusterOptions(count=3),
    drift=DriftOptions(l_infinity=0.1, excluded=("number",)),
)


@pytest.mark.parametrize("options", [SliceGenOptions(), FULL])
def test_round_trip_is_exact(options: SliceGenOptions) -> None:
    assert SliceGenOptions.from_dict(json.loads(json.dumps(options.as_dict()))) == options


def test_columns_of_a_cross_are_sorted() -> None:
    assert FULL.crosses == (("form",), ("digit", "form"))


@pytest.mark.parametrize(
    "wrong",
    [
        {"slices": "form"},
        {"slices": ("form", "form")},
        {"slices": (("a", "b"), ("b", "a"))},
        {"slices": (("a", "a"),)},
        {"slices": ((),)},
        {"slices": (3,)},
        {"splits": ()},
        {"image_feature": ""},
        {"boundaries": {"age": (3, 2)}},
        {"boundaries": {"age": ()}},
        {"boundaries": {"age": (float("nan"),)}},
        {"intervals": 1},
        {"max_values": 1},
        {"max_searched": 0},
        {"max_served": 0},
        {"columns": ()},
    ],
)
def test_wrong_options_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        SliceGenOptions(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"count": 1}, {"thumbnails": -1}, {"count": 8, "max_examples": 15}]
)
def test_wrong_clusters_are_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        ClusterOptions(**wrong)


@pytest.mark.parametrize(
    "wrong", [{"kind": "accuracy"}, {"batch_size": 0}, {"signature": ""}, {"classes": ("a", "a")}]
)
def test_a_wrong_loss_is_refused(wrong: dict) -> None:
    with pytest.raises(ConfigError):
        LossOptions("label", **wrong)
