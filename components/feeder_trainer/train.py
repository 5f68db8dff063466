"""One training from files to exported model, without TFX."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.compatibility import check_goes_together
from tfx_feeder.components.feeder_trainer.distribution.fit import (
    FitResult,
    FitSpec,
    ModelBundle,
    build_model,
    fit,
    open_context,
    open_fit_context,
    run,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import run_in_processes
from tfx_feeder.components.feeder_trainer.distribution.options import Auto, SingleDevice
from tfx_feeder.components.feeder_trainer.model.export import (
    export_serving,
    required_raw_features,
    save_for_warm_start,
)
from tfx_feeder.components.feeder_trainer.strategy_selection.select import Selection, select
from tfx_feeder.components.feeder_trainer.training import progress
from tfx_feeder.components.feeder_trainer.training.tensorboard import write_scalars
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps
from tfx_feeder.schemas.training_history import Event, History


@dataclass(frozen=True)
class TrainSpec:
    """Specification of one training.

    Args:
        fit: Specification of the model fit.
        raw_feature_spec: Features of the raw Examples that the served model takes.
        transform: Turns parsed raw features into training features; ``None`` if they are the same.
        serving_dir: Output folder of the SavedModel.
        keras_dir: Output folder of the Keras file.
        log_dir: Where the logs go: TensorBoard's, and those of other processes.
        probe_dir: Where probes of strategies are kept for later trainings; ``None``: nowhere.
    """

    fit: FitSpec
    raw_feature_spec: Mapping[str, Any]
    transform: Callable[[dict[str, Any]], dict[str, Any]] | None
    serving_dir: str
    keras_dir: str
    log_dir: str
    probe_dir: str | None = None


def train(job: TrainSpec) -> History:
    """Trains, exports, and returns the record.

    Raises:
        ConfigError: Schedule, feed or model do not fit the data or the strategy.
        DataError: The files cannot be read.
    """
    began = time.perf_counter()
    check_goes_together(job.fit.strategy, job.fit.schedule, job.fit.context.feed, job.fit.loop)
    history, model = _fit(job, lambda: time.perf_counter() - began)
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


def _fit(job: TrainSpec, elapsed: Callable[[], float]) -> tuple[History, ModelBundle]:
    """Fits where the strategy says, or where the time to train leads to."""
    wanted = job.fit.strategy
    if not isinstance(wanted, (SingleDevice, Auto)):
        return _fit_elsewhere(job.fit, job.log_dir)
    work = dataclasses.replace(job.fit, strategy=SingleDevice())
    placement = open_context(work.strategy, None)
    selection = None
    with contextlib.closing(placement), open_fit_context(work, placement) as ready:
        if isinstance(wanted, Auto):
            dirs = {"log_dir": job.log_dir, "probe_dir": job.probe_dir}
            selection = select(job.fit, ready, elapsed, **dirs)
            progress.report_selection(selection.choice)
            work = dataclasses.replace(
                work,
                strategy=selection.strategy,
                prediction=selection.prediction,
                began_at=time.time(),
            )
        if isinstance(work.strategy, SingleDevice):
            history = run(work, placement, ready)
            return _with_choice(history, selection, work.began_at), ready.model
    # What was opened for the probe is closed by now: its memory is for the processes.
    history, model = _fit_elsewhere(work, job.log_dir)
    return _with_choice(history, selection, work.began_at), model


def _with_choice(history: History, selection: Selection | None, began_at: float) -> History:
    """Adds what was chosen among, and what the chosen one really took."""
    if selection is None:
        return history
    actual_s = time.time() - began_at
    rows = [
        dataclasses.replace(row, actual_s=actual_s) if row.verdict == "chosen" else row
        for row in selection.choice.to_rows()
    ]
    warning = selection.choice.warning
    events = (Event("time_to_train", 0, warning),) if warning else ()
    return dataclasses.replace(history, candidates=tuple(rows), events=(*events, *history.events))


def _fit_elsewhere(job: FitSpec, log_dir: str) -> tuple[History, ModelBundle]:
    ran = run_in_processes(fit, job, job.strategy, log_dir)
    restarts = [Event("restart", 0, failure) for failure in ran.failures]
    history = ran.result.history
    assert history.placement is not None
    placement = dataclasses.replace(history.placement, attempts=1 + len(restarts))
    history = dataclasses.replace(history, placement=placement, events=(*history.events, *restarts))
    return history, _rebuilt(job, ran.result)


def _rebuilt(job: FitSpec, fitted: FitResult) -> ModelBundle:
    """Makes an ordinary model of what other processes trained: none of it is distributed."""
    model = build_model(job)
    CompiledSteps(model.keras_model, model.adapt).build(fitted.element)
    for variable, value in zip(model.keras_model.variables, fitted.weights, strict=True):
        variable.assign(value)
    return model


def _raw_examples_to_inputs(job: TrainSpec, model: ModelBundle) -> Callable[[tf.Tensor], Any]:
    feed = job.fit.context.feed
    special = {*feed.label_keys, feed.weight_key}
    spec = {key: value for key, value in job.raw_feature_spec.items() if key not in special}
    transform = job.transform or dict
    names = model.parser.feature_names
    spec = required_raw_features(spec, transform, names)

    def to_inputs(serialized: tf.Tensor) -> Any:
        features = transform(tf.io.parse_example(serialized, spec))
        return model.adapt(model.parser.decode({name: features[name] for name in names}))

    return to_inputs
