"""Metric that collects what plots of a classifier need, in the Evaluator's own pass.

Confusion counts, confidences with how often they were right, and a sample of the examples on which
candidate and baseline differ. The results are arrays, which ``schemas/answer_plots.py`` reads.
"""
# TFMA's messages are defined at run time.
# pyright: reportAttributeAccessIssue=false

import base64
import hashlib
import heapq
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Any

import apache_beam as beam
import numpy as np
import tensorflow as tf
import tensorflow_model_analysis as tfma

# Some releases of TFMA export the messages only after TFX was imported.
from tensorflow_model_analysis.proto import config_pb2

from tfx_feeder.components.eval_gate.tfma_metrics import evaluated
from tfx_feeder.schemas.answer_plots import BINS, CONFUSION, KEPT, LOST, RELIABILITY, WON

_THUMBNAIL_PX = 48
_MAX_CLASSES = 50
_FEATURES = "features"

_Answer = tuple[int, float, bool]
"""Predicted class, its probability, and True if it is the label."""


def answer_plots(classes: int, image_feature: str = "") -> config_pb2.MetricConfig:
    """Returns the config of the metric.

    Args:
        classes: Number of classes; the confusion of more than 50 is not counted.
        image_feature: Feature with an encoded image, of which small copies are kept for at most 24
            examples that the candidate lost, and as many that it won.
    """
    return config_pb2.MetricConfig(
        class_name=AnswerPlots.__name__,
        module=__name__,
        config=json.dumps({"classes": classes, "image_feature": image_feature}),
    )


class AnswerPlots(tfma.metrics.Metric):
    """Data of the plots of a classifier; see ``answer_plots``.

    Args:
        classes: Number of classes.
        image_feature: Feature with an encoded image; empty without one.
        name: Name of the metric.
    """

    def __init__(self, classes: int, image_feature: str = "", name: str = "plot") -> None:
        super().__init__(_computations, name=name, classes=classes, image_feature=image_feature)

    @property
    def compute_confidence_interval(self) -> bool:
        """False: plots have none."""
        return False


def _computations(
    name: str,
    classes: int,
    image_feature: str,
    eval_config: Any = None,
    model_names: Iterable[str] | None = None,
    output_names: Iterable[str] | None = None,
) -> Any:
    computations = []
    for models, output in evaluated(eval_config, model_names, output_names):
        kinds = [(kind, model) for model in models for kind in (CONFUSION, RELIABILITY)]
        if len(models) > 1:
            kinds += [(kind, models[0]) for kind in (LOST, WON)]
        keys = [
            tfma.metrics.MetricKey(name=kind, model_name=model, output_name=output)
            for kind, model in kinds
        ]
        computations.append(
            tfma.metrics.MetricComputation(
                keys=keys,
                preprocessors=[_Answers(name, eval_config, models, output, image_feature)],
                combiner=_Combiner(keys, classes if classes <= _MAX_CLASSES else 0),
            )
        )
    return computations


class _Answers(tfma.metrics.Preprocessor):
    """Yields the label, the answers of the models, and a record if only one of them is right."""

    def __init__(
        self,
        name: str,
        eval_config: Any,
        models: tuple[str, ...],
        output: str,
        image_feature: str,
    ) -> None:
        super().__init__(name=f"{name} of {output} by {', '.join(models)}")
        self._config, self._models, self._output = eval_config, models, output
        self._image_feature = image_feature

    def process(self, extracts: Any) -> Iterator[tuple[int, tuple[_Answer, ...], Any]]:
        inputs = tfma.metrics.StandardMetricInputs(extracts)
        label, answers = 0, []
        for model in self._models:
            label, prediction, _ = next(
                tfma.metrics.to_label_prediction_example_weight(
                    inputs,
                    eval_config=self._config,
                    model_name=model,
                    output_name=self._output,
                    flatten=False,
                )
            )
            label = _class_of(np.asarray(label))
            answers.append(_answer(label, np.asarray(prediction).reshape(-1)))
        differ = len({right for *_, right in answers}) > 1
        yield label, tuple(answers), self._record(extracts, label, answers) if differ else None

    def _record(self, extracts: Any, label: int, answers: list[_Answer]) -> tuple[bytes, bytes]:
        """Returns a key that orders records by chance, but always alike, and the record."""
        features = extracts.get(_FEATURES) or {}
        image = features.get(self._image_feature) if self._image_feature else None
        data = b"" if image is None else bytes(np.asarray(image, object).reshape(-1)[0])
        record = {
            "label": label,
            "candidate": answers[0][0],
            "baseline": answers[1][0],
            "image": base64.b64encode(_thumbnail(data)).decode(),
        }
        text = json.dumps(record).encode()
        return hashlib.blake2b(data or text, digest_size=8).digest(), text


@dataclass(slots=True)
class _Counts:
    confusion: list[np.ndarray]
    reliability: list[np.ndarray]
    lost: list[tuple[bytes, bytes]] = field(default_factory=list)
    won: list[tuple[bytes, bytes]] = field(default_factory=list)


class _Combiner(beam.CombineFn):
    """Adds up the counts of each model, and keeps some records."""

    def __init__(self, keys: list[tfma.metrics.MetricKey], classes: int) -> None:
        self._keys, self._classes = keys, classes
        self._models = sum(key.name == RELIABILITY for key in keys)

    def create_accumulator(self) -> _Counts:
        shape = (self._classes, self._classes)
        return _Counts(
            [np.zeros(shape, np.int64) for _ in range(self._models)],
            [np.zeros((BINS, 3)) for _ in range(self._models)],
        )

    def add_input(self, accumulator: _Counts, element: Any) -> _Counts:
        label, answers, record = element
        for number, (predicted, confidence, right) in enumerate(answers):
            if 0 <= label < self._classes and 0 <= predicted < self._classes:
                accumulator.confusion[number][label, predicted] += 1
            if np.isfinite(confidence):
                row = min(int(confidence * BINS), BINS - 1)
                accumulator.reliability[number][max(row, 0)] += (1, confidence, right)
        if record is not None:
            kept = accumulator.won if answers[0][2] else accumulator.lost
            kept.append(record)
            if len(kept) > 2 * KEPT:
                kept[:] = heapq.nsmallest(KEPT, kept)
        return accumulator

    def merge_accumulators(self, accumulators: Iterable[_Counts]) -> _Counts:
        result = self.create_accumulator()
        for each in accumulators:
            for number in range(self._models):
                result.confusion[number] += each.confusion[number]
                result.reliability[number] += each.reliability[number]
            result.lost = heapq.nsmallest(KEPT, [*result.lost, *each.lost])
            result.won = heapq.nsmallest(KEPT, [*result.won, *each.won])
        return result

    def extract_output(self, accumulator: _Counts) -> dict[Any, np.ndarray]:
        kept = {
            LOST: _records(accumulator.lost),
            WON: _records(accumulator.won),
        }
        output: dict[Any, np.ndarray] = {}
        numbers: dict[str, int] = {CONFUSION: 0, RELIABILITY: 0}
        for key in self._keys:
            if key.name in kept:
                output[key] = kept[key.name]
                continue
            of_models = accumulator.confusion if key.name == CONFUSION else accumulator.reliability
            output[key] = of_models[numbers[key.name]]
            numbers[key.name] += 1
        return output


def _records(kept: list[tuple[bytes, bytes]]) -> np.ndarray:
    return np.array([text for _, text in heapq.nsmallest(KEPT, kept)], object)


def _answer(label: int, prediction: np.ndarray) -> _Answer:
    if prediction.size == 1:
        score = float(prediction[0])
        predicted = int(score > 0.5)
        return predicted, score if predicted else 1 - score, predicted == label
    if not np.all(np.isfinite(prediction)):
        return -1, float("nan"), False
    predicted = int(prediction.argmax())
    return predicted, float(prediction[predicted]), predicted == label


def _class_of(label: np.ndarray) -> int:
    if label.size != 1:
        return int(label.argmax())
    return int(label.reshape(-1)[0])


def _thumbnail(data: bytes) -> bytes:
    """Returns a small PNG of an image; empty if there is none, or if it cannot be decoded."""
    if not data:
        return b""
    try:
        pixels = tf.io.decode_image(data, channels=3, expand_animations=False)
        scale = min(1.0, _THUMBNAIL_PX / max(pixels.shape[:2]))
        size = [max(1, round(side * scale)) for side in pixels.shape[:2]]
        small = tf.image.resize(pixels, size, method="area")
        return tf.io.encode_png(tf.cast(tf.round(small), tf.uint8)).numpy()
    except (tf.errors.OpError, ValueError):
        return b""
