"""SliceGen between stock components: the Evaluator computes every slice from one specification."""

import csv
import json
from collections import defaultdict
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
from ml_metadata.proto import metadata_store_pb2
from tfx import v1 as tfx
from tfx.orchestration import metadata

from tfx_feeder.components.slice_gen.component import SliceGen
from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions
from tfx_feeder.components.slice_gen.search import SliceSearchOptions
from tfx_feeder.pipeline.configs import BEAM_ARGS
from tfx_feeder.schemas import drift_report
from tfx_feeder.schemas import slices as document
from tfx_feeder.schemas.evaluation import read_evaluation

CITIES = ("Köln", "New York, NY", "Rome")
ROWS = 3000
COLUMNS = ("number", "form", "city", "age", "hint", "label")


def _rows() -> list[dict]:
    """Returns rows whose hint is the label, except for form 3 in Rome."""
    random = np.random.default_rng(0)
    rows = []
    for number in range(ROWS):
        form, city = int(random.integers(4)), CITIES[random.integers(len(CITIES))]
        label = int(random.integers(2))
        wrong = random.random() < (0.6 if (form, city) == (3, "Rome") else 0.1)
        age = round(float(random.normal(40, 9)), 3)
        values = (number, form, city, age, float(label != wrong), label)
        rows.append(dict(zip(COLUMNS, values, strict=True)))
    return rows


def _save_model(folder: Path) -> None:
    """Saves a Keras model whose score is above a half where the hint is 1."""
    inputs = keras.Input((1,))
    dense = keras.layers.Dense(1, activation="sigmoid")
    model = keras.Model(inputs, dense(inputs))
    dense.set_weights([np.float32([[4]]), np.float32([-2])])
    spec = {"hint": tf.io.FixedLenFeature([1], tf.float32)}
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda examples: model(tf.io.parse_example(examples, spec)["hint"]),
        [tf.TensorSpec([None], tf.string, name="examples")],
    )
    archive.write_out(str(folder / "Format-Serving"))


def _components(root: Path) -> list:
    import tensorflow_model_analysis as tfma

    example_gen = tfx.components.CsvExampleGen(input_base=str(root / "data"))
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    statistics = statistics_gen.outputs["statistics"]
    schema_gen = tfx.components.SchemaGen(statistics=statistics)
    importer = tfx.dsl.Importer(
        source_uri=str(root / "model"), artifact_type=tfx.types.standard_artifacts.Model
    ).with_id("model")
    model = importer.outputs["result"]
    slice_gen = SliceGen(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        statistics=statistics,
        baseline_statistics=statistics,
        model=model,
        options=SliceGenOptions(
            slices=("form", "age", ("city", "label")),
            boundaries={"age": (30, 45.5)},
            loss=LossOptions("label"),
            search=SliceSearchOptions(min_examples=20),
            columns=("number", "form", "city", "age"),
        ),
    )
    metrics = [
        tfma.MetricConfig(class_name="ExampleCount"),
        tfma.MetricConfig(class_name="BinaryAccuracy", config=json.dumps({"name": "accuracy"})),
    ]
    evaluator = tfx.components.Evaluator(
        examples=slice_gen.outputs["annotated_examples"],
        model=model,
        eval_config=tfma.EvalConfig(
            model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key="label")],
            slicing_specs=[tfma.SlicingSpec(feature_keys=[document.SLICES_FEATURE])],
            metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
        ),
    )
    return [example_gen, statistics_gen, schema_gen, importer, slice_gen, evaluator]


def _run(root: Path) -> dict[str, list[metadata_store_pb2.Artifact]]:
    store = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "store.db"))
    tfx.orchestration.LocalDagRunner().run(
        tfx.dsl.Pipeline(
            pipeline_name="slices",
            pipeline_root=str(root / "artifacts"),
            components=_components(root),
            metadata_connection_config=store,
            beam_pipeline_args=list(BEAM_ARGS),
        )
    )
    with metadata.Metadata(store) as handle:
        types = {kind.id: kind.name for kind in handle.store.get_artifact_types()}
        artifacts = defaultdict(list)
        for artifact in handle.store.get_artifacts():
            artifacts[types[artifact.type_id]].append(artifact)
    return artifacts


@pytest.mark.slow
def test_the_evaluator_computes_all_slices_from_one_specification(tmp_path: Path) -> None:
    rows = _rows()
    (tmp_path / "data").mkdir()
    with (tmp_path / "data" / "rows.csv").open("w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    _save_model(tmp_path / "model")
    artifacts = _run(tmp_path)

    (listed,) = artifacts["tfx_feeder.Slices"]
    slices = document.read(listed.uri)
    (proposed,) = slices.of_origin("proposed")
    assert proposed.name == "city Rome, form 3"
    assert proposed.evidence.p_value < 1e-3
    assert listed.custom_properties["slices_proposed"].int_value == 1

    (report,) = artifacts["tfx_feeder.DriftReport"]
    (comparison,) = drift_report.read(report.uri)
    assert (comparison.verdict, comparison.current) == ("no drift", "train")
    assert report.custom_properties["features_tested"].int_value == 6
    assert report.custom_properties["alarm"].int_value == 0

    (annotated,) = (a for a in artifacts["Examples"] if "annotated_examples" in a.uri)
    assert annotated.properties["split_names"].string_value == '["eval", "drift"]'
    assert annotated.custom_properties["span"].int_value == 0
    files = tf.io.gfile.glob(f"{annotated.uri}/Split-eval/*.gz")
    numbers = {
        tf.train.Example.FromString(record.numpy()).features.feature["number"].int64_list.value[0]
        for record in tf.data.TFRecordDataset(files, "GZIP")
    }
    assert 900 < len(numbers) < 1100
    expected: dict[str, list[bool]] = {}
    for row in (rows[number] for number in numbers):
        ages = {
            "age (-inf, 30)": row["age"] < 30,
            "age [30, 45.5)": 30 <= row["age"] < 45.5,
            "age [45.5, inf)": row["age"] >= 45.5,
            "city Rome, form 3": (row["form"], row["city"]) == (3, "Rome"),
        }
        names = [name for name, holds in ages.items() if holds]
        names += [f"form {row['form']}", f"city {row['city']}, label {row['label']}", "split eval"]
        for name in names:
            expected.setdefault(name, []).append((row["hint"] > 0.5) == (row["label"] == 1))
    assert {s.name: s.examples for s in slices.slices} == {n: len(v) for n, v in expected.items()}

    (evaluation,) = artifacts["ModelEvaluation"]
    found = {row.slice: row for row in read_evaluation(Path(evaluation.uri)).slices("accuracy")}
    assert {name: row.examples for name, row in found.items()} == {
        name: len(right) for name, right in expected.items()
    }
    assert {name: row.candidate for name, row in found.items()} == pytest.approx(
        {name: np.mean(right) for name, right in expected.items()}
    )
