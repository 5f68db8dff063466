"""ModelCardGenerator: component definition and build-time checks."""

import json
from collections.abc import Sequence

from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import Channel, component_spec

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.model_card import executor
from tfx_feeder.schemas import artifacts

_standard = tfx.types.standard_artifacts


class ModelCardSpec(component_spec.ComponentSpec):
    """Interface of ``ModelCardGenerator``."""

    PARAMETERS = {
        "intended_slices": component_spec.ExecutionParameter(type=str),
        "reason": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "pushed_model": component_spec.ChannelParameter(type=_standard.PushedModel),
        "model": component_spec.ChannelParameter(type=_standard.Model),
        "model_blessing": component_spec.ChannelParameter(
            type=_standard.ModelBlessing, optional=True
        ),
        "evaluation": component_spec.ChannelParameter(
            type=_standard.ModelEvaluation, optional=True
        ),
        "gate_report": component_spec.ChannelParameter(type=artifacts.GateReport, optional=True),
        "training_history": component_spec.ChannelParameter(
            type=artifacts.TrainingHistory, optional=True
        ),
        "examples": component_spec.ChannelParameter(type=_standard.Examples, optional=True),
        "schema": component_spec.ChannelParameter(type=_standard.Schema, optional=True),
        "transform_graph": component_spec.ChannelParameter(
            type=_standard.TransformGraph, optional=True
        ),
    }
    OUTPUTS = {"model_card": component_spec.ChannelParameter(type=artifacts.ModelCard)}


class ModelCardGenerator(base_component.BaseComponent):
    """Writes ``model_card.json`` beside a pushed model: origin, evaluation and file hashes.

    The component runs after the Pusher. If nothing was pushed, no card is written.

    Component outputs:

    - ``model_card``: the same card as an artifact of the pipeline.

    Args:
        pushed_model: Output of the Pusher.
        model: Model that was pushed.
        model_blessing: Blessing of the model, with the baseline it was compared with.
        evaluation: Metrics and thresholds.
        gate_report: Decision of EvalGate, if it decided instead of the Evaluator.
        training_history: Schedule, strategy, code and environment of the training.
        examples: Raw Examples, with their span.
        schema: Schema of the raw Examples.
        transform_graph: Graph that produced the training examples.
        intended_slices: Slices of the data that the model is intended for, such as columns by which
            it was evaluated; for human readers.
        reason: Reason for a push that was requested by a person.

    Raises:
        ConfigError: ``intended_slices`` is not a list of names.
    """

    SPEC_CLASS = ModelCardSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        pushed_model: tfx.types.BaseChannel,
        model: tfx.types.BaseChannel,
        model_blessing: tfx.types.BaseChannel | None = None,
        evaluation: tfx.types.BaseChannel | None = None,
        gate_report: tfx.types.BaseChannel | None = None,
        training_history: tfx.types.BaseChannel | None = None,
        examples: tfx.types.BaseChannel | None = None,
        schema: tfx.types.BaseChannel | None = None,
        transform_graph: tfx.types.BaseChannel | None = None,
        intended_slices: Sequence[str] = (),
        reason: str | None = None,
    ) -> None:
        if isinstance(intended_slices, str) or not all(
            isinstance(name, str) and name for name in intended_slices
        ):
            raise ConfigError(
                "intended_slices", received=intended_slices, expected="a list of slice names"
            )
        spec = ModelCardSpec(
            pushed_model=pushed_model,
            model=model,
            model_blessing=model_blessing,
            evaluation=evaluation,
            gate_report=gate_report,
            training_history=training_history,
            examples=examples,
            schema=schema,
            transform_graph=transform_graph,
            intended_slices=json.dumps(list(intended_slices)),
            reason=reason,
            model_card=Channel(type=artifacts.ModelCard),
        )
        super().__init__(spec=spec)
