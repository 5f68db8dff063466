"""EvalGate: component definition and build-time checks."""

import json
from typing import Any

from google.protobuf import json_format
from tfx import v1 as tfx
from tfx.dsl.components.base import base_component, executor_spec
from tfx.types import Channel, component_spec

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate import executor
from tfx_feeder.components.eval_gate.gate import Gate, check_slices_exist
from tfx_feeder.schemas import artifacts

_standard = tfx.types.standard_artifacts


class EvalGateSpec(component_spec.ComponentSpec):
    """Interface of ``EvalGate``."""

    PARAMETERS = {"gate": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "evaluation": component_spec.ChannelParameter(type=_standard.ModelEvaluation),
        "model": component_spec.ChannelParameter(type=_standard.Model),
        "baseline_model": component_spec.ChannelParameter(type=_standard.Model, optional=True),
        "slices": component_spec.ChannelParameter(type=artifacts.Slices, optional=True),
    }
    OUTPUTS = {
        "blessing": component_spec.ChannelParameter(type=_standard.ModelBlessing),
        "gate_report": component_spec.ChannelParameter(type=artifacts.GateReport),
    }


class EvalGate(base_component.BaseComponent):
    """Blesses a model if it is not proven worse than a threshold or than the blessed model.

    Reads the results of a stock Evaluator whose ``eval_config`` has no thresholds. To compare both
    models on the same examples, add the metrics of ``eval_gate.tfma_metrics`` to the config.

    Component outputs:

    - ``blessing``: standard ``ModelBlessing`` for the Pusher and for resolvers of the latest
      blessed model.
    - ``gate_report``: what was compared, and what decided, per slice.

    Args:
        evaluation: Output of the Evaluator.
        model: Candidate that was evaluated.
        baseline_model: Blessed model that the Evaluator compared it with.
        slices: Output of SliceGen, which tells the origins of the slices.
        gate: Thresholds, and how to judge them.
        eval_config: ``tfma.EvalConfig`` of the Evaluator, to check the gate against it when the
            pipeline is built.

    Raises:
        ConfigError: ``gate`` is not a ``Gate``, or refers to a slice that the Evaluator does not
            compute.
    """

    SPEC_CLASS = EvalGateSpec
    EXECUTOR_SPEC = executor_spec.ExecutorClassSpec(executor.Executor)

    def __init__(
        self,
        *,
        evaluation: tfx.types.BaseChannel,
        model: tfx.types.BaseChannel,
        gate: Gate,
        baseline_model: tfx.types.BaseChannel | None = None,
        slices: tfx.types.BaseChannel | None = None,
        eval_config: Any = None,
    ) -> None:
        if not isinstance(gate, Gate):
            raise ConfigError("gate", received=gate, expected="a Gate")
        if eval_config is not None:
            check_slices_exist(gate, json_format.MessageToDict(eval_config))
        spec = EvalGateSpec(
            evaluation=evaluation,
            model=model,
            baseline_model=baseline_model,
            slices=slices,
            gate=json.dumps(gate.to_dict()),
            blessing=Channel(type=_standard.ModelBlessing),
            gate_report=Channel(type=artifacts.GateReport),
        )
        super().__init__(spec=spec)
