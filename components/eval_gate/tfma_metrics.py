"""Metrics that count, in the Evaluator's own pass, what two models answer to the same examples.

They are added to the ``EvalConfig`` of a stock Evaluator. The candidate's and the baseline's
predictions of an example are compared once, before the example is copied into its slices. The
results are arrays, which ``schemas/model_comparison.py`` describes and reads.
"""
# TFMA's messages are defined at run time.
# pyright: reportAttributeAccessIssue=false

import importlib
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow_model_analysis as tfma

# Some releases of TFMA export the messages only after TFX was imported.
from tensorflow_model_analysis.proto import config_pb2

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.schemas.model_comparison import PAIRED_PREFIX

_EPSILON = 1e-7  # Of Keras.
_WRONG_CANDIDATE, _WRONG_BASELINE = 2, 1

Measure = Callable[[np.ndarray, np.ndarray], float]
"""Function of the label and the prediction of one example, such as a loss."""


def paired_answers(name: str = "accuracy", threshold: float = 0.5) -> config_pb2.MetricConfig:
    """Returns the config of a metric that counts right and wrong answers of both models.

    A prediction of several values is right if the largest is that of the label, sparse or one-hot;
    a prediction of one value, if it is above the threshold exactly where the label is. Predictions
    that are not finite are wrong.

    Args:
        name: Name of the metric that the counts belong to.
        threshold: Threshold of predictions of one value.
    """
    return _config(PairedAnswers, name=PAIRED_PREFIX + name, threshold=threshold)


def paired_means(name: str, measure: str) -> config_pb2.MetricConfig:
    """Returns the config of a metric that sums up a per-example measure of both models.

    Args:
        name: Name of the metric that the sums belong to.
        measure: ``cross_entropy``, ``squared_error``, ``absolute_error``, or a function
            ``"package.module:function"`` of the label and the prediction of one example.

    Raises:
        ConfigError: There is no such measure.
    """
    _find_measure(measure)
    return _config(PairedMeans, name=PAIRED_PREFIX + name, measure=measure)


def cross_entropy(label: np.ndarray, prediction: np.ndarray) -> float:
    """Returns the negative logarithm of the probability of the label, as Keras does.

    Args:
        label: Class ``[1]``, one-hot ``[classes]``, or 0 or 1 for a single probability.
        prediction: Probabilities ``[classes]`` or ``[1]``.
    """
    if prediction.size == 1:
        p = float(prediction.reshape(-1)[0])
        right = p if float(label.reshape(-1)[0]) > 0.5 else 1 - p
    else:
        right = float(prediction.reshape(-1)[_class_of(label)]) / float(prediction.sum())
    return -float(np.log(np.clip(right, _EPSILON, 1 - _EPSILON)))


def squared_error(label: np.ndarray, prediction: np.ndarray) -> float:
    """Returns the mean of the squared errors of all values of an example.

    Args:
        label: Values ``[values]``.
        prediction: Values ``[values]``.
    """
    return float(np.mean(np.square(prediction.reshape(-1) - label.reshape(-1))))


def absolute_error(label: np.ndarray, prediction: np.ndarray) -> float:
    """Returns the mean of the absolute errors of all values of an example.

    Args:
        label: Values ``[values]``.
        prediction: Values ``[values]``.
    """
    return float(np.mean(np.abs(prediction.reshape(-1) - label.reshape(-1))))


MEASURES = {
    "cross_entropy": cross_entropy,
    "squared_error": squared_error,
    "absolute_error": absolute_error,
}


class PairedAnswers(tfma.metrics.Metric):
    """Right and wrong answers of candidate and baseline; see ``paired_answers``.

    Args:
        name: Name of the metric.
        threshold: Threshold of predictions of one value.
    """

    def __init__(self, name: str = f"{PAIRED_PREFIX}accuracy", threshold: float = 0.5) -> None:
        super().__init__(_answer_computations, name=name, threshold=threshold)

    @property
    def compute_confidence_interval(self) -> bool:
        """False: the counts are exact."""
        return False


class PairedMeans(tfma.metrics.Metric):
    """Means and variances of a measure of candidate and baseline; see ``paired_means``.

    Args:
        name: Name of the metric.
        measure: Name of the measure.
    """

    def __init__(self, name: str, measure: str) -> None:
        super().__init__(_mean_computations, name=name, measure=measure)

    @property
    def compute_confidence_interval(self) -> bool:
        """False: the variances are part of the result."""
        return False


def _answer_computations(
    name: str,
    threshold: float,
    eval_config: Any = None,
    model_names: Iterable[str] | None = None,
    output_names: Iterable[str] | None = None,
) -> list[tfma.metrics.MetricComputation]:
    def value(label: np.ndarray, prediction: np.ndarray) -> float:
        return float(_is_right(label, prediction, threshold))

    return _computations(name, value, _AnswerCombiner, eval_config, model_names, output_names)


def _mean_computations(
    name: str,
    measure: str,
    eval_config: Any = None,
    model_names: Iterable[str] | None = None,
    output_names: Iterable[str] | None = None,
) -> list[tfma.metrics.MetricComputation]:
    value = _find_measure(measure)
    return _computations(name, value, _MeanCombiner, eval_config, model_names, output_names)


def _computations(
    name: str,
    value: Measure,
    combiner: type["_Combiner"],
    eval_config: Any,
    model_names: Iterable[str] | None,
    output_names: Iterable[str] | None,
) -> list[tfma.metrics.MetricComputation]:
    computations = []
    for models, output in evaluated(eval_config, model_names, output_names):
        key = tfma.metrics.MetricKey(name=name, model_name=models[0], output_name=output)
        computations.append(
            tfma.metrics.MetricComputation(
                keys=[key],
                preprocessors=[_Values(value, eval_config, models, output, name)],
                combiner=combiner(key, paired=len(models) > 1),
            )
        )
    return computations


def evaluated(
    eval_config: Any, model_names: Iterable[str] | None, output_names: Iterable[str] | None
) -> Iterator[tuple[tuple[str, ...], str]]:
    """Yields each candidate, with the baseline after it if there is one, and each of its outputs.

    Args:
        eval_config: Config of the evaluation, which names the baseline.
        model_names: Names of all models.
        output_names: Names of the outputs.
    """
    specs = eval_config.model_specs if eval_config else ()
    baseline = next((spec.name for spec in specs if spec.is_baseline), None)
    for model in model_names or ("",):
        if model != baseline:
            models = (model,) if baseline is None else (model, baseline)
            for output in output_names or ("",):
                yield models, output


class _Values(tfma.metrics.Preprocessor):
    """Computes a value per model from the label and the prediction of an example."""

    def __init__(
        self, value: Measure, eval_config: Any, models: tuple[str, ...], output: str, name: str
    ) -> None:
        super().__init__(name=f"{name} of {output} by {', '.join(models)}")
        self._value, self._config = value, eval_config
        self._models, self._output = models, output

    def process(self, extracts: Any) -> Iterator[tuple[float, ...]]:
        inputs = tfma.metrics.StandardMetricInputs(extracts)
        yield tuple(self._of_model(inputs, model) for model in self._models)

    def _of_model(self, inputs: tfma.metrics.StandardMetricInputs, model: str) -> float:
        label, prediction, _ = next(
            tfma.metrics.to_label_prediction_example_weight(
                inputs,
                eval_config=self._config,
                model_name=model,
                output_name=self._output,
                flatten=False,
            )
        )
        return self._value(np.asarray(label), np.asarray(prediction))


class _Combiner(beam.CombineFn):
    """Adds up values ``(candidate,)`` or ``(candidate, baseline)`` of examples."""

    def __init__(self, key: tfma.metrics.MetricKey, paired: bool) -> None:
        self._key, self._paired = key, paired


class _AnswerCombiner(_Combiner):
    """Counts both, candidate only, baseline only, neither; without a baseline, right and wrong."""

    def create_accumulator(self) -> np.ndarray:
        return np.zeros(4 if self._paired else 2, np.int64)

    def add_input(self, accumulator: np.ndarray, values: tuple[float, ...]) -> np.ndarray:
        right = [value == 1 for value in values]
        if self._paired:
            cell = (0 if right[0] else _WRONG_CANDIDATE) + (0 if right[1] else _WRONG_BASELINE)
        else:
            cell = 0 if right[0] else 1
        accumulator[cell] += 1
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[np.ndarray]) -> np.ndarray:
        return sum(accumulators, self.create_accumulator())

    def extract_output(self, accumulator: np.ndarray) -> dict[Any, np.ndarray]:
        return {self._key: accumulator}


class _MeanCombiner(_Combiner):
    """Means and variances by pairwise updates, which do not cancel as sums of squares do.

    Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample
    variances", 1979. The accumulator holds the number of examples, the means of candidate, baseline
    and difference, and the sums of the squared deviations of candidate and difference.
    """

    def create_accumulator(self) -> tuple[float, np.ndarray, np.ndarray]:
        return 0.0, np.zeros(3), np.zeros(2)

    def add_input(self, accumulator: Any, values: tuple[float, ...]) -> Any:
        candidate, baseline = values if self._paired else (values[0], 0.0)
        means = np.array([candidate, baseline, candidate - baseline])
        return _merged(accumulator, (1.0, means, np.zeros(2)))

    def merge_accumulators(self, accumulators: Iterable[Any]) -> Any:
        result = self.create_accumulator()
        for accumulator in accumulators:
            result = _merged(result, accumulator)
        return result

    def extract_output(self, accumulator: Any) -> dict[Any, np.ndarray]:
        n, means, squares = accumulator
        variances = squares / (n - 1) if n > 1 else np.zeros(2)
        of_candidate = [n, means[0], variances[0]]
        of_both = [means[1], variances[1]] if self._paired else []
        return {self._key: np.array([*of_candidate, *of_both], np.float64)}


def _merged(left: Any, right: Any) -> Any:
    (n, means, squares), (added, more, deviations) = left, right
    total = n + added
    if not total:
        return left
    delta = more - means
    # The mean of the baseline needs no deviation.
    change = delta[[0, 2]] ** 2 * (n * added / total)
    return total, means + delta * (added / total), squares + deviations + change


def _is_right(label: np.ndarray, prediction: np.ndarray, threshold: float) -> bool:
    if not np.all(np.isfinite(prediction)):
        return False
    if prediction.size == 1:
        above = float(prediction.reshape(-1)[0]) > threshold
        return above == (float(label.reshape(-1)[0]) > 0.5)
    return int(prediction.argmax()) == _class_of(label)


def _class_of(label: np.ndarray) -> int:
    return int(label.reshape(-1)[0]) if label.size == 1 else int(label.argmax())


def _find_measure(measure: str) -> Measure:
    if measure in MEASURES:
        return MEASURES[measure]
    module, _, function = str(measure).partition(":")
    try:
        return getattr(importlib.import_module(module), function)
    except (ImportError, AttributeError, ValueError) as error:
        raise ConfigError(
            "measure",
            received=measure,
            expected=f"one of {', '.join(MEASURES)}, or a function 'package.module:function'",
            fix=f"Importing it failed: {error}.",
        ) from error


def _config(metric: type[tfma.metrics.Metric], **options: Any) -> config_pb2.MetricConfig:
    return config_pb2.MetricConfig(
        class_name=metric.__name__, module=__name__, config=json.dumps(options)
    )
