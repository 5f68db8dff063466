"""The baseline of a training run: the base model, measured before the first step."""

import math
from collections.abc import Callable, Mapping, Sequence

import keras

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.model.warm_start import load_warm_start
from tfx_feeder.components.feeder_trainer.schedules.schedule import EpochSpec
from tfx_feeder.components.feeder_trainer.training import progress
from tfx_feeder.components.feeder_trainer.training.early_stopping import (
    BaselineEarlyStopping,
    should_stop,
)
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.step_timer import preserve_state

_EVENT = "baseline_metric"
_VALIDATION = "val_"


class BaselineModel:
    """Baseline model that a run must match to avoid early stopping.

    Args:
        model: Model to train, before its first step.
        folder: Folder written by ``save_for_warm_start``.
        options: Metric to monitor and tolerance.
        recorder: Recorder of the run.
    """

    def __init__(
        self, model: keras.Model, folder: str, options: BaselineEarlyStopping, recorder: Recorder
    ) -> None:
        self.baseline_metric: float | None = None
        self._model = model
        self._folder = folder
        self._options = options
        self._recorder = recorder

    def measure(self, validate: Callable[[], Mapping[str, float]]) -> None:
        """Sets ``baseline_metric`` by evaluating the base model's weights in the model to train.

        If the base model cannot be measured, an event records the reason and the run is never
        stopped early.

        Args:
            validate: Function that evaluates the model.

        Raises:
            ConfigError: The validation has no such metric.
        """
        optimizer = getattr(self._model.optimizer, "inner_optimizer", self._model.optimizer)
        if optimizer.use_ema:
            return self._disable("validation does not use the averaged weights of its optimizer")
        with preserve_state(self._model):
            if obstacle := load_warm_start(self._model, self._folder):
                return self._disable(f"the base model could not be measured: {obstacle}")
            value = self._monitored(validate())
        if not math.isfinite(value):
            return self._disable(f"{self._options.monitor} of the base model is {value}")
        self.baseline_metric = value
        self._recorder.event(
            _EVENT,
            f"The base model has {self._options.monitor} {value:.4g} on the validation examples.",
        )

    def stop_reason(self, remaining: Sequence[EpochSpec] | None) -> str | None:
        """Returns why the run should be stopped; ``None`` if it should continue.

        Args:
            remaining: Epochs after the current one; ``None`` if they depend on future decisions.
        """
        if self.baseline_metric is None:
            return None
        return should_stop(self._options, self.baseline_metric, self._recorder.epochs, remaining)

    def on_epoch_end(self, remaining: Sequence[EpochSpec] | None) -> None:
        """Stops the model's training if it can no longer match the base model.

        Args:
            remaining: Epochs after the current one; ``None`` if they depend on future decisions.
        """
        if not self._model.stop_training and (reason := self.stop_reason(remaining)):
            self._recorder.event("early_stop", reason)
            progress.log_warning(reason)
            self._model.stop_training = True

    def _monitored(self, validated: Mapping[str, float]) -> float:
        name = self._options.monitor.removeprefix(_VALIDATION)
        if name not in validated:
            raise ConfigError(
                "early_stopping monitor",
                received=self._options.monitor,
                expected=f"one of {', '.join(_VALIDATION + name for name in sorted(validated))}",
            )
        return float(validated[name])

    def _disable(self, reason: str) -> None:
        self._recorder.event(_EVENT, f"Early stopping is disabled: {reason}.")
