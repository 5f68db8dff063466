"""Settings are checked when they are made."""

import dataclasses
from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate.gate import Floor, Gate, Margin
from tfx_feeder.pipeline.configs import FULL_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.datasets import Dataset
from tfx_feeder.pipeline.eval_config import (
    Gates,
    gate_for_classes,
    make_gate,
    overall_margin,
    slice_gen_options,
)

WITH_SPANS = Dataset("digits", Path("data"), ("0", "1"), spans=(1, 2))
WITHOUT = Dataset("mine", Path("data"), ("cat", "dog"))


def test_paths_follow_from_root_and_data():
    config = PipelineConfig(data=WITHOUT, root=Path("somewhere"))
    assert config.name == "mine"
    assert config.workspace.metadata == Path.cwd() / "somewhere" / "metadata.sqlite"
    assert config.workspace.serving == Path.cwd() / "somewhere" / "serving" / "mine"


def test_feed_describes_the_images_that_transform_makes():
    config = PipelineConfig(data=WITHOUT, root=Path("r"), seed=7)
    assert config.feed.images["image"].shape == config.image.shape
    assert config.feed.images["image"].encoding == "raw"
    assert config.feed.seed == 7


@pytest.mark.parametrize(
    ("data", "span"), [(WITH_SPANS, None), (WITH_SPANS, 3), (WITHOUT, 1)], ids=str
)
def test_span_has_to_be_one_of_the_data(data, span):
    with pytest.raises(ConfigError, match="span"):
        PipelineConfig(data=data, root=Path("r"), span=span)


def test_full_schedule_is_the_reference():
    assert str(FULL_SCHEDULE) == "0.01:32x10ep, 0.005:64x10ep, 0.0025:128x10ep @200"


@pytest.mark.parametrize("value", [-0.1, 1.1, 90])
def test_thresholds_of_the_accuracy_are_accuracies(value):
    with pytest.raises(ConfigError, match=r"accuracy of the gate.*a value from 0 to 1"):
        dataclasses.replace(WITHOUT, gate=Gate(floors=(Floor(value),)))


def test_thresholds_of_earlier_releases_are_rejected_with_what_to_write():
    with pytest.raises(ConfigError) as caught:
        Gates(min_accuracy=0.8, max_regression=0.1)
    written = str(caught.value).partition("gate=")[2].partition(", imported")[0]
    gate = Gate(floors=(Floor(0.8), Floor(0.6, "*", origin="declared")), margins=(Margin(0.1),))
    assert eval(written) == gate
    assert "\n" not in str(caught.value)


def test_a_gate_of_another_type_is_rejected():
    with pytest.raises(ConfigError, match="gate: expected a Gate"):
        dataclasses.replace(WITHOUT, gate=0.9)


def test_gates_for_unknown_data_lie_above_guessing():
    def floors(number):
        return [floor.value for floor in gate_for_classes(number).floors]

    assert floors(2) == [0.75, 0.5]
    assert floors(10) == [pytest.approx(0.55), 0.1]


def test_the_margin_on_all_examples_is_the_first_that_matches():
    assert overall_margin(make_gate()) == 0.02
    strict = dataclasses.replace(make_gate(), must_not_regress=("all examples",))
    assert overall_margin(strict) == 0
    assert overall_margin(Gate(margins=(Margin(0.1, "*"),))) is None


def test_each_class_of_many_is_a_slice_and_not_an_interval():
    assert slice_gen_options(("label",), 1_000).max_values > 1_000
