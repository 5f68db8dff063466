"""Options of feed and strategy: checked when made, exact through JSON."""

import dataclasses
from typing import Any

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image, from_json, to_json


@pytest.mark.parametrize(
    "options",
    [
        FeedOptions(),
        FeedOptions(label_key=None),
        FeedOptions(
            label_key="species",
            weight_key="weight",
            images={"photo": Image(32, 24, 3, "file"), "mask": Image(8, 8, 1)},
            train_splits=("train", "more"),
            eval_splits=(),
            shuffle_buffer=0,
            cache="none",
            drop_remainder=True,
            seed=7,
        ),
    ],
)
def test_json_round_trip_is_exact(options: Any) -> None:
    assert from_json(type(options), to_json(options)) == options


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"label_key": ""}, "feed label_key"),
        ({"label_key": None, "weight_key": "weight"}, "feed label_key and weight_key"),
        ({"train_splits": ()}, "feed train_splits"),
        ({"train_splits": "train"}, "feed train_splits"),
        ({"eval_splits": "eval"}, "feed eval_splits"),
        ({"cache": "tape"}, "feed cache"),
        ({"eval_batch_size": 0}, "feed eval_batch_size"),
        ({"shuffle_buffer": -1}, "feed shuffle_buffer"),
        ({"shuffle_buffer": 1e4}, "feed shuffle_buffer"),
        ({"prefetch": -1}, "feed prefetch"),
        ({"seed": -1}, "feed seed"),
        ({"seed": True}, "feed seed"),
        ({"memory_budget_mb": 0}, "feed memory_budget_mb"),
        ({"images": {"photo": (32, 32, 3)}}, "feed images"),
        ({"images": {"photo": {"height": 0, "width": 8, "channels": 1}}}, "image height"),
    ],
)
def test_a_bad_feed_names_its_option(arguments: dict[str, Any], argument: str) -> None:
    with pytest.raises(ConfigError) as caught:
        FeedOptions(**arguments)

    assert caught.value.argument == argument


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ((0, 8, 1), "image height"),
        ((8, -1, 1), "image width"),
        ((8, 8, 4), "image channels"),
        ((8, 8, 1, "jpeg"), "image encoding"),
    ],
)
def test_a_bad_image_names_its_option(arguments: tuple, argument: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Image(*arguments)

    assert caught.value.argument == argument


def test_options_cannot_be_changed() -> None:
    for options in (FeedOptions(), Image(8, 8, 1)):
        name = dataclasses.fields(options)[0].name
        with pytest.raises(dataclasses.FrozenInstanceError):
            setattr(options, name, "other")
