"""Gate of the reference pipeline, and the configuration of its SliceGen and its Evaluator."""

# Generated protobuf modules define their messages at run time only.
# pyright: reportAttributeAccessIssue=false

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, NoReturn

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate.gate import Floor, Gate, Margin
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES
from tfx_feeder.schemas.slices import DECLARED, SLICES_FEATURE

if TYPE_CHECKING:  # Imports NumPy, and light commands import this module.
    from tfx_feeder.components.slice_gen.options import SliceGenOptions

METRIC = "accuracy"
SIGNATURE = "serving_default"
LABEL, IMAGE = "label", "image"
"""Features of the raw examples."""
_MARGIN = 0.02
_MIN_VALUES = 50


def make_gate(min_accuracy: float = 0.9, min_slice_accuracy: float = 0.6) -> Gate:
    """Returns a gate with a floor on all examples, one on the declared slices, and a margin.

    Slices that SliceGen proposes have no floor: they are those on which the blessed model is bad.

    Args:
        min_accuracy: Floor of the accuracy on all examples.
        min_slice_accuracy: Floor of the accuracy on each declared slice.
    """
    return Gate(
        floors=(Floor(min_accuracy), Floor(min_slice_accuracy, "*", origin=DECLARED)),
        margins=(Margin(_MARGIN),),
    )


def gate_for_classes(num_classes: int) -> Gate:
    """Returns a gate for data of which only the number of classes is known.

    Over all examples, a model must be halfway between chance and perfect accuracy; on every
    declared slice, it must be at least as good as chance.
    """
    chance = 1 / num_classes
    return make_gate((1 + chance) / 2, chance)


def Gates(
    min_accuracy: float = 0.9, min_slice_accuracy: float = 0.6, max_regression: float = _MARGIN
) -> NoReturn:
    """Rejects thresholds of earlier releases, and tells how to declare them.

    They were bare values, which refused models by chance. No option of ``Gate`` means the same.

    Args:
        min_accuracy: Minimum accuracy over all evaluation examples.
        min_slice_accuracy: Minimum accuracy on every slice.
        max_regression: Maximum drop of the accuracy over all examples below the baseline's.

    Raises:
        ConfigError: Always.
    """
    raise ConfigError(
        "gates",
        received=f"Gates({min_accuracy}, {min_slice_accuracy}, {max_regression})",
        expected=f"gate=Gate(floors=(Floor({min_accuracy}), Floor({min_slice_accuracy}, '*', "
        f"origin='{DECLARED}')), margins=(Margin({max_regression}),)), imported from tfx_feeder",
    )


def overall_margin(gate: Gate) -> float | None:
    """Returns the loss of accuracy on all examples that a gate tolerates; ``None`` without one."""
    margins = (m for m in gate.all_margins() if (m.metric, m.slices) == (METRIC, ALL_EXAMPLES))
    return next((margin.value for margin in margins if not margin.origin), None)


def slice_gen_options(slice_keys: Sequence[str], num_classes: int) -> "SliceGenOptions":
    """Returns the options of SliceGen.

    Args:
        slice_keys: Columns of the raw examples; each value of each column is a slice.
        num_classes: Number of classes, each of which may be a slice.
    """
    from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions

    return SliceGenOptions(
        slices=tuple(slice_keys),
        image_feature=IMAGE,
        loss=LossOptions(label=LABEL, signature=SIGNATURE),
        # Integers of a larger range would be cut into intervals.
        max_values=max(_MIN_VALUES, num_classes + 1),
    )


def eval_config(num_classes: int) -> Any:
    """Returns the ``tfma.EvalConfig`` of the Evaluator: what EvalGate judges and reports plot.

    Args:
        num_classes: Number of classes.
    """
    # Imported here because TFMA loads TensorFlow, and the gate is needed without it.
    import tensorflow_model_analysis as tfma

    from tfx_feeder.components.eval_gate.plot_metrics import answer_plots
    from tfx_feeder.components.eval_gate.tfma_metrics import paired_answers

    metrics = [
        tfma.MetricConfig(class_name="ExampleCount"),
        tfma.MetricConfig(
            class_name="SparseCategoricalAccuracy", config=json.dumps({"name": METRIC})
        ),
        paired_answers(METRIC),
        answer_plots(num_classes, IMAGE),
    ]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=SIGNATURE, label_key=LABEL)],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[SLICES_FEATURE])],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )
