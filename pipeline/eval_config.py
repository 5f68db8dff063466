"""Quality gates of the reference pipeline, and their translation for the Evaluator."""

# Generated protobuf modules define their messages at run time only.
# pyright: reportAttributeAccessIssue=false

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from tfx_feeder.common.errors import ConfigError

METRIC = "accuracy"
SIGNATURE = "serving_default"


@dataclass(frozen=True, slots=True)
class Gates:
    """Accuracy thresholds a model must meet to be pushed, 0 to 1.

    Args:
        min_accuracy: Minimum accuracy over all evaluation examples.
        min_slice_accuracy: Minimum accuracy on every slice. Slices are small, so allow for noise.
        max_regression: Maximum drop of the accuracy over all examples below that of the latest
            blessed model.

    Raises:
        ConfigError: A value is not between 0 and 1.
    """

    min_accuracy: float = 0.9
    min_slice_accuracy: float = 0.6
    max_regression: float = 0.02

    def __post_init__(self) -> None:
        for name in self.__slots__:
            value = getattr(self, name)
            if not (math.isfinite(value) and 0 <= value <= 1):
                raise ConfigError(f"gates {name}", received=value, expected="a number from 0 to 1")

    @classmethod
    def for_classes(cls, num_classes: int) -> "Gates":
        """Returns gates for data of which only the number of classes is known.

        Over all examples, a model must be halfway between chance and perfect accuracy; on every
        slice, it must be at least as good as chance.
        """
        chance = 1 / num_classes
        return cls(min_accuracy=(1 + chance) / 2, min_slice_accuracy=chance)


def eval_config(slice_keys: Sequence[str], gates: Gates, label_key: str = "label") -> Any:
    """Returns the ``tfma.EvalConfig`` of the Evaluator.

    Args:
        slice_keys: Columns of the raw examples; each value of each column is a slice.
        gates: Thresholds.
        label_key: Column of the target.
    """
    # Imported here because TFMA loads TensorFlow, and the gates are needed without it.
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.proto import config_pb2

    def at_least(value: float) -> Any:
        # Metrics are computed in single precision: 19 of 20 is 0.94999999.
        return tfma.GenericValueThreshold(lower_bound={"value": max(0.0, value - 1e-7)})

    overall = tfma.SlicingSpec()
    slices = [tfma.SlicingSpec(feature_keys=[key]) for key in slice_keys]
    # MetricConfig.threshold would apply to every slice, including the change against the baseline,
    # and noise on small slices would reject better models.
    per_slice = config_pb2.PerSliceMetricThreshold
    thresholds = [
        per_slice(
            slicing_specs=[overall],
            threshold=tfma.MetricThreshold(
                value_threshold=at_least(gates.min_accuracy),
                change_threshold=tfma.GenericChangeThreshold(
                    direction=tfma.MetricDirection.HIGHER_IS_BETTER,
                    absolute={"value": -gates.max_regression},
                ),
            ),
        ),
        per_slice(
            slicing_specs=slices,
            threshold=tfma.MetricThreshold(value_threshold=at_least(gates.min_slice_accuracy)),
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
