"""One training from files to exported model, without TFX."""

import contextlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer import fitting
from tfx_feeder.components.feeder_trainer.export import (
    export_serving,
    needed_features,
    save_for_warm_start,
)
from tfx_feeder.components.feeder_trainer.fitting import FitJob, Fitted, Model
from tfx_feeder.components.feeder_trainer.placing.start import fit_in_processes
from tfx_feeder.components.feeder_trainer.step import CompiledSteps
from tfx_feeder.components.feeder_trainer.strategies import STRATEGIES
from tfx_feeder.components.feeder_trainer.tensorboard import write_scalars
from tfx_feeder.schemas.training_history import History


@dataclass(frozen=True)
class TrainingJob:
    """What one training needs to know.

    Args:
        fit: What to fit, and how.
        raw_feature_spec: Features of the raw Examples that the served model takes.
        transform: Turns parsed raw features into training features; ``None`` if they are the same.
        serving_dir: Where the SavedModel goes.
        keras_dir: Where the Keras file goes.
        log_dir: Where the logs go: TensorBoard's, and those of other processes.
    """

    fit: FitJob
    raw_feature_spec: Mapping[str, Any]
    transform: Callable[[dict[str, Any]], dict[str, Any]] | None
    serving_dir: str
    keras_dir: str
    log_dir: str


def train(job: TrainingJob) -> History:
    """Trains, exports, and returns the record.

    Raises:
        ConfigError: Schedule, feed or model do not fit the data or the strategy.
        DataError: The files cannot be read.
    """
    _check(job.fit)
    if STRATEGIES[job.fit.strategy.name].starts == "here":
        placement = fitting.open_placement(job.fit.strategy, None)
        with contextlib.closing(placement), fitting.prepared(job.fit, placement) as ready:
            history, model = fitting.run(job.fit, placement, ready), ready.model
    else:
        fitted = fit_in_processes(job.fit, job.log_dir)
        history, model = fitted.history, _rebuilt(job.fit, fitted)
    write_scalars(history, job.log_dir)
    export_serving(
        model.keras_model,
        _raw_examples_to_inputs(job, model),
        job.serving_dir,
        track=() if job.transform is None else (job.transform,),
    )
    save_for_warm_start(model.keras_model, job.keras_dir)
    job.fit.checkpoints().remove()
    return history


def _check(job: FitJob) -> None:
    """Raises where a strategy is asked for what it cannot do."""
    asked = {"feed service": job.context.feed.service, "loop deterministic": job.loop.deterministic}
    for option in STRATEGIES[job.strategy.name].refuses:
        if asked[option]:
            raise ConfigError(
                option, received=asked[option], expected=f"none with {job.strategy.name}"
            )


def _rebuilt(job: FitJob, fitted: Fitted) -> Model:
    """Makes an ordinary model of what other processes trained: none of it is distributed."""
    model = fitting.make(job)
    CompiledSteps(model.keras_model, model.adapt).build_from(fitted.element)
    for variable, value in zip(model.keras_model.variables, fitted.weights, strict=True):
        variable.assign(value)
    return model


def _raw_examples_to_inputs(job: TrainingJob, model: Model) -> Callable[[tf.Tensor], Any]:
    feed = job.fit.context.feed
    special = {*feed.label_keys, feed.weight_key}
    spec = {key: value for key, value in job.raw_feature_spec.items() if key not in special}
    transform = job.transform or dict
    names = model.parser.feature_names
    spec = needed_features(spec, transform, names)

    def to_inputs(serialized: tf.Tensor) -> Any:
        features = transform(tf.io.parse_example(serialized, spec))
        return model.adapt(model.parser.decode({name: features[name] for name in names}))

    return to_inputs
