"""Data of plots, as the Evaluator's computations give them and as they are read back."""

import base64
import json
from typing import Any

import numpy as np
import pytest
import tensorflow as tf
from tensorflow_model_analysis.proto import config_pb2

from tfx_feeder.components.eval_gate.plot_metrics import AnswerPlots, answer_plots
from tfx_feeder.schemas.answer_plots import CONFUSION, KEPT, LOST, RELIABILITY, WON

CLASSES, EXAMPLES = 3, 200


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, EXAMPLES)
    candidate, baseline = rng.dirichlet(np.ones(CLASSES), (2, EXAMPLES)).astype(np.float32)
    return labels, candidate, baseline


def _computed(
    models: dict[str, np.ndarray], labels: np.ndarray, images: list[bytes] | None = None
) -> dict[tuple[str, str], np.ndarray]:
    """Returns the output of the metric, computed in two parts that are merged."""
    options = json.loads(answer_plots(CLASSES, "image").config)
    specs = [config_pb2.ModelSpec(name=name, is_baseline=name == "baseline") for name in models]
    config = config_pb2.EvalConfig(model_specs=specs)
    names = list(models) if len(models) > 1 else [""]
    [computation] = AnswerPlots(**options).computations(eval_config=config, model_names=names)
    [preprocessor], combiner = computation.preprocessors, computation.combiner
    parts = [combiner.create_accumulator() for _ in range(2)]
    for i, label in enumerate(labels):
        predictions: Any = {name: values[i] for name, values in models.items()}
        if len(models) == 1:
            [predictions] = predictions.values()
        extracts = {"labels": np.array([label]), "predictions": predictions}
        if images:
            extracts["features"] = {"image": np.array([images[i]], object)}
        [element] = preprocessor.process(extracts)
        parts[i % 2] = combiner.add_input(parts[i % 2], element)
    output = combiner.extract_output(combiner.merge_accumulators(parts))
    assert list(output) == computation.keys
    return {(key.name, key.model_name): value for key, value in output.items()}


def test_confusion_and_reliability_are_those_of_arrays(data: Any) -> None:
    labels, candidate, baseline = data
    found = _computed({"candidate": candidate, "baseline": baseline}, labels)
    for name, values in (("candidate", candidate), ("baseline", baseline)):
        predicted, confidence = values.argmax(1), values.max(1)
        expected = np.zeros((CLASSES, CLASSES), np.int64)
        np.add.at(expected, (labels, predicted), 1)
        np.testing.assert_array_equal(found[CONFUSION, name], expected)
        bins = found[RELIABILITY, name]
        assert bins[:, 0].sum() == EXAMPLES
        inside = (confidence >= 0.5) & (confidence < 0.6)
        np.testing.assert_allclose(
            bins[5], [inside.sum(), confidence[inside].sum(), (predicted == labels)[inside].sum()]
        )


def test_examples_on_which_the_models_differ_are_kept_up_to_a_number(data: Any) -> None:
    labels, candidate, baseline = data
    shades = [np.full((96, 48, 1), i, np.uint8) for i in range(EXAMPLES)]
    images = [tf.io.encode_png(shade).numpy() for shade in shades]
    found = _computed({"candidate": candidate, "baseline": baseline}, labels, images)
    assert len(found[LOST, "candidate"]) == len(found[WON, "candidate"]) == KEPT
    for text in found[LOST, "candidate"]:
        record = json.loads(text)
        image = tf.io.decode_png(base64.b64decode(record["image"])).numpy()
        assert image.shape == (48, 24, 3)
        number = int(image[0, 0, 0])
        assert record["label"] == labels[number] == baseline[number].argmax()
        assert record["candidate"] == candidate[number].argmax() != labels[number]
    again = _computed(
        {"candidate": candidate[::-1], "baseline": baseline[::-1]}, labels[::-1], images[::-1]
    )
    assert again[LOST, "candidate"].tolist() == found[LOST, "candidate"].tolist()


def test_a_candidate_alone_has_nothing_lost(data: Any) -> None:
    labels, candidate, _ = data
    found = _computed({"candidate": candidate}, labels)
    assert set(found) == {(CONFUSION, ""), (RELIABILITY, "")}


def test_images_that_cannot_be_decoded_and_nan_are_no_error(data: Any) -> None:
    labels, candidate, baseline = data
    candidate = candidate.copy()
    candidate[0] = np.nan
    found = _computed(
        {"candidate": candidate, "baseline": baseline}, labels, [b"no image"] * EXAMPLES
    )
    assert found[CONFUSION, "candidate"].sum() == EXAMPLES - 1
    assert {json.loads(text)["image"] for text in found[WON, "candidate"]} == {""}


def test_of_many_classes_there_is_no_confusion(data: Any) -> None:
    labels, candidate, _ = data
    config = config_pb2.EvalConfig(model_specs=[config_pb2.ModelSpec()])
    [computation] = AnswerPlots(classes=51).computations(eval_config=config, model_names=[""])
    accumulator = computation.combiner.create_accumulator()
    extracts = {"labels": labels[:1], "predictions": candidate[0]}
    [element] = computation.preprocessors[0].process(extracts)
    output = computation.combiner.extract_output(
        computation.combiner.add_input(accumulator, element)
    )
    assert [value.size for value in output.values()] == [0, 30]
