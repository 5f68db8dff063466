"""Runs with a base model are stopped if they can no longer match it, and only then."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from tensorflow.python.framework import config

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.fit import FitResult, FitSpec, fit
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.model.builder import ModelContext
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.train import TrainSpec, train
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.schemas.training_history import History

MODULE = """
import keras

def model_fn(context):
    config = context.custom_config
    image = keras.Input((8, 8, 1), name="image", dtype="uint8")
    x = keras.layers.Flatten()(keras.layers.Rescaling(1 / 255)(image))
    x = keras.layers.Dense(config.get("width", 16), activation="relu", name="hidden")(x)
    x = keras.layers.Dropout(0.1)(x)
    x = keras.layers.Dense(10, activation="softmax", name="scores")(x)
    model = keras.Model(image, x)
    optimizer = keras.optimizers.Adam(use_ema=config.get("use_ema", False))
    model.compile(optimizer, "sparse_categorical_crossentropy", metrics=["accuracy"])
    return model

def callbacks_fn(context):
    early = keras.callbacks.EarlyStopping(
        "loss", min_delta=99, patience=2, restore_best_weights=True
    )
    return [early] if context.custom_config.get("early") else []
"""
GOOD, HOPELESS, RUINOUS = "0.01:32x8", "1e-7:32x8", "0.5:32x8"
ACCURACY = BaselineEarlyStopping("val_accuracy", "max")


class Trainings:
    """Trains on the digits with a base model, in one folder per run."""

    def __init__(self, root: Path, files: list[str], spec: dict[str, Any]) -> None:
        self._root, self._files, self._spec = root, files, spec
        (root / "model.py").write_text(MODULE)
        self.base = str(root / "base" / "keras")
        self.base_history = self.whole("base", GOOD, baseline=None)

    def fit(self, name: str, schedule: str, **changes: Any) -> FitResult:
        """Fits; a second call with the same name resumes from the last checkpoint."""
        return fit(self._job(name, schedule, **changes))

    def whole(self, name: str, schedule: str, **changes: Any) -> History:
        """Trains and exports."""
        folder = self._root / name
        return train(
            TrainSpec(
                fit=self._job(name, schedule, **changes),
                raw_feature_spec=self._spec,
                transform=None,
                serving_dir=str(folder / "serving"),
                keras_dir=str(folder / "keras"),
                log_dir=str(folder / "logs"),
            )
        )

    def _job(
        self,
        name: str,
        schedule: str,
        *,
        early_stopping: BaselineEarlyStopping = ACCURACY,
        config: dict[str, Any] | None = None,
        **changes: Any,
    ) -> FitSpec:
        feed = FeedOptions(images={"image": Image(8, 8, 1)}, eval_batch_size=64)
        options = {
            "code": UserCode(module_file=str(self._root / "model.py")),
            "context": ModelContext(self._spec, feed, custom_config=config or {}),
            "schedule": Schedule.from_value(schedule),
            "strategy": SingleDevice(),
            "train_files": self._files,
            "eval_files": self._files,
            "checkpoint_dir": str(self._root / name / "checkpoints"),
            "baseline": self.base,
            "training": TrainingOptions(
                early_stopping=early_stopping, deterministic=True, checkpoint_every_examples=1
            ),
        }
        return FitSpec(**options | changes)


@pytest.fixture(scope="module", autouse=True)
def determinism_ends() -> Iterator[None]:
    """Resets the determinism of the process; there is no public function for it."""
    yield
    config.disable_op_determinism()


@pytest.fixture(scope="module")
def trainings(
    tmp_path_factory: pytest.TempPathFactory, digit_files: list[str], digits_spec: dict[str, Any]
) -> Trainings:
    return Trainings(tmp_path_factory.mktemp("trainings"), digit_files, digits_spec)


def events(history: History, kind: str) -> list[str]:
    return [event.message for event in history.events if event.kind == kind]


@pytest.mark.parametrize("start", ["scratch", "warm"])
def test_a_run_that_cannot_match_is_stopped_and_exported(trainings: Trainings, start: str) -> None:
    if start == "warm":
        history = trainings.whole(start, RUINOUS, start_from=trainings.base)
    else:
        history = trainings.whole(start, HOPELESS)

    [measured], [stopped] = events(history, "baseline_metric"), events(history, "early_stop")
    accuracy = trainings.base_history.epochs[-1].metrics["val_accuracy"]
    assert measured == f"The base model has val_accuracy {accuracy:.4g} on the validation examples."
    assert f"the base model requires {accuracy:.4g}" in stopped
    assert 3 <= len(history.epochs) < 8
    assert f"after {len(history.epochs)} epochs" in stopped
    assert [row.epochs for row in history.phases] == [len(history.epochs)]
    assert (Path(trainings.base).parent.parent / start / "keras" / "model.keras").exists()


@pytest.mark.slow
def test_a_run_that_can_match_trains_as_without_a_baseline(trainings: Trainings) -> None:
    without, beside = trainings.fit("without", GOOD, baseline=None), trainings.fit("beside", GOOD)

    assert not events(without.history, "baseline_metric")
    assert events(beside.history, "baseline_metric")
    assert not events(beside.history, "early_stop")
    assert [row.metrics for row in beside.history.epochs] == [
        row.metrics for row in without.history.epochs
    ]
    for weight, expected in zip(beside.weights, without.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)


def test_a_loss_can_be_watched(trainings: Trainings) -> None:
    early = BaselineEarlyStopping("val_loss", "min", after_epochs=2)
    assert len(trainings.fit("loss", HOPELESS, early_stopping=early).history.epochs) == 2


@pytest.mark.slow
@pytest.mark.parametrize(
    ("config", "why"),
    [({"width": 17}, "its architecture differs"), ({"use_ema": True}, "averaged weights")],
    ids=["architecture", "averages"],
)
def test_a_baseline_that_cannot_be_measured_is_explained_in_the_history(
    trainings: Trainings, config: dict[str, Any], why: str
) -> None:
    history = trainings.fit(why, HOPELESS, config=config).history
    [message] = events(history, "baseline_metric")
    assert message.startswith("Early stopping is disabled: ")
    assert why in message
    assert len(history.epochs) == 8


def test_a_metric_that_the_model_has_not_is_named_before_the_first_step(
    trainings: Trainings,
) -> None:
    with pytest.raises(ConfigError, match="val_accuracy, val_loss"):
        trainings.fit("unknown", GOOD, early_stopping=BaselineEarlyStopping("val_auc", "max"))


@pytest.mark.slow
@pytest.mark.parametrize("by", ["baseline", "callback"])
def test_a_stopped_run_that_is_resumed_stays_stopped(trainings: Trainings, by: str) -> None:
    how: dict[str, Any] = {"schedule": HOPELESS}
    if by == "callback":
        how = {"schedule": GOOD, "baseline": None, "config": {"early": True}}
    first, again = trainings.fit(by, **how), trainings.fit(by, **how)

    assert len(events(again.history, "resume")) == 1
    assert again.history.epochs == first.history.epochs
    assert len(again.history.epochs) == 3
    assert events(again.history, "early_stop") == events(first.history, "early_stop")
    for weight, expected in zip(again.weights, first.weights, strict=True):
        np.testing.assert_array_equal(weight, expected)
