"""Serving logs and labels in Beam: what is evaluated, what is compared, and what is left out."""

import csv
import dataclasses
from collections import Counter
from pathlib import Path
from typing import Any

import apache_beam as beam
import numpy as np
import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tests.components.slice_gen.measured import measured
from tfx_feeder.common.errors import DataError
from tfx_feeder.components.slice_gen.classifier_options import ClassifierTestOptions
from tfx_feeder.components.slice_gen.generate import Generated, generate
from tfx_feeder.components.slice_gen.inputs import Inputs
from tfx_feeder.components.slice_gen.log_options import LabelOptions, ServingLogOptions
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.components.slice_gen.passes import Sample
from tfx_feeder.components.slice_gen.served import ServedInputs
from tfx_feeder.schemas.slices import SLICES_FEATURE, slice_name

SIZE = 400
OPTIONS = SliceGenOptions(slices=("city", "age", ("city", "form")), intervals=2)


def table(seed: int, cities: dict[str, float]) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(seed)
    return {
        "id": np.arange(SIZE),
        "city": rng.choice(list(cities), SIZE, p=list(cities.values())),
        "form": rng.integers(0, 3, SIZE),
        "age": rng.normal(40, 10, SIZE),
    }


TRAINING = table(0, {"Rome": 0.7, "Oslo": 0.3})
SERVED = table(1, {"Rome": 0.4, "Oslo": 0.3, "Kiel": 0.3})


def example(row: dict[str, Any]) -> tf.train.Example:
    made = tf.train.Example()
    for name, value in row.items():
        feature = made.features.feature[name]
        if isinstance(value, str):
            feature.bytes_list.value.append(value.encode())
        elif isinstance(value, float):
            feature.float_list.value.append(value)
        else:
            feature.int64_list.value.append(value)
    return made


def rows(columns: dict[str, np.ndarray]) -> list[dict[str, Any]]:
    names = list(columns)
    return [
        dict(zip(names, values, strict=True))
        for values in zip(*(columns[name].tolist() for name in names), strict=True)
    ]


def request(row: dict[str, Any], model: str = "digits", prediction: float = 0.5):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = model
    # The same in each run, as samples are drawn by content.
    serialized = example(row).SerializeToString(deterministic=True)
    log.predict_log.request.inputs["examples"].CopyFrom(tf.make_tensor_proto([serialized]))
    log.predict_log.response.outputs["scores"].CopyFrom(tf.make_tensor_proto([[prediction]]))
    return log


def write(path: Path, records: list[Any]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tf.io.TFRecordWriter(str(path)) as writer:
        for record in records:
            writer.write(record if isinstance(record, bytes) else record.SerializeToString())
    return path


def write_labels(path: Path, labels: list[tuple[Any, ...]], columns=("id", "label")) -> Path:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file).writerows([columns, *labels])
    return path


def run(
    folder: Path, records: list[Any], options: SliceGenOptions = OPTIONS, **served: Any
) -> tuple[Generated, list[tf.train.Example]]:
    write(folder / "log/0", records)
    write(folder / "in/0", [example(row) for row in rows(TRAINING)])
    statistics = measured(TRAINING)
    inputs = {"log": folder / "log", "baseline": statistics, "options": options.serving_log}
    made = generate(
        beam.Pipeline,
        Inputs(
            (str(folder / "in"),),
            statistics,
            (*TRAINING, "label"),
            served=ServedInputs(**inputs | served),
        ),
        options,
        outputs={name: str(folder / name / "data") for name in ("eval", "serving_skew")},
        temporary=str(folder / "temporary"),
    )
    paths = list(map(str, (folder / "serving_skew").glob("*.gz")))
    written = tf.data.TFRecordDataset(paths, "GZIP")
    return made, [tf.train.Example.FromString(record.numpy()) for record in written]


def names(found: tf.train.Example) -> list[str]:
    return [name.decode() for name in found.features.feature[SLICES_FEATURE].bytes_list.value]


def remarks(made: Generated) -> dict[tuple[str, str], int]:
    return {(remark.subject, remark.reason): remark.count for remark in made.slices.remarks}


@pytest.mark.slow
def test_labels_are_joined_and_what_cannot_be_used_is_counted(tmp_path: Path) -> None:
    log = [request(row) for row in rows(SERVED)]
    log += [request(row, model="faces") for row in rows(SERVED)[:7]]
    log += [b"\xff", prediction_log_pb2.PredictionLog()]
    log += [request({"city": "Rome", "age": 1.0})]  # Without a key.
    log += [request(rows(SERVED)[0], prediction=float("nan"))]
    labels = [(n, 1) for n in range(SIZE // 2)]
    labels += [(3, 1), (4, 0), (999, 1), ("", 1), (SIZE - 1, ""), (SIZE - 2, "cat")]
    made, written = run(
        tmp_path,
        log,
        dataclasses.replace(OPTIONS, serving_log=ServingLogOptions(model="digits")),
        labels=write_labels(tmp_path / "labels.csv", labels),
        label_options=LabelOptions("id", "label"),
        label="label",
        label_kind="float_list",
    )
    # One key is contradicted, and the first one was served twice.
    kept = [0, *(n for n in range(SIZE // 2) if n != 4)]
    assert made.slices.examples == {"eval": SIZE, "serving_skew": len(kept)}
    assert sorted(e.features.feature["id"].int64_list.value[0] for e in written) == kept
    # The type of the schema, although the file has integers.
    assert {e.features.feature["label"].float_list.value[0] for e in written} == {1.0}
    of_log = Counter(name for found in written for name in names(found))
    cities = Counter(str(SERVED["city"][n]) for n in kept)
    # Values that only the log has are slices as well.
    for city in ("Rome", "Oslo", "Kiel"):
        name = slice_name([("city", city), ("split", "serving_skew")])
        assert of_log[name] == cities[city]
    listed = {s.name: s.examples for s in made.slices.slices if "serving_skew" in s.name}
    assert listed == of_log
    assert made.slices.find("city Rome").examples == (TRAINING["city"] == "Rome").sum()
    assert made.slices.find("city Kiel, split serving_skew").evidence.elsewhere == 0
    (report,) = made.reports
    assert (report.kind, report.current_examples) == ("serving_skew", SIZE + 2)
    assert [row.feature for row in report.drifted] == ["city"]
    assert remarks(made) == {
        ("serving_log", "another model: faces"): 7,
        ("serving_log", "damaged record: not a PredictionLog"): 1,
        ("serving_log", "no request"): 1,
        ("serving_log", "a logged prediction is not finite"): 1,
        ("labels", "example with no key"): 1,
        ("labels", "label with no key"): 1,
        ("labels", "label given more than once"): 1,
        ("labels", "labels that contradict one another"): 2,
        ("labels", "label without an example"): 1,
        ("labels", "no label value"): 1,
        ("labels", "label of another type than in the schema"): 1,
        ("labels", "no label"): SIZE // 2 + 1,
    }


@pytest.mark.slow
def test_examples_may_have_their_labels_and_lack_a_feature(tmp_path: Path) -> None:
    served = [{**row, "label": row["id"] % 2} for row in rows(SERVED)]
    del served[0]["label"]
    for row in served:
        del row["form"]
    options = dataclasses.replace(
        OPTIONS, serving_log=ServingLogOptions("example"), max_served=SIZE // 4
    )
    made, written = run(tmp_path, [example(row) for row in served], options, label="label")
    assert SIZE / 8 < len(written) < 3 * SIZE / 8
    (report,) = made.reports
    assert report.current_examples == SIZE
    assert {row.feature: row.verdict for row in report.features} == {
        "city": "drift",
        "id": "no drift",
        "age": "no drift",
        "form": "missing",
    }
    assert remarks(made) == {
        ("labels", "no label"): 1,
        ("serving_log", "it lacks the feature 'form'"): 0,
    }


@pytest.mark.slow
def test_labeled_examples_are_sampled_until_they_resemble_the_log(tmp_path: Path) -> None:
    served = rows(SERVED)
    # The older, the more likely has someone given a label.
    old = [row for row in served if row["age"] > 40 or row["id"] % 5 == 0]
    options = dataclasses.replace(OPTIONS, classifier=ClassifierTestOptions())
    made, written = run(
        tmp_path,
        [request(row) for row in served],
        options,
        labels=write_labels(tmp_path / "labels.csv", [(row["id"], 1) for row in old]),
        label_options=LabelOptions("id", "label"),
        label="label",
    )
    mean = np.mean([row["age"] for row in served])
    kept = np.mean([e.features.feature["age"].float_list.value[0] for e in written])
    assert abs(kept - mean) < 0.8 * (np.mean([row["age"] for row in old]) - mean)
    assert 25 < len(written) < len(old)
    reason = "those with a label differ from the log; a sample resembles it, of about"
    about = remarks(made)["split serving_skew", reason]
    assert len(written) == pytest.approx(about, rel=0.4)
    assert {found.verdict for found in made.reports[0].classifiers} == {"drift"}


@pytest.mark.slow
def test_an_empty_log_is_told_and_one_that_does_not_exist_is_an_error(tmp_path: Path) -> None:
    made, written = run(tmp_path, [], label="label")
    assert written == []
    assert remarks(made) == {
        ("serving_log", "it has no examples that can be read"): 0,
        ("split serving_skew", "it has no examples"): 0,
    }
    assert {row.verdict for row in made.reports[0].features} == {"not tested"}
    with pytest.raises(DataError, match="neither a file nor a folder"):
        run(tmp_path, [], log=tmp_path / "gone")


def test_a_sample_is_the_same_in_each_run() -> None:
    records = [bytes([n, m]) for n in range(40) for m in range(50)]
    chosen = [found for record in records for found in Sample(0.1).process(record)]
    again = [found for record in records[::-1] for found in Sample(0.1).process(record)]
    assert chosen == again[::-1]
    assert 150 < len(chosen) < 250
