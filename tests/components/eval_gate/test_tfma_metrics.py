"""Paired counts and sums, as TFMA computes and writes them."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate import tfma_metrics
from tfx_feeder.components.eval_gate.tfma_metrics import paired_answers, paired_means
from tfx_feeder.schemas.evaluation import read_evaluation
from tfx_feeder.schemas.model_comparison import AnswerCounts, from_messages, read_comparison
from tfx_feeder.schemas.tfma import parse

METRICS = [paired_answers(), paired_means("loss", "cross_entropy")]
CLASSES = 3


def _computed(models: dict[str, np.ndarray], labels: np.ndarray) -> Any:
    """Returns what the metrics' own computations give, in two parts that are merged."""
    specs = [config_pb2.ModelSpec(name=name, is_baseline=name == "baseline") for name in models]
    config = config_pb2.EvalConfig(model_specs=specs)
    names = list(models) if len(models) > 1 else [""]
    found: dict[Any, np.ndarray] = {}
    for metric in METRICS:
        options = json.loads(metric.config)
        instance = getattr(tfma_metrics, metric.class_name)(**options)
        [computation] = instance.computations(eval_config=config, model_names=names)
        [preprocessor], combiner = computation.preprocessors, computation.combiner
        parts = [combiner.create_accumulator() for _ in range(3)]
        for i, label in enumerate(labels):
            predictions = {name: values[i] for name, values in models.items()}
            if len(models) == 1:
                [predictions] = predictions.values()
            [values] = preprocessor.process({"labels": label, "predictions": predictions})
            parts[i % 2] = combiner.add_input(parts[i % 2], values)
        found |= combiner.extract_output(combiner.merge_accumulators(parts))
    return {(key.name, key.model_name): value for key, value in found.items()}


@pytest.fixture(scope="module")
def data() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, CLASSES, 40)
    candidate, baseline = rng.dirichlet(np.ones(CLASSES), (2, 40)).astype(np.float32)
    return labels, candidate, baseline


def _losses(labels: np.ndarray, predictions: np.ndarray) -> np.ndarray:
    return -np.log(predictions[np.arange(len(labels)), labels] / predictions.sum(axis=1))


def test_counts_and_sums_are_those_of_arrays(data: Any) -> None:
    labels, candidate, baseline = data
    found = _computed({"candidate": candidate, "baseline": baseline}, labels[:, None])
    a, b = candidate.argmax(1) == labels, baseline.argmax(1) == labels
    cells = [(a & b).sum(), (a & ~b).sum(), (~a & b).sum(), (~a & ~b).sum()]
    assert found["paired_accuracy", "candidate"].tolist() == cells
    c, d = _losses(labels, candidate), _losses(labels, baseline)
    expected = [40, c.mean(), c.var(ddof=1), d.mean(), (c - d).var(ddof=1)]
    assert found["paired_loss", "candidate"] == pytest.approx(expected, rel=1e-5)


def test_a_candidate_alone(data: Any) -> None:
    labels, candidate, _ = data
    found = _computed({"candidate": candidate}, labels[:, None])
    right = int((candidate.argmax(1) == labels).sum())
    assert found["paired_accuracy", ""].tolist() == [right, 40 - right]
    assert found["paired_loss", ""].shape == (3,)


def test_one_hot_labels_single_probabilities_and_nan() -> None:
    right = tfma_metrics._is_right
    assert right(np.array([0, 1, 0]), np.array([0.2, 0.5, 0.3]), 0.5)
    assert not right(np.array([1]), np.array([0.2, np.nan]), 0.5)
    assert right(np.array([1]), np.array([0.8]), 0.5)
    assert not right(np.array([0]), np.array([0.8]), 0.5)
    assert right(np.array([0]), np.array([0.8]), 0.9)
    loss = tfma_metrics.cross_entropy
    assert loss(np.array([1]), np.array([0.8])) == pytest.approx(-np.log(0.8))
    assert loss(np.array([0, 1]), np.array([0.2, 0.8])) == pytest.approx(-np.log(0.8))
    assert np.isfinite(loss(np.array([0]), np.array([0.0, 1.0])))
    assert np.isnan(loss(np.array([0]), np.array([np.nan, 1.0])))
    assert tfma_metrics.squared_error(np.array([1.0]), np.array([3.0])) == 4
    assert tfma_metrics.absolute_error(np.array([1.0]), np.array([3.0])) == 2


def test_measures_are_found_when_the_pipeline_is_built() -> None:
    paired_means("error", f"{__name__}:_losses")
    with pytest.raises(ConfigError, match="one of cross_entropy, squared_error"):
        paired_means("loss", "hinge")
    with pytest.raises(ConfigError, match="Importing it failed"):
        paired_means("loss", "nowhere:hinge")


@pytest.mark.slow
def test_they_are_written_beside_the_metrics(tmp_path: Path, data: Any) -> None:
    import tensorflow as tf

    labels, candidate, baseline = data

    def feature(values: Any) -> Any:
        if np.issubdtype(np.asarray(values).dtype, np.integer):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=values))
        return tf.train.Feature(float_list=tf.train.FloatList(value=values))

    path = str(tmp_path / "examples")
    with tf.io.TFRecordWriter(path) as writer:
        for i, label in enumerate(labels):
            columns = {"label": [label], "form": [i % 2], "c": candidate[i], "b": baseline[i]}
            features = {name: feature(values) for name, values in columns.items()}
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())
    config = config_pb2.EvalConfig(
        model_specs=[
            config_pb2.ModelSpec(name="candidate", label_key="label", prediction_key="c"),
            config_pb2.ModelSpec(
                name="baseline", label_key="label", prediction_key="b", is_baseline=True
            ),
        ],
        slicing_specs=[config_pb2.SlicingSpec(), config_pb2.SlicingSpec(feature_keys=["form"])],
        metrics_specs=[
            config_pb2.MetricsSpec(
                metrics=[
                    config_pb2.MetricConfig(class_name="ExampleCount"),
                    config_pb2.MetricConfig(
                        class_name="SparseCategoricalAccuracy", config='{"name": "accuracy"}'
                    ),
                    *METRICS,
                ]
            )
        ],
    )
    config.options.compute_confidence_intervals.value = True
    config.options.confidence_intervals.method = config_pb2.ConfidenceIntervalOptions.JACKKNIFE
    tfma.run_model_analysis(
        eval_config=config, data_location=path, output_path=str(tmp_path / "evaluation")
    )

    everything, *forms = read_comparison(tmp_path / "evaluation")
    answers = everything.answers["accuracy"]
    assert answers.examples == everything.examples == 40
    assert answers.right / 40 == pytest.approx(everything.candidate["accuracy"])
    assert (answers.both + answers.baseline_only) / 40 == pytest.approx(
        everything.baseline["accuracy"]
    )
    assert everything.sums["loss"].candidate == pytest.approx(_losses(labels, candidate).mean())
    assert everything.differences["accuracy"].error > 0
    assert everything.differences["accuracy"].freedom == 19
    assert [found.name for found in forms] == ["form 0", "form 1"]
    assert sum(found.answers["accuracy"].both for found in forms) == answers.both
    # Readers of scalars, and TFMA's own, are not disturbed.
    assert read_evaluation(tmp_path / "evaluation").metrics == ("accuracy",)
    loaded = tfma.load_eval_result(str(tmp_path / "evaluation"), model_name="candidate")
    names = loaded.slicing_metrics[0][1][""][""]
    assert {"accuracy", "paired_accuracy", "paired_loss"} <= set(names)


def test_messages_without_arrays_have_no_answers() -> None:
    message = parse("MetricsForSlice", b"", Path("here"))
    pair = message.metric_keys_and_values.add()
    pair.key.name = "paired_accuracy"
    [found] = from_messages([message])
    assert found.answers == {}
    assert AnswerCounts(1, 2, 3, 4).right == 3
