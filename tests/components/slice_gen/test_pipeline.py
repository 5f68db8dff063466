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
from tfx_feeder.components.slice_gen.drift import DriftOptions
from tfx_feeder.components.slice_gen.log_options import LabelOptions
from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions
from tfx_feeder.components.slice_gen.search import SliceSearchOptions
from tfx_feeder.pipeline.configs import BEAM_ARGS
from tfx_feeder.schemas import drift_report
from tfx_feeder.schemas import slices as document
from tfx_feeder.schemas.evaluation import read_evaluation

CITIES = ("Köln", "New York, NY", "Rome")
ROWS, SERVED = 3000, 300
COLUMNS = ("number", "form", "city", "age", "hint", "label")


def _rows(count: int, seed: int, forms: tuple[int, ...]) -> list[dict]:
    """Returns rows whose hint is the label, except for form 3 in Rome."""
    random = np.random.default_rng(seed)
    rows = []
    for number in range(count):
        form, city = forms[random.integers(len(forms))], CITIES[random.integers(len(CITIES))]
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
    served = tfx.components.CsvExampleGen(input_base=str(root / "served")).with_id("served")
    inferrer = tfx.components.BulkInferrer(
        examples=served.outputs["examples"],
        model=model,
        data_spec=tfx.proto.DataSpec(example_splits=["train", "eval"]),
    )
    slice_gen = SliceGen(
        examples=examples,
        schema=schema_gen.outputs["schema"],
        statistics=statistics,
        baseline_statistics=statistics,
        model=model,
        serving_log=inferrer.outputs["inference_result"],
        labels=str(root / "labels.csv"),
        options=SliceGenOptions(
            slices=("form", "age", ("city", "label")),
            boundaries={"age": (30, 45.5)},
            loss=LossOptions("label"),
            search=SliceSearchOptions(min_examples=20),
            columns=("number", "form", "city", "age"),
            labels=LabelOptions("number", "label"),
            drift=DriftOptions(excluded=("number",)),
        ),
    )
    metrics = [
        tfma.MetricConfig(class_name="ExampleCount"),
        tfma.MetricConfig(class_name="BinaryAccuracy", config=json.dumps({"name": "accuracy"})),
    ]
    evaluator = tfx.components.Evaluator(
        examples=slice_gen.outputs["annotated_examples"],
        # Without drift, its split is empty.
        example_splits=["eval", "serving_skew", "drift"],
        model=model,
        eval_config=tfma.EvalConfig(
            model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key="label")],
            slicing_specs=[tfma.SlicingSpec(feature_keys=[document.SLICES_FEATURE])],
            metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
        ),
    )
    first = [example_gen, statistics_gen, schema_gen, importer, served, inferrer]
    return [*first, slice_gen, evaluator]


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


def _write_csv(path: Path, rows: list[dict], columns: tuple[str, ...] = COLUMNS) -> None:
    path.parent.mkdir(exist_ok=True)
    with path.open("w", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, extrasaction="ignore")
        writer.writeheader()
        writer.writerows(rows)


def _numbers(artifact: metadata_store_pb2.Artifact, split: str) -> list[int]:
    files = tf.io.gfile.glob(f"{artifact.uri}/Split-{split}/*.gz")
    return [
        tf.train.Example.FromString(record.numpy()).features.feature["number"].int64_list.value[0]
        for record in tf.data.TFRecordDataset(files, "GZIP")
    ]


def _names(row: dict) -> list[str]:
    ages = {
        "age (-inf, 30)": row["age"] < 30,
        "age [30, 45.5)": 30 <= row["age"] < 45.5,
        "age [45.5, inf)": row["age"] >= 45.5,
    }
    names = [name for name, holds in ages.items() if holds]
    return [*names, f"form {row['form']}", f"city {row['city']}, label {row['label']}"]


@pytest.mark.slow
def test_the_evaluator_computes_all_slices_from_one_specification(tmp_path: Path) -> None:
    rows, served = _rows(ROWS, 0, (0, 1, 2, 3)), _rows(SERVED, 1, (0, 1, 2, 3, 3, 3, 3, 3))
    _write_csv(tmp_path / "data/rows.csv", rows)
    # What was served has no labels; those of every second example came later.
    _write_csv(tmp_path / "served/rows.csv", served, COLUMNS[:-1])
    _write_csv(tmp_path / "labels.csv", served[::2], ("number", "label"))
    _save_model(tmp_path / "model")
    artifacts = _run(tmp_path)

    (listed,) = artifacts["tfx_feeder.Slices"]
    slices = document.read(listed.uri)
    (proposed,) = slices.of_origin("proposed")
    assert proposed.name == "city Rome, form 3"
    assert proposed.evidence.p_value < 1e-3
    assert listed.custom_properties["slices_proposed"].int_value == 1

    (report,) = artifacts["tfx_feeder.DriftReport"]
    drift, skew = drift_report.read(report.uri)
    assert (drift.kind, drift.verdict, drift.current) == ("drift", "no drift", "train")
    assert (skew.kind, skew.current_examples) == ("serving_skew", SERVED)
    assert [row.feature for row in skew.drifted] == ["form"]
    summary = {name: value.int_value for name, value in report.custom_properties.items()}
    assert summary["features_tested"] == 5
    assert (summary["features_drifted"], summary["features_skewed"]) == (0, 1)
    assert summary["alarm"] == 1

    (annotated,) = (a for a in artifacts["Examples"] if "annotated_examples" in a.uri)
    splits = json.loads(annotated.properties["split_names"].string_value)
    assert splits == ["eval", "drift", "serving_skew"]
    assert annotated.custom_properties["span"].int_value == 0
    numbers, of_log = _numbers(annotated, "eval"), _numbers(annotated, "serving_skew")
    assert 900 < len(numbers) < 1100
    assert sorted(of_log) == list(range(0, SERVED, 2))
    expected: dict[str, list[bool]] = {}
    for row in (rows[number] for number in numbers):
        weak = ["city Rome, form 3"] * ((row["form"], row["city"]) == (3, "Rome"))
        for name in [*_names(row), *weak, "split eval"]:
            expected.setdefault(name, []).append((row["hint"] > 0.5) == (row["label"] == 1))
    for row in (served[number] for number in of_log):
        for name in [
            *(f"{name}, split serving_skew" for name in _names(row)),
            "split serving_skew",
        ]:
            expected.setdefault(name, []).append((row["hint"] > 0.5) == (row["label"] == 1))
    assert {s.name: s.examples for s in slices.slices} == {n: len(v) for n, v in expected.items()}
    more = slices.find("form 3, split serving_skew").evidence
    # TFDV sketches distributions of numbers.
    assert more.value == pytest.approx(np.mean([row["form"] == 3 for row in served]), abs=0.002)

    (evaluation,) = artifacts["ModelEvaluation"]
    found = {row.slice: row for row in read_evaluation(Path(evaluation.uri)).slices("accuracy")}
    assert {name: row.examples for name, row in found.items()} == {
        name: len(right) for name, right in expected.items()
    }
    assert {name: row.candidate for name, row in found.items()} == pytest.approx(
        {name: np.mean(right) for name, right in expected.items()}
    )
