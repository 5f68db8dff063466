"""A training takes its own checkpoints and no others, whatever folder is configured."""

import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tfx_feeder.components.feeder_trainer.distribution.fit import FitSpec, fit
from tfx_feeder.components.feeder_trainer.distribution.options import Mirrored, SingleDevice
from tfx_feeder.components.feeder_trainer.distribution.training_id import training_id
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions

MODULE = """
import keras

def model_fn(context):
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    model = keras.Model(image, keras.layers.Dense(10, activation="softmax")(x))
    model.compile("adam", "sparse_categorical_crossentropy")
    return model
"""


@pytest.fixture
def spec(tmp_path: Path, digit_files: list[str], digits_spec: dict) -> Callable[..., FitSpec]:
    module = tmp_path / "model.py"
    module.write_text(MODULE)

    def make(schedule: str = "0.1:50x2", folder: str = "default", **changes: Any) -> FitSpec:
        feed = FeedOptions(images={"image": Image(8, 8, 1)}, eval_splits=())
        made = FitSpec(
            code=UserCode(module_file=str(module)),
            context=ModelContext(digits_spec, feed),
            schedule=Schedule.from_value(schedule),
            strategy=SingleDevice(),
            train_files=digit_files,
            eval_files=[],
            checkpoint_dir=str(tmp_path / folder),
            training=TrainingOptions(checkpoint_every_examples=100, probe=False),
        )
        return dataclasses.replace(made, **changes)

    return make


def different(one: FitSpec, other: FitSpec) -> list[str]:
    first, second = training_id(one), training_id(other)
    return [name for name in first if first[name] != second[name]]


def test_its_parts_are_told_apart(spec, tmp_path, digits_spec) -> None:
    one = spec()
    assert different(one, spec(schedule="0.1:50x3")) == ["schedule"]
    assert different(one, spec(train_files=one.train_files[:2])) == ["inputs"]
    assert different(one, spec(start_from="/base")) == ["inputs"]
    context = dataclasses.replace(one.context, custom_config={"width": 2})
    assert different(one, spec(context=context)) == ["options"]
    feed = dataclasses.replace(one.context.feed, seed=1)
    context = dataclasses.replace(one.context, feed=feed)
    assert different(one, spec(context=context)) == ["options"]
    training_id(one)  # Reads the code.
    (tmp_path / "model.py").write_text(MODULE + "# edited\n")
    assert different(one, spec()) == ["code"]


def test_other_contents_of_the_same_size_are_told_apart(spec, tmp_path) -> None:
    path = tmp_path / "data"
    one = spec(train_files=[str(path)])
    path.write_bytes(bytes(9_000))
    before = training_id(one)
    assert training_id(one) == before
    for place in (0, 8_999):
        path.write_bytes(bytes(place) + b"1" + bytes(8_999 - place))
        assert training_id(one)["inputs"] != before["inputs"]


def test_a_stream_does_not_go_on_from_the_order_of_a_cache(spec) -> None:
    def events(cache: str) -> list[str]:
        one = spec()
        feed = dataclasses.replace(one.context.feed, cache=cache, memory_budget_mb=1)
        context = dataclasses.replace(one.context, feed=feed)
        return [
            event.kind for event in fit(dataclasses.replace(one, context=context)).history.events
        ]

    with pytest.MonkeyPatch.context() as patch:
        # As with "auto", which selects another cache if cache_dir is set.
        patch.setattr(f"{training_id.__module__}._WITHOUT_EFFECT", ("cache",))
        events("memory")
        assert events("none") == ["checkpoint_not_used"]
        assert events("memory") == ["resume"]


def test_what_does_not_change_the_result_does_not_count(spec) -> None:
    one = spec()
    feed = dataclasses.replace(one.context.feed, prefetch=7)
    context = dataclasses.replace(one.context, feed=feed)
    training = TrainingOptions(checkpoint_every_s=1.0)
    assert not different(one, spec("0.1:50x2", "other", strategy=Mirrored(), context=context))
    assert not different(one, spec(training=training))


@pytest.mark.parametrize("is_fixed", [False, True], ids=["default folder", "checkpoint_dir"])
def test_a_training_does_not_go_on_from_another(spec, tmp_path, is_fixed) -> None:
    fixed = str(tmp_path / "fixed") if is_fixed else None
    training = TrainingOptions(checkpoint_every_examples=100, probe=False, checkpoint_dir=fixed)
    fit(spec(training=training))  # Its checkpoints remain, because it does not end in an export.

    changed = fit(spec("0.01:20x1", training=training)).history
    assert [(row.learning_rate, row.steps) for row in changed.epochs] == [(pytest.approx(0.01), 10)]
    assert not [event for event in changed.events if event.kind == "resume"]
    again = fit(spec(training=training)).history
    assert [event.kind for event in again.events].count("resume") == 1
    assert [row.steps for row in again.epochs] == [4, 4]
