"""The model that a training is to replace: measured, and compared with."""

import math
from collections.abc import Callable, Mapping, Sequence

import keras

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.model.export import load_warm_start
from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training.early_stopping import (
    BaselineEarlyStopping,
    should_stop,
)
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder

_VALIDATION = "val_"


class BaselineModel:
    """What a training is given up for, if it cannot come up to it.

    Args:
        model: The model to be trained, before its first step.
        folder: Folder that ``save_for_warm_start`` wrote.
        options: What is watched.
        recorder: Takes down what was found.
    """

    def __init__(
        self, model: keras.Model, folder: str, options: BaselineEarlyStopping, recorder: Recorder
    ) -> None:
        self._model = model
        self._folder = folder
        self._options = options
        self._recorder = recorder

    def measure(self, validate: Callable[[], Mapping[str, float]]) -> float | None:
        """Measures the rival, by its weights in the model that is to be trained.

        Args:
            validate: Evaluates the model as it is.

        Returns:
            What is to be beaten; ``None`` where that cannot be told, and the event says why.

        Raises:
            ConfigError: The validation has no such metric.
        """
        optimizer = getattr(self._model.optimizer, "inner_optimizer", self._model.optimizer)
        if optimizer.use_ema:
            return self._none("the averaged weights of its optimizer are validated by nobody")
        before = capture(self._model)
        if obstacle := load_warm_start(self._model, self._folder):
            return self._none(f"the base model could not be measured, because {obstacle}")
        value = self._monitored(validate())
        restore(self._model, before)
        if not math.isfinite(value):
            return self._none(f"{self._options.monitor} of the base model is {value}")
        self._recorder.event(
            "to_beat",
            f"The base model has {self._options.monitor} {value:.4g} on the validation examples.",
        )
        return value

    def beaten_by(self, to_beat: float | None, ahead: Sequence[EpochSpec] | None) -> str | None:
        """Says why the training should be given up; ``None`` if it should not."""
        if to_beat is None:
            return None
        return should_stop(self._options, to_beat, self._recorder.epochs, ahead)

    def _monitored(self, validated: Mapping[str, float]) -> float:
        name = self._options.monitor.removeprefix(_VALIDATION)
        if name not in validated:
            raise ConfigError(
                "give_up monitor",
                received=self._options.monitor,
                expected=f"one of {', '.join(_VALIDATION + name for name in sorted(validated))}",
            )
        return float(validated[name])

    def _none(self, why: str) -> None:
        self._recorder.event("to_beat", f"This training is not given up early: {why}.")
