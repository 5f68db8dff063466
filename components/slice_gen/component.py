"""SliceGen: component definition and build-time checks."""

import json

from tfx import v1 as tfx
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import Channel, component_spec

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen import executor
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.schemas import artifacts

_standard = tfx.types.standard_artifacts


class SliceGenSpec(component_spec.ComponentSpec):
    """Interface of ``SliceGen``."""

    PARAMETERS = {"options": component_spec.ExecutionParameter(type=str)}
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=_standard.Examples),
        "schema": component_spec.ChannelParameter(type=_standard.Schema),
        "statistics": component_spec.ChannelParameter(type=_standard.ExampleStatistics),
        "baseline_statistics": component_spec.ChannelParameter(
            type=_standard.ExampleStatistics, optional=True
        ),
        "model": component_spec.ChannelParameter(type=_standard.Model, optional=True),
    }
    OUTPUTS = {
        "annotated_examples": component_spec.ChannelParameter(type=_standard.Examples),
        "slices": component_spec.ChannelParameter(type=artifacts.Slices),
        "drift_report": component_spec.ChannelParameter(type=artifacts.DriftReport),
    }


class SliceGen(base_beam_component.BaseBeamComponent):
    """Annotates evaluation examples with the names of their slices.

    The names are in the feature ``evaluation_slices``, of which each value is a slice of the
    Evaluator with ``SlicingSpec(feature_keys=["evaluation_slices"])``. Slices are declared features
    and crosses, those in which a model is worse than elsewhere, and those that became more frequent
    than in earlier data.

    Component outputs:

    - ``annotated_examples``: gzipped TFRecords with the split ``eval``, and with baseline
      statistics ``drift``: the same examples as far as they carry the difference.
    - ``slices``: names, predicates, sizes and evidence of the slices, in ``slices.json``.
    - ``drift_report``: verdict on the distribution of each feature, in ``drift_report.json``; empty
      without baseline statistics.

    Args:
        examples: Examples with the splits to annotate.
        schema: Schema of the examples.
        statistics: Statistics of the examples.
        baseline_statistics: Statistics to compare with, such as those of the data of the blessed
            model. Their quantiles cut numbers into intervals, so that the names of slices stay the
            same. Of several artifacts, the latest is used.
        model: Model whose weak slices are proposed, such as the latest blessed one; nothing is
            proposed as long as there is none.
        options: Declared slices, loss of the model, search, and comparison.

    Raises:
        ConfigError: ``options`` declare no slice and there is no model, or there is a model without
            a loss.
    """

    SPEC_CLASS = SliceGenSpec
    EXECUTOR_SPEC = executor_spec.BeamExecutorSpec(executor.Executor)

    def __init__(
        self,
        *,
        examples: tfx.types.BaseChannel,
        schema: tfx.types.BaseChannel,
        statistics: tfx.types.BaseChannel,
        baseline_statistics: tfx.types.BaseChannel | None = None,
        model: tfx.types.BaseChannel | None = None,
        options: SliceGenOptions,
    ) -> None:
        if model is None and not options.slices:
            raise ConfigError(
                "slices",
                received=options.slices,
                expected="at least one feature or cross",
                fix="Declare one, or pass a model, for which slices are proposed.",
            )
        if model is not None and options.loss is None:
            raise ConfigError(
                "loss",
                received=None,
                expected="the label and the loss of the model",
                fix='Set SliceGenOptions(loss=LossOptions(label="label")).',
            )
        spec = SliceGenSpec(
            examples=examples,
            schema=schema,
            statistics=statistics,
            baseline_statistics=baseline_statistics,
            model=model,
            options=json.dumps(options.as_dict(), sort_keys=True),
            annotated_examples=Channel(type=_standard.Examples),
            slices=Channel(type=artifacts.Slices),
            drift_report=Channel(type=artifacts.DriftReport),
        )
        super().__init__(spec=spec)
