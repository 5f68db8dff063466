"""TFX's taxi and penguin pipelines with nothing but the Trainer exchanged.

The pipelines are written anew from their documentation. The trips ship with TFX.
"""

import csv
import itertools
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
import tensorflow as tf
import tfx.examples
from ml_metadata.proto import metadata_store_pb2
from tensorflow_serving.apis.prediction_log_pb2 import PredictionLog
from tfx import v1 as tfx_v1
from tfx.orchestration import metadata

from tests.e2e import penguin_example, taxi_example
from tfx_feeder.components import FeederTrainer
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.pipeline.configs import BEAM_ARGS
from tfx_feeder.schemas import training_history

pytestmark = pytest.mark.slow

TRIPS = Path(tfx.examples.__path__[0], "chicago_taxi_pipeline/data/simple/data.csv")
TRIP_COUNT = 3000
PENGUIN_COUNT, UNLABELLED_COUNT = 300, 40
standard = tfx_v1.types.standard_artifacts


@dataclass(frozen=True)
class Runs:
    """Artifacts of the runs of one pipeline, by type; the oldest first."""

    root: Path
    artifacts: dict[str, list[metadata_store_pb2.Artifact]]

    def uris(self, kind: str, producer: str = "") -> list[Path]:
        """Returns the folders of the artifacts of a type."""
        uris = (Path(artifact.uri) for artifact in self.artifacts[kind])
        return [uri for uri in uris if producer in str(uri)]

    def histories(self) -> list[Any]:
        """Returns the training histories."""
        return [training_history.read(str(p)) for p in self.uris("tfx_feeder.TrainingHistory")]


def _run(root: Path, components: Callable[[], list[Any]], *, times: int) -> Runs:
    store = tfx_v1.orchestration.metadata.sqlite_metadata_connection_config(str(root / "store.db"))
    for _ in range(times):
        pipeline = tfx_v1.dsl.Pipeline(
            pipeline_name=root.name,
            pipeline_root=str(root / "artifacts"),
            components=components(),
            metadata_connection_config=store,
            beam_pipeline_args=list(BEAM_ARGS),
            enable_cache=True,
        )
        tfx_v1.orchestration.LocalDagRunner().run(pipeline)
    artifacts: dict[str, list[metadata_store_pb2.Artifact]] = {}
    with metadata.Metadata(store) as handle:
        names = {kind.id: kind.name for kind in handle.store.get_artifact_types()}
        for artifact in sorted(handle.store.get_artifacts(), key=lambda artifact: artifact.id):
            artifacts.setdefault(names[artifact.type_id], []).append(artifact)
    return Runs(root, artifacts)


def _transformed_examples(folder: Path, preprocessing_fn: str) -> tuple[list[Any], dict[str, Any]]:
    """Returns the nodes up to Transform, and the channels that the others read, by name."""
    example_gen = tfx_v1.components.CsvExampleGen(input_base=str(folder))
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx_v1.components.StatisticsGen(examples=examples)
    schema_gen = tfx_v1.components.SchemaGen(
        statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True
    )
    schema = schema_gen.outputs["schema"]
    transform = tfx_v1.components.Transform(
        examples=examples,
        schema=schema,
        preprocessing_fn=preprocessing_fn,
        disable_statistics=True,
    )
    transformed = {
        "examples": transform.outputs["transformed_examples"],
        "transform_graph": transform.outputs["transform_graph"],
    }
    nodes = [example_gen, statistics_gen, schema_gen, transform]
    return nodes, {"raw_examples": examples, "schema": schema, **transformed}


def _blessed_model() -> tfx_v1.dsl.Resolver:
    return tfx_v1.dsl.Resolver(
        strategy_class=tfx_v1.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx_v1.dsl.Channel(type=standard.Model),
        model_blessing=tfx_v1.dsl.Channel(type=standard.ModelBlessing),
    ).with_id("latest_blessed_model_resolver")


def _evaluator(
    examples: Any, model: Any, baseline: Any, *, metric: str, label: str, lower_bound: float
) -> tfx_v1.components.Evaluator:
    import tensorflow_model_analysis as tfma

    threshold = tfma.MetricThreshold(
        value_threshold=tfma.GenericValueThreshold(lower_bound={"value": lower_bound}),
        change_threshold=tfma.GenericChangeThreshold(
            direction=tfma.MetricDirection.HIGHER_IS_BETTER, absolute={"value": -0.5}
        ),
    )
    config = tfma.EvalConfig(
        model_specs=[
            tfma.ModelSpec(
                signature_name="serving_default",
                label_key=label,
                preprocessing_function_names=["transform_features"],
            )
        ],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[
            tfma.MetricsSpec(metrics=[tfma.MetricConfig(class_name=metric, threshold=threshold)])
        ],
    )
    return tfx_v1.components.Evaluator(
        examples=examples, model=model, baseline_model=baseline, eval_config=config
    )


def _push(root: Path) -> Any:
    folder = tfx_v1.proto.PushDestination.Filesystem(base_directory=str(root / "serving"))
    return tfx_v1.proto.PushDestination(filesystem=folder)


@pytest.fixture(scope="module")
def taxi(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two runs; the second starts from the blessed model of the first."""
    root = tmp_path_factory.mktemp("taxi")
    (root / "trips").mkdir()
    with TRIPS.open() as trips, (root / "trips/data.csv").open("w") as part:
        part.writelines(itertools.islice(trips, TRIP_COUNT + 1))

    def components() -> list[Any]:
        nodes, channels = _transformed_examples(
            root / "trips", "tests.e2e.taxi_example.preprocessing_fn"
        )
        raw_examples = channels.pop("raw_examples")
        resolver = _blessed_model()
        trainer = FeederTrainer(
            **channels,
            model_fn="tests.e2e.taxi_example.model_fn",
            base_model=resolver.outputs["model"],
            schedule="0.01:32x2, 0.005:64x2",
            feed=FeedOptions(label_key=taxi_example.LABEL),
            custom_config={"width": 16},
        )
        model = trainer.outputs["model"]
        evaluator = _evaluator(
            raw_examples,
            model,
            resolver.outputs["model"],
            metric="BinaryAccuracy",
            label=taxi_example.LABEL,
            lower_bound=0.6,
        )
        pusher = tfx_v1.components.Pusher(
            model=model,
            model_blessing=evaluator.outputs["blessing"],
            push_destination=_push(root),
        )
        return [*nodes, resolver, trainer, evaluator, pusher]

    return _run(root, components, times=2)


@pytest.fixture(scope="module")
def penguin(tmp_path_factory: pytest.TempPathFactory) -> Runs:
    """Two runs with a Tuner, and a Pusher and a BulkInferrer for a blessed model only."""
    root = tmp_path_factory.mktemp("penguin")
    penguin_example.write_penguins(root / "penguins/data.csv", PENGUIN_COUNT)
    penguin_example.write_penguins(root / "unlabelled/data.csv", UNLABELLED_COUNT, labelled=False)

    def components() -> list[Any]:
        nodes, channels = _transformed_examples(
            root / "penguins", "tests.e2e.penguin_example.preprocessing_fn"
        )
        raw_examples = channels.pop("raw_examples")
        tuner = tfx_v1.components.Tuner(
            tuner_fn="tests.e2e.penguin_example.tuner_fn",
            examples=channels["examples"],
            transform_graph=channels["transform_graph"],
            train_args=tfx_v1.proto.TrainArgs(num_steps=20),
            eval_args=tfx_v1.proto.EvalArgs(num_steps=5),
        )
        resolver = _blessed_model()
        trainer = FeederTrainer(
            **channels,
            hyperparameters=tuner.outputs["best_hyperparameters"],
            model_fn="tests.e2e.penguin_example.model_fn",
            base_model=resolver.outputs["model"],
            schedule="0.01:20x4, 0.005:20x2",
            tuned_learning_rate=penguin_example.TUNED,
            feed=FeedOptions(label_key=penguin_example.LABEL),
        )
        model = trainer.outputs["model"]
        evaluator = _evaluator(
            raw_examples,
            model,
            resolver.outputs["model"],
            metric="SparseCategoricalAccuracy",
            label=penguin_example.LABEL,
            lower_bound=0.6,
        )
        unlabelled = tfx_v1.components.CsvExampleGen(input_base=str(root / "unlabelled")).with_id(
            "CsvExampleGen_unlabelled"
        )
        blessed = evaluator.outputs["blessing"].future()[0].custom_property("blessed") == 1
        with tfx_v1.dsl.Cond(blessed):
            pusher = tfx_v1.components.Pusher(model=model, push_destination=_push(root))
            bulk_inferrer = tfx_v1.components.BulkInferrer(
                examples=unlabelled.outputs["examples"],
                model=model,
                data_spec=tfx_v1.proto.DataSpec(),
                model_spec=tfx_v1.proto.ModelSpec(),
            )
        bulk_inferrer.add_upstream_node(pusher)
        nodes += [tuner, resolver, trainer, evaluator, unlabelled, pusher, bulk_inferrer]
        return nodes

    return _run(root, components, times=2)


def test_taxi_is_evaluated_by_its_transformed_label_and_pushed_twice(taxi: Runs) -> None:
    blessings = taxi.artifacts["ModelBlessing"]

    assert [blessing.custom_properties["blessed"].int_value for blessing in blessings] == [1, 1]
    assert "baseline_model_id" in blessings[1].custom_properties
    assert len(list((taxi.root / "serving").iterdir())) == 2


def test_the_history_is_in_the_artifact_and_its_summary_in_the_store(taxi: Runs) -> None:
    history = taxi.histories()[0]
    stored = taxi.artifacts["tfx_feeder.TrainingHistory"][0].custom_properties

    phases = [(row.phase, row.global_batch_size) for row in history.epochs]
    assert phases == [(0, 32), (0, 32), (1, 64), (1, 64)]
    assert 0 < history.num_examples < TRIP_COUNT
    assert history.epochs[-1].examples_seen == 4 * history.num_examples
    assert stored["examples_seen"].int_value == 4 * history.num_examples
    assert stored["code_fingerprint"].string_value == history.code_fingerprint
    assert stored["final_val_binary_accuracy"].double_value == pytest.approx(
        history.epochs[-1].metrics["val_binary_accuracy"]
    )


def test_the_second_taxi_training_starts_from_the_blessed_model(taxi: Runs) -> None:
    first, second = taxi.histories()

    assert first.epochs[-1].metrics["val_loss"] < first.epochs[0].metrics["val_loss"]
    assert [event.kind for event in second.events if "start" in event.kind] == ["warm_start"]
    assert second.epochs[0].metrics["loss"] < first.epochs[0].metrics["loss"]
    steps = sum(row.steps for row in second.epochs)
    folder = taxi.uris("Model")[1]
    model = keras.models.load_model(folder / "Format-Keras" / "model.keras")
    assert int(model.optimizer.iterations) == steps


def test_trips_without_the_tip_are_predicted(taxi: Runs) -> None:
    served = tf.saved_model.load(str(taxi.uris("Model")[0] / "Format-Serving"))

    trips = tf.constant(_trips(20))
    (scores,) = served.signatures["serving_default"](examples=trips).values()

    assert scores.shape == (20, 1)
    assert ((scores >= 0) & (scores <= 1)).numpy().all()
    assert np.ptp(scores.numpy()) > 0


def test_tensorboard_reads_the_taxi_training(taxi: Runs) -> None:
    assert list(taxi.uris("ModelRun")[0].rglob("events*"))


def test_the_tuned_learning_rate_is_that_of_the_first_phase(penguin: Runs) -> None:
    [tuned, *_] = penguin.uris("HyperParameters")
    [file] = tuned.iterdir()

    best = {penguin_example.TUNED: penguin_example.GOOD_RATE, "layers": 2}
    assert json.loads(file.read_text())["values"] == best
    for history in penguin.histories():
        rates = [row.learning_rate for row in history.epochs]
        assert rates == pytest.approx([0.02] * 4 + [0.01] * 2)


def test_the_second_penguin_training_starts_from_the_blessed_model(penguin: Runs) -> None:
    first, second = penguin.histories()

    assert [event.kind for event in second.events if "start" in event.kind] == ["warm_start"]
    assert second.epochs[0].metrics["loss"] < first.epochs[0].metrics["loss"]
    blessings = penguin.artifacts["ModelBlessing"]
    assert [blessing.custom_properties["blessed"].int_value for blessing in blessings] == [1, 1]
    assert "baseline_model_id" in blessings[1].custom_properties


def test_unlabelled_penguins_are_inferred_after_each_push(penguin: Runs) -> None:
    inferences = penguin.uris("InferenceResult")

    assert len(list((penguin.root / "serving").iterdir())) == len(inferences) == 2
    for inference in inferences:
        files = [str(path) for path in inference.rglob("*.gz")]
        logs = [
            PredictionLog.FromString(record)
            for record in tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
        ]
        assert len(logs) == UNLABELLED_COUNT
        [output] = logs[0].predict_log.response.outputs.values()
        assert tf.make_ndarray(output).shape == (1, 3)


def _trips(count: int) -> list[bytes]:
    """Serializes the trips as CsvExampleGen does, the tip left out."""
    floats = {"fare", "trip_miles", *taxi_example.PLACES}
    with TRIPS.open() as file:
        rows = list(itertools.islice(csv.DictReader(file), count))
    serialized = []
    for row in rows:
        example = tf.train.Example()
        for name, text in row.items():
            feature = example.features.feature[name]
            if not text or name == taxi_example.TIPS:
                continue
            if name in taxi_example.WORDS:
                feature.bytes_list.value.append(text.encode())
            elif name in floats:
                feature.float_list.value.append(float(text))
            elif name not in ("pickup_census_tract", "dropoff_census_tract"):
                feature.int64_list.value.append(int(float(text)))
        serialized.append(example.SerializeToString())
    return serialized
