"""Trains and exports a model from files, without TFX."""

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from tfx_feeder.components.feeder_trainer.compatibility import check_compatibility
from tfx_feeder.components.feeder_trainer.distribution.devices import reserve_gpus
from tfx_feeder.components.feeder_trainer.distribution.fit import (
    FitResult,
    FitSpec,
    ModelBundle,
    build_model,
    fit,
    open_fit_context,
    run,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import run_in_processes
from tfx_feeder.components.feeder_trainer.distribution.options import Auto, SingleDevice
from tfx_feeder.components.feeder_trainer.model.export import (
    RawExamples,
    check_outputs,
    check_signatures,
    export_serving,
)
from tfx_feeder.components.feeder_trainer.model.state import (
    plain_variables,
    refresh_constants,
    reset_random_state,
)
from tfx_feeder.components.feeder_trainer.model.warm_start import save_for_warm_start
from tfx_feeder.components.feeder_trainer.strategy_selection.select import Selection, select
from tfx_feeder.components.feeder_trainer.training import progress
from tfx_feeder.components.feeder_trainer.training.loss_division import unchanged_variables
from tfx_feeder.components.feeder_trainer.training.tensorboard import write_scalars
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps
from tfx_feeder.schemas.training_history import Event, History


@dataclass(frozen=True)
class TrainSpec:
    """Specification of a training run.

    Args:
        fit: Specification of the model fit.
        raw_feature_spec: Features of the raw Examples that the served model takes.
        transform: Function from parsed raw features to training features; ``None`` if they are the
            same.
        serving_dir: Output folder of the SavedModel.
        keras_dir: Output folder of the Keras file.
        log_dir: Folder of the TensorBoard logs and of the logs of other processes.
        profile_dir: Folder of the strategy profiles that later runs reuse; ``None`` to keep none.
    """

    fit: FitSpec
    raw_feature_spec: Mapping[str, Any]
    transform: Callable[[dict[str, Any]], dict[str, Any]] | None
    serving_dir: str
    keras_dir: str
    log_dir: str
    profile_dir: str | None = None


def train(spec: TrainSpec, *, complete: Callable[[History], None] | None = None) -> History:
    """Trains and exports a model, and returns the training history.

    Args:
        spec: Specification of the training run.
        complete: Function of the history that writes further outputs; optional. If it fails, the
            checkpoints are kept, from which the next attempt resumes.

    Raises:
        ConfigError: Schedule, feed or model do not fit the data or the strategy.
        DataError: The files cannot be read.
    """
    began = time.perf_counter()
    fit_spec = spec.fit
    check_compatibility(
        fit_spec.strategy, fit_spec.schedule, fit_spec.context.feed, fit_spec.training
    )
    # Identified before training, because the code may be edited during training.
    checkpoints = fit_spec.checkpoints()
    history, exporter = _fit(spec, lambda: time.perf_counter() - began)
    write_scalars(history, spec.log_dir)
    exporter.write()
    if complete is not None:
        complete(history)
    checkpoints.remove()
    return history


def _fit(spec: TrainSpec, elapsed: Callable[[], float]) -> tuple[History, "_Exporter"]:
    """Fits the model with the specified strategy, or with the one that ``Auto`` selects."""
    strategy = spec.fit.strategy
    trains_here = reserve_gpus(strategy)
    if not trains_here and not isinstance(strategy, Auto):
        history, model = _fit_in_processes(spec.fit, spec.log_dir)
        return history, _Exporter(spec, model)
    fit_spec = dataclasses.replace(spec.fit, strategy=SingleDevice())
    selection = None
    with open_fit_context(fit_spec) as context:
        if isinstance(strategy, Auto):
            dirs = {"log_dir": spec.log_dir, "profile_dir": spec.profile_dir}
            selection = select(spec.fit, context, elapsed, in_process=trains_here, **dirs)
            progress.report_selection(selection.choice)
            fit_spec = dataclasses.replace(
                fit_spec,
                strategy=selection.strategy,
                prediction=selection.prediction,
                began_at=time.time(),
            )
        if trains_here and isinstance(fit_spec.strategy, SingleDevice):
            exporter = _Exporter(spec, context.model)  # Errors of the user's code come first.
            exporter.check(context.element[0])
            history = run(fit_spec, context)
            return _with_candidates(history, selection, fit_spec.began_at), exporter
    # The context is closed by now, so its memory is available to the processes.
    history, model = _fit_in_processes(fit_spec, spec.log_dir)
    history = _with_candidates(history, selection, fit_spec.began_at)
    return history, _Exporter(spec, model)


def _with_candidates(history: History, selection: Selection | None, began_at: float) -> History:
    """Adds the candidates and the measured duration of the selected one to the history."""
    if selection is None:
        return history
    # A resumed run began before its strategy was selected again.
    actual_s = max(time.time() - began_at, history.seconds)
    rows = [
        dataclasses.replace(row, actual_s=actual_s) if row.verdict == "chosen" else row
        for row in selection.choice.to_rows()
    ]
    warning = selection.choice.warning
    events = (Event("time_to_train", 0, warning),) if warning else ()
    return dataclasses.replace(history, candidates=tuple(rows), events=(*events, *history.events))


def _fit_in_processes(spec: FitSpec, log_dir: str) -> tuple[History, ModelBundle]:
    launch = run_in_processes(fit, spec, spec.strategy, log_dir)
    restarts = [Event("restart", 0, failure) for failure in launch.failures]
    history = launch.result.history
    assert history.placement is not None
    record = dataclasses.replace(history.placement, attempts=1 + len(restarts))
    history = dataclasses.replace(history, placement=record, events=(*history.events, *restarts))
    return history, _model_from_result(spec, launch.result)


def _model_from_result(spec: FitSpec, result: FitResult) -> ModelBundle:
    """Builds a non-distributed model with the weights that other processes trained."""
    # As in those processes: model_fn may draw constants, such as random features.
    reset_random_state(spec.context.feed.seed)
    model = build_model(spec)
    CompiledSteps(model.keras_model, model.to_model_inputs).build(result.element)
    for variable, value in zip(model.keras_model.variables, result.weights, strict=True):
        variable.assign(value)
    for path, variable in plain_variables(model.keras_model).items():
        if path in result.attributes:
            variable.assign(result.attributes[path])
    refresh_constants(model.keras_model)
    return model


class _Exporter:
    """Writes the artifacts of a model; calls the user's ``signatures_fn`` when it is created."""

    def __init__(self, spec: TrainSpec, model: ModelBundle) -> None:
        self._spec = spec
        self._model = model.keras_model
        self._examples = RawExamples(
            spec.raw_feature_spec, spec.transform, model.parser, model.to_model_inputs
        )
        signatures_fn = spec.fit.code.load_optional("signatures_fn")
        self._signatures = None
        if signatures_fn is not None:
            self._signatures = check_signatures(
                signatures_fn(self._model, self._examples, spec.fit.context)
            )

    def check(self, features: dict[str, Any]) -> None:
        """Checks that the outputs of the model can be exported.

        Args:
            features: Training features of an example.
        """
        with unchanged_variables(self._model):
            outputs = self._model(self._examples.adapt(features), training=False)
        check_outputs(outputs, self._signatures)

    def write(self) -> None:
        """Writes the SavedModel and the file for warm starts."""
        export_serving(self._model, self._examples, self._spec.serving_dir, self._signatures)
        save_for_warm_start(self._model, self._spec.keras_dir)
