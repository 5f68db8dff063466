"""Settings are checked when they are made."""

from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.configs import FULL_SCHEDULE, PipelineConfig
from tfx_feeder.pipeline.datasets import Dataset
from tfx_feeder.pipeline.eval_config import Gates

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


@pytest.mark.parametrize("value", [-0.1, 1.1, float("nan")])
def test_gates_are_accuracies(value):
    with pytest.raises(ConfigError, match="gates min_slice_accuracy"):
        Gates(min_slice_accuracy=value)


def test_gates_for_unknown_data_lie_above_guessing():
    assert Gates.for_classes(2).min_accuracy == 0.75
    assert Gates.for_classes(2).min_slice_accuracy == 0.5
    assert Gates.for_classes(10).min_accuracy == pytest.approx(0.55)
