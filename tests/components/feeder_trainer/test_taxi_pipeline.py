"""FeederTrainer between stock components, on the taxi trips that come with TFX."""

import csv
import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tfx.examples
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx_v1
from tfx.orchestration import metadata

from tfx_feeder.components import FeederTrainer
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.schemas import training_history

HERE = Path(__file__).parent
TRIPS = Path(tfx.examples.__path__[0], "chicago_taxi_pipeline/data/simple/data.csv")
ROWS = 3000
BEAM_ARGS = [
    "--sdk_container_image=none",
    "--allow_unsafe_triggers",
    "--pickle_library=cloudpickle",
]


def _pipeline(root: Path, trips: Path) -> tfx_v1.dsl.Pipeline:
    examples = tfx_v1.components.CsvExampleGen(input_base=str(trips))
    statistics = tfx_v1.components.StatisticsGen(examples=examples.outputs["examples"])
    schema = tfx_v1.components.SchemaGen(statistics=statistics.outputs["statistics"])
    transform = tfx_v1.components.Transform(
        examples=examples.outputs["examples"],
        schema=schema.outputs["schema"],
        preprocessing_fn="taxi_model.preprocessing_fn",
        disable_statistics=True,
    )
    trainer = FeederTrainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema.outputs["schema"],
        module_file=str(HERE / "taxi_model.py"),
        schedule="0.01:32x2, 0.005:64x2",
        feed=FeedOptions(label_key="big_tip"),
        custom_config={"width": 16},
    )
    return tfx_v1.dsl.Pipeline(
        pipeline_name="taxi",
        pipeline_root=str(root / "artifacts"),
        components=[examples, statistics, schema, transform, trainer],
        metadata_connection_config=_store(root),
        beam_pipeline_args=BEAM_ARGS,
        enable_cache=False,
    )


def _store(root: Path) -> metadata_store_pb2.ConnectionConfig:
    return tfx_v1.orchestration.metadata.sqlite_metadata_connection_config(str(root / "store.db"))


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> dict[str, metadata_store_pb2.Artifact]:
    """Runs the pipeline once; the newest artifact of each type."""
    root = tmp_path_factory.mktemp("taxi")
    (root / "trips").mkdir()
    with TRIPS.open() as trips, (root / "trips/data.csv").open("w") as part:
        part.writelines(itertools.islice(trips, ROWS + 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(HERE)
        tfx_v1.orchestration.LocalDagRunner().run(_pipeline(root, root / "trips"))
    with metadata.Metadata(_store(root)) as handle:
        names = {kind.id: kind.name for kind in handle.store.get_artifact_types()}
        return {names[a.type_id]: a for a in handle.store.get_artifacts()}


@pytest.mark.slow
def test_the_record_is_in_the_artifact_and_its_summary_in_the_store(run: dict) -> None:
    artifact = run["tfx_feeder.TrainingHistory"]
    history = training_history.read(artifact.uri)
    stored = artifact.custom_properties

    assert [(row.phase, row.global_batch_size) for row in history.epochs] == [
        (0, 32),
        (0, 32),
        (1, 64),
        (1, 64),
    ]
    assert 0 < history.num_examples < ROWS
    assert history.epochs[-1].examples_seen == 4 * history.num_examples
    assert stored["examples_seen"].int_value == 4 * history.num_examples
    assert stored["code_fingerprint"].string_value == history.code_fingerprint
    assert stored["final_val_accuracy"].double_value == pytest.approx(
        history.epochs[-1].metrics["val_accuracy"]
    )


@pytest.mark.slow
def test_it_learned(run: dict) -> None:
    history = training_history.read(run["tfx_feeder.TrainingHistory"].uri)

    losses = [row.metrics["val_loss"] for row in history.epochs]
    assert losses[-1] < losses[0]


@pytest.mark.slow
def test_raw_trips_without_the_tip_get_the_models_own_predictions(run: dict) -> None:
    folder = Path(run["Model"].uri)
    served = tf.saved_model.load(str(folder / "Format-Serving"))

    (scores,) = served.signatures["serving_default"](examples=tf.constant(_trips(20))).values()

    assert scores.shape == (20, 1)
    assert ((scores >= 0) & (scores <= 1)).numpy().all()
    assert np.ptp(scores.numpy()) > 0
    keras.models.load_model(folder / "Format-Keras" / "model.keras")


@pytest.mark.slow
def test_tensorboard_reads_the_run(run: dict) -> None:
    assert list(Path(run["ModelRun"].uri).rglob("events*"))


def _trips(count: int) -> list[bytes]:
    """Serializes the trips as CsvExampleGen does, the tip left out."""
    serialized = []
    with TRIPS.open() as file:
        for row in itertools.islice(csv.DictReader(file), count):
            features = {
                "trip_miles": tf.train.Feature(
                    float_list=tf.train.FloatList(value=[float(row["trip_miles"])])
                ),
                "fare": tf.train.Feature(float_list=tf.train.FloatList(value=[float(row["fare"])])),
                "trip_seconds": tf.train.Feature(
                    int64_list=tf.train.Int64List(
                        value=[int(row["trip_seconds"])] if row["trip_seconds"] else []
                    )
                ),
                "payment_type": tf.train.Feature(
                    bytes_list=tf.train.BytesList(value=[row["payment_type"].encode()])
                ),
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            serialized.append(example.SerializeToString())
    return serialized
