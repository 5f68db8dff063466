"""TFX's taxi pipeline with nothing but the Trainer exchanged.

The pipeline is written anew from its documentation; the data ships with TFX.
"""

import csv
import itertools
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
from tfx import v1 as tfx_v1
from tfx.orchestration import metadata

from tests.e2e import taxi_example
from tfx_feeder.components import FeederTrainer
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.pipeline.configs import BEAM_ARGS
from tfx_feeder.schemas import training_history

pytestmark = pytest.mark.slow

TRIPS = Path(tfx.examples.__path__[0], "chicago_taxi_pipeline/data/simple/data.csv")
TRIP_COUNT = 3000
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
        example_gen = tfx_v1.components.CsvExampleGen(input_base=str(root / "trips"))
        examples = example_gen.outputs["examples"]
        statistics_gen = tfx_v1.components.StatisticsGen(examples=examples)
        schema_gen = tfx_v1.components.SchemaGen(
            statistics=statistics_gen.outputs["statistics"], infer_feature_shape=True
        )
        transform = tfx_v1.components.Transform(
            examples=examples,
            schema=schema_gen.outputs["schema"],
            preprocessing_fn="tests.e2e.taxi_example.preprocessing_fn",
            disable_statistics=True,
        )
        resolver = _blessed_model()
        trainer = FeederTrainer(
            examples=transform.outputs["transformed_examples"],
            transform_graph=transform.outputs["transform_graph"],
            schema=schema_gen.outputs["schema"],
            model_fn="tests.e2e.taxi_example.model_fn",
            base_model=resolver.outputs["model"],
            schedule="0.01:32x2, 0.005:64x2",
            feed=FeedOptions(label_key=taxi_example.LABEL),
            custom_config={"width": 16},
        )
        model = trainer.outputs["model"]
        evaluator = _evaluator(
            examples,
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
        nodes = [example_gen, statistics_gen, schema_gen, transform, resolver, trainer]
        return [*nodes, evaluator, pusher]

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
