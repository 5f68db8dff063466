"""SliceGen: component definition and build-time checks."""

import json
from typing import Any

from tfx import v1 as tfx
from tfx.dsl.components.base import base_beam_component, executor_spec
from tfx.types import Channel, component_spec

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen import executor
from tfx_feeder.components.slice_gen.fingerprint import fingerprint
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.schemas import artifacts
from tfx_feeder.schemas.slices import DRIFT, EVAL, SERVING_SKEW

_standard = tfx.types.standard_artifacts


class SliceGenSpec(component_spec.ComponentSpec):
    """Interface of ``SliceGen``."""

    PARAMETERS = {
        "options": component_spec.ExecutionParameter(type=str),
        "output_splits": component_spec.ExecutionParameter(type=str),
        "serving_log_path": component_spec.ExecutionParameter(type=str, optional=True),
        "labels": component_spec.ExecutionParameter(type=str, optional=True),
        "fingerprint": component_spec.ExecutionParameter(type=str, optional=True),
    }
    INPUTS = {
        "examples": component_spec.ChannelParameter(type=_standard.Examples),
        "schema": component_spec.ChannelParameter(type=_standard.Schema),
        "statistics": component_spec.ChannelParameter(type=_standard.ExampleStatistics),
        "baseline_statistics": component_spec.ChannelParameter(
            type=_standard.ExampleStatistics, optional=True
        ),
        "baseline_examples": component_spec.ChannelParameter(
            type=_standard.Examples, optional=True
        ),
        "model": component_spec.ChannelParameter(type=_standard.Model, optional=True),
        "serving_log": component_spec.ChannelParameter(
            type=_standard.InferenceResult, optional=True
        ),
        "served_examples": component_spec.ChannelParameter(type=_standard.Examples, optional=True),
    }
    OUTPUTS = {
        "annotated_examples": component_spec.ChannelParameter(type=_standard.Examples),
        "slices": component_spec.ChannelParameter(type=artifacts.Slices),
        "drift_report": component_spec.ChannelParameter(type=artifacts.DriftReport),
    }


class SliceGen(base_beam_component.BaseBeamComponent):
    """Annotates evaluation examples with the names of their slices, and compares distributions.

    The names are in the feature ``evaluation_slices``, of which each value is a slice of the
    Evaluator with ``SlicingSpec(feature_keys=["evaluation_slices"])``. Slices are declared features
    and crosses, those in which a model is worse than elsewhere, and values that became more
    frequent than in earlier data, or are so in the serving log.

    Component outputs:

    - ``annotated_examples``: gzipped TFRecords with the split ``eval``; with baseline statistics
      ``drift``, the same examples as far as they carry the difference; with a serving log
      ``serving_skew``, its examples that have a label.
    - ``slices``: names, predicates, sizes and evidence of the slices, in ``slices.json``.
    - ``drift_report``: verdict on the distribution of each feature, in ``drift_report.json``; empty
      without baseline statistics and serving log.

    Args:
        examples: Examples with the splits to annotate.
        schema: Schema of the examples.
        statistics: Statistics of the examples.
        baseline_statistics: Statistics to compare with, such as those of the data of the blessed
            model. Their quantiles cut numbers into intervals, so that the names of slices stay the
            same. Of several artifacts, the latest is used.
        baseline_examples: Examples of the baseline statistics, which the classifier test of the
            options compares with the current ones.
        model: Model whose weak slices are proposed, such as the latest blessed one; nothing is
            proposed as long as there is none.
        serving_log: Requests that a model has served: ``InferenceResult`` of BulkInferrer,
            ``Examples``, or the path of a file or folder. They are compared with the training data
            of the baseline statistics, or else of ``statistics``.
        labels: Path of a file or folder with labels of the served examples: CSV, Parquet, or
            TFRecord files of Examples.
        options: Declared slices, loss of the model, search, and comparisons.

    Raises:
        ConfigError: ``options`` declare no slice and there is no model and nothing to compare with;
            there is a model without a loss, clusters without a model, or labels without a serving
            log or without options; ``serving_log`` is of another type; the classifier test has
            nothing to compare with.
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
        baseline_examples: tfx.types.BaseChannel | None = None,
        model: tfx.types.BaseChannel | None = None,
        serving_log: tfx.types.BaseChannel | str | None = None,
        labels: str | None = None,
        options: SliceGenOptions,
    ) -> None:
        if options.slices == () and (model, baseline_statistics, serving_log) == (None, None, None):
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
        if options.clusters is not None and model is None:
            raise ConfigError(
                "clusters",
                received=options.clusters,
                expected="a model whose embedding is clustered",
                fix="Pass model, such as the latest blessed one.",
            )
        tested = baseline_statistics is not None and options.classifier is not None
        if baseline_examples is not None and not tested:
            raise ConfigError(
                "baseline_examples",
                received=baseline_examples,
                expected="baseline_statistics and options of the classifier test as well",
                fix="Set SliceGenOptions(classifier=ClassifierTestOptions()).",
            )
        if options.classifier and baseline_examples is None and serving_log is None:
            raise ConfigError(
                "classifier",
                received=options.classifier,
                expected="examples to compare with: baseline_examples or serving_log",
            )
        _check_labels(labels, serving_log, options)
        splits = [EVAL, *[DRIFT] * (baseline_statistics is not None)]
        splits += [SERVING_SKEW] * (serving_log is not None)
        path = serving_log if isinstance(serving_log, str) else None
        paths = [p for p in (path, labels) if p is not None]
        spec = SliceGenSpec(
            examples=examples,
            schema=schema,
            statistics=statistics,
            baseline_statistics=baseline_statistics,
            baseline_examples=baseline_examples,
            model=model,
            **{} if path is not None else _log_input(serving_log),
            serving_log_path=path,
            labels=labels,
            fingerprint=fingerprint(paths) if paths else None,
            options=json.dumps(options.as_dict(), sort_keys=True),
            output_splits=json.dumps(splits),
            annotated_examples=Channel(type=_standard.Examples),
            slices=Channel(type=artifacts.Slices),
            drift_report=Channel(type=artifacts.DriftReport),
        )
        super().__init__(spec=spec)


def _log_input(serving_log: Any) -> dict[str, tfx.types.BaseChannel]:
    """Returns the serving log under the name of the input of its type."""
    if serving_log is None:
        return {}
    kind = getattr(serving_log, "type", None)
    names = {_standard.InferenceResult: "serving_log", _standard.Examples: "served_examples"}
    if kind not in names:
        raise ConfigError(
            "serving_log",
            received=getattr(kind, "TYPE_NAME", serving_log),
            expected="a channel of InferenceResult or Examples, or a path",
        )
    return {names[kind]: serving_log}


def _check_labels(labels: Any, serving_log: Any, options: SliceGenOptions) -> None:
    for name, path in (("labels", labels), ("serving_log", serving_log)):
        if isinstance(path, str) and not path:
            raise ConfigError(name, received=path, expected="the path of a file or folder")
    if labels is not None and not isinstance(labels, str):
        raise ConfigError("labels", received=labels, expected="the path of a file or folder")
    if labels is not None and serving_log is None:
        raise ConfigError(
            "serving_log",
            received=None,
            expected="the examples that the labels belong to",
            fix="Pass serving_log; current examples have their labels in a feature.",
        )
    if (labels is None) != (options.labels is None):
        raise ConfigError(
            "labels",
            received=labels,
            expected=f"a path if and only if the options describe the join: {options.labels}",
            fix='Pass labels="…" and SliceGenOptions(labels=LabelOptions(key="…", label="…")).',
        )
