"""What the Evaluator measures, on which slices, and what it takes to be blessed."""

# Generated protobuf modules name their messages at run time only.
# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Sequence

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from tfx_feeder.pipeline.gates import METRIC, Gates

SIGNATURE = "serving_default"


def eval_config(
    slice_keys: Sequence[str], gates: Gates, label_key: str = "label"
) -> tfma.EvalConfig:
    """Returns the ``tfma.EvalConfig``.

    Args:
        slice_keys: Columns of the raw examples; each value of each is a slice.
        gates: The thresholds.
        label_key: Column of the target.
    """
    overall = tfma.SlicingSpec()
    slices = [tfma.SlicingSpec(feature_keys=[key]) for key in slice_keys]
    # MetricConfig.threshold would apply to every slice, the change against the baseline included,
    # and noise in small slices would reject better models.
    per_slice = config_pb2.PerSliceMetricThreshold
    thresholds = [
        per_slice(
            slicing_specs=[overall],
            threshold=tfma.MetricThreshold(
                value_threshold=_at_least(gates.least),
                change_threshold=tfma.GenericChangeThreshold(
                    direction=tfma.MetricDirection.HIGHER_IS_BETTER,
                    absolute={"value": -gates.largest_drop},
                ),
            ),
        ),
        per_slice(
            slicing_specs=slices,
            threshold=tfma.MetricThreshold(value_threshold=_at_least(gates.least_per_slice)),
        ),
    ]
    metrics = [
        tfma.MetricConfig(class_name="ExampleCount"),
        tfma.MetricConfig(
            class_name="SparseCategoricalAccuracy",
            config=json.dumps({"name": METRIC}),
            per_slice_thresholds=thresholds,
        ),
    ]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=SIGNATURE, label_key=label_key)],
        slicing_specs=[overall, *slices],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )


def _at_least(value: float) -> tfma.GenericValueThreshold:
    # Metrics are computed in single precision: 19 of 20 come out as 0.94999999.
    value = max(0.0, value - 1e-7)
    return tfma.GenericValueThreshold(lower_bound={"value": value})
