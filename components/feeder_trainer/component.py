"""FeederTrainer component: inputs, outputs, and checks at pipeline build time."""

import json
from collections.abc import Mapping, Sequence
from typing import Any

from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import Channel, component_spec
from tfx.v1.dsl import standard_annotations

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer import executor
from tfx_feeder.components.feeder_trainer.compatibility import check_compatibility
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice, Strategy
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, checked, to_json
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.parser import parse_schedule, serialize_schedule
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.schemas.artifacts import TrainingHistory

_artifacts = tfx.types.standard_artifacts


class FeederTrainerSpec(component_spec.ComponentSpec):
    """Inputs and outputs of the standard Trainer, with ``training_history`` in addition."""

    PARAMETERS = {
        "model_fn": component_spec.ExecutionParameter(type=str, optional=True),
        "module_file": component_spec.ExecutionParameter(type=str, optional=True),
        "code_fingerprint": component_spec.ExecutionParameter(type=str),
        "schedule": component_spec.ExecutionParameter(type=str),
        "strategy": component_spec.ExecutionParameter(type=str),
        "feed": component_spec.ExecutionParameter(type=str),
        "loop": component_spec.ExecutionParameter(type=str),
        "warm_start": component_spec.ExecutionParameter(type=str),
        "custom_config": component_spec.ExecutionParameter(type=str),
        "tuned_learning_rate": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=_artifacts.Examples),
        "transform_graph": component_spec.ChannelParameter(
            type=_artifacts.TransformGraph, optional=True
        ),
        "schema": component_spec.ChannelParameter(type=_artifacts.Schema, optional=True),
        "base_model": component_spec.ChannelParameter(type=_artifacts.Model, optional=True),
        "hyperparameters": component_spec.ChannelParameter(
            type=_artifacts.HyperParameters, optional=True
        ),
    }
    OUTPUTS = {
        "model": component_spec.ChannelParameter(type=_artifacts.Model),
        "model_run": component_spec.ChannelParameter(type=_artifacts.ModelRun),
        "training_history": component_spec.ChannelParameter(type=TrainingHistory),
    }
    TYPE_ANNOTATION = standard_annotations.Train


class FeederTrainer(base_component.BaseComponent):
    """Trains a Keras model on a schedule of learning rates and batch sizes.

    Component outputs:

    - ``model``: the trained model; ``Format-Serving`` is a SavedModel whose signatures take raw
      Examples, ``Format-Keras`` a ``.keras`` file for warm starts.
    - ``model_run``: TensorBoard logs.
    - ``training_history``: record of the training by epoch and phase.

    Args:
        examples: Examples to train on, transformed or raw.
        schedule: A ``Schedule``, a policy, or a notation that ``parse_schedule`` accepts.
        model_fn: Importable path of a function ``(ModelContext) -> keras.Model`` that returns a
            compiled model. Its module may also define ``callbacks_fn(ModelContext)``, which
            returns Keras callbacks, and ``signatures_fn(model, RawExamples, ModelContext)``, which
            returns signatures of the served model by name. Exactly one of ``model_fn`` and
            ``module_file`` is required.
        module_file: Path of a Python file that defines ``model_fn``.
        transform_graph: Transform graph that produced ``examples`` from raw Examples; it becomes
            part of the serving signature.
        schema: Schema of the raw Examples; required without ``transform_graph``.
        base_model: Model for a warm start, and the baseline of ``training.early_stopping``; may be
            absent in the first run.
        hyperparameters: Best hyperparameters found by a Tuner, passed to ``model_fn``.
        strategy: Distribution strategy; one device by default.
        feed: Input pipeline options.
        training: Training loop options: micro-batches, class weights, checkpoints and so on.
        warm_start: ``"strict"`` rejects a ``base_model`` with another architecture,
            ``"compatible"`` trains from scratch in that case and records it in the history,
            ``"off"`` always trains from scratch.
        custom_config: JSON values passed to ``model_fn``.
        tuned_learning_rate: Name of the hyperparameter with the initial learning rate; the others
            of ``schedule`` keep their ratio to it.

    Raises:
        ConfigError: An argument is out of range, or ``model_fn`` does not import.
    """

    SPEC_CLASS = FeederTrainerSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: tfx.types.BaseChannel,
        schedule: Schedule | Policy | str | Sequence[Any] | Mapping[str, Any],
        model_fn: str | None = None,
        module_file: str | None = None,
        transform_graph: tfx.types.BaseChannel | None = None,
        schema: tfx.types.BaseChannel | None = None,
        base_model: tfx.types.BaseChannel | None = None,
        hyperparameters: tfx.types.BaseChannel | None = None,
        strategy: Strategy | None = None,
        feed: FeedOptions | None = None,
        training: TrainingOptions | None = None,
        warm_start: str = "strict",
        custom_config: Mapping[str, Any] | None = None,
        tuned_learning_rate: str | None = None,
    ) -> None:
        code = UserCode(model_fn=model_fn, module_file=module_file)
        code.load_model_fn()
        if transform_graph is None and schema is None:
            raise ConfigError(
                "schema",
                received=None,
                expected="the schema of the Examples, if there is no transform_graph",
                fix='Pass schema=schema_gen.outputs["schema"].',
            )
        if warm_start not in ("strict", "compatible", "off"):
            raise ConfigError(
                "warm_start", received=warm_start, expected="strict, compatible or off"
            )
        strategy = checked("strategy", SingleDevice() if strategy is None else strategy, Strategy)
        feed = checked("feed", feed, FeedOptions)
        training = checked("training", training, TrainingOptions)
        if training.early_stopping is not None and base_model is None:
            raise ConfigError(
                "base_model",
                received=None,
                expected="the model to match, for training with early_stopping",
            )
        if tuned_learning_rate is not None and hyperparameters is None:
            raise ConfigError(
                "hyperparameters",
                received=None,
                expected=f"the best hyperparameters of a Tuner, with {tuned_learning_rate!r}",
                fix='Pass hyperparameters=tuner.outputs["best_hyperparameters"].',
            )
        serialized_schedule = serialize_schedule(schedule)
        check_compatibility(strategy, parse_schedule(serialized_schedule), feed, training)
        spec = FeederTrainerSpec(
            examples=examples,
            transform_graph=transform_graph,
            schema=schema,
            base_model=base_model,
            hyperparameters=hyperparameters,
            model_fn=model_fn,
            module_file=module_file,
            code_fingerprint=code.fingerprint(),
            schedule=serialized_schedule,
            strategy=strategy.to_json(),
            feed=to_json(feed),
            loop=training.to_json(),
            warm_start=warm_start,
            custom_config=_to_json(custom_config),
            tuned_learning_rate=tuned_learning_rate,
            model=Channel(type=_artifacts.Model),
            model_run=Channel(type=_artifacts.ModelRun),
            training_history=Channel(type=TrainingHistory),
        )
        super().__init__(spec=spec)


def _to_json(custom_config: Mapping[str, Any] | None) -> str:
    try:
        return json.dumps(dict(custom_config or {}), sort_keys=True)
    except TypeError as error:
        raise ConfigError(
            "custom_config", received=custom_config, expected="JSON values"
        ) from error
