"""Labels of all formats, joined to examples, and those that cannot be."""

import tempfile
import time
import tracemalloc
from datetime import date, datetime, timezone
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.slice_gen.labels import Label, LabelOptions, join, key_of, read_labels

OPTIONS = LabelOptions("id", "digit")
TIMED = LabelOptions("id", "digit", "at", datetime(2026, 1, 2, tzinfo=timezone.utc))


def example(**values: int | str) -> bytes:
    made = tf.train.Example()
    for name, value in values.items():
        feature = made.features.feature[name]
        if isinstance(value, int):
            feature.int64_list.value.append(value)
        else:
            feature.bytes_list.value.append(value.encode())
    return made.SerializeToString()


def in_csv(folder: Path) -> None:
    (folder / "labels.csv").write_text("id,digit,more\n1,7,x\nb, 3 ,y\n,4,z\nc,,z\n")


def in_parquet(folder: Path) -> None:
    table = pa.table({"id": ["1", "b", None, "c"], "digit": pa.array([7, 3, 4, None], pa.int64())})
    pq.write_table(table, folder / "labels.parquet")


def in_examples(folder: Path) -> None:
    rows = [example(id=1, digit=7), example(id="b", digit=3), example(digit=4), example(id="c")]
    with tf.io.TFRecordWriter(str(folder / "labels.gz"), "GZIP") as writer:
        for row in rows:
            writer.write(row)


@pytest.mark.parametrize("write", [in_csv, in_parquet, in_examples])
def test_labels_are_the_same_in_every_format(tmp_path, write):
    write(tmp_path)
    assert list(read_labels(tmp_path, OPTIONS)) == [
        Label("1", 7),
        Label("b", 3),
        Label("", None, "no key"),
        Label("c", None, "no label value"),
    ]


def test_late_labels_are_not_used(tmp_path):
    (tmp_path / "labels.csv").write_text(
        "id,digit,at\na,1,2026-01-01T23:59:59Z\nb,2,2026-01-02T00:00:00+00:00\nc,3,\nd,4,2026-01-01\n"
    )
    found = [(label.key, label.problem) for label in read_labels(tmp_path, TIMED)]
    assert found == [("a", ""), ("b", "late label"), ("c", "late label"), ("d", "")]


def test_times_are_seconds_or_dates_as_well(tmp_path):
    (tmp_path / "labels.csv").write_text("id,digit,at\na,1,1767225599\nb,2,1767312000.5\nc,3,99\n")
    found = [(label.key, label.problem) for label in read_labels(tmp_path, TIMED)]
    assert found == [("a", ""), ("b", "late label"), ("c", "late label")]
    (tmp_path / "labels.csv").unlink()
    times = pa.array([date(2026, 1, 1), date(2026, 1, 2)])
    table = pa.table({"id": ["a", "b"], "digit": [1, 2], "at": times})
    pq.write_table(table, tmp_path / "labels.parquet")
    assert [label.problem for label in read_labels(tmp_path, TIMED)] == ["", "late label"]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("007", 7),
        ("-2.5e1", -25.0),
        ("1_000", "1_000"),
        ("\u0661\u0662", "\u0661\u0662"),
        ("nan", None),
        ("Infinity", None),
        ("1e999", None),
        ("9" * 19, None),
        ("9" * 5_000, None),
        ("cat" * 50_000, None),
    ],
)
def test_labels_are_what_a_feature_can_hold(text, value):
    records = [tf.train.Example.FromString(example(id="a"))]
    records[0].features.feature["digit"].bytes_list.value.append(text.encode())
    with tempfile.NamedTemporaryFile() as file:
        with tf.io.TFRecordWriter(file.name) as writer:
            writer.write(records[0].SerializeToString())
        labels = list(read_labels(Path(file.name), OPTIONS))
    assert labels == [Label("a", value, "" if value is not None else "no label value")]
    assert len(join("a", [example(id="a")], labels, OPTIONS).examples) == (value is not None)


def test_keys_without_a_number_do_not_match_one_another(tmp_path):
    table = pa.table({"id": [float("nan"), 2.0], "digit": pa.array([1, 2**64 - 1], pa.uint64())})
    pq.write_table(table, tmp_path / "labels.parquet")
    labels = list(read_labels(tmp_path, OPTIONS))
    assert labels == [Label("", None, "no key"), Label("2", None, "no label value")]


def test_damaged_records_of_labels_are_problems(tmp_path):
    in_examples(tmp_path)
    whole = (tmp_path / "labels.gz").read_bytes()
    (tmp_path / "labels.gz").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "labels.txt").write_text("id,digit\n1,2\n3,4\n")
    problems = [label.problem for label in read_labels(tmp_path, OPTIONS) if label.problem]
    assert problems[-2:] == [
        "damaged record: truncated file",
        "damaged record: not a TFRecord file",
    ]


def test_columns_that_exist_twice_and_missing_files_are_told(tmp_path):
    (tmp_path / "labels.CSV").write_text("id,digit,digit\n1,2,3\n")
    with pytest.raises(DataError, match="several columns digit"):
        list(read_labels(tmp_path, OPTIONS))
    with pytest.raises(DataError, match=r"none\.csv is neither a file nor a folder"):
        list(read_labels(tmp_path / "none.csv", OPTIONS))


@pytest.mark.parametrize(
    ("values", "kind"),
    [([2**62], pa.timestamp("ms")), ([1], pa.timestamp("us", tz="Foo/Bar"))],
    ids=["the year 146 million", "an unknown time zone"],
)
def test_values_that_python_does_not_know_are_an_error_of_the_file(tmp_path, values, kind):
    table = pa.table({"id": ["a"], "digit": [1], "at": pa.array(values, kind)})
    pq.write_table(table, tmp_path / "labels.parquet")
    with pytest.raises(DataError, match="No labels can be read"):
        list(read_labels(tmp_path, TIMED))


def test_small_files_take_little_memory_and_time(tmp_path):
    repeated = pa.DictionaryArray.from_arrays(pa.array([0] * 400, pa.int32()), ["x" * (4 << 20)])
    pq.write_table(pa.table({"id": ["a"] * 400, "digit": repeated}), tmp_path / "labels.parquet")
    tracemalloc.start()
    found = list(read_labels(tmp_path, OPTIONS))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert found == [Label("a", None, "no label value")] * 400
    assert used < 100 << 20
    (tmp_path / "labels.parquet").unlink()
    header = ",".join(f"c{number}" for number in range(100_000))
    (tmp_path / "labels.csv").write_text(f"id,digit,{header}\n" + "1,2\n" * 1_000)
    began = time.process_time()
    assert list(read_labels(tmp_path, OPTIONS)) == [Label("1", 2)] * 1_000
    assert time.process_time() - began < 5


def test_examples_get_the_label_of_their_key():
    once = join("1", [example(id=1, digit=0)], [Label("1", 7)], OPTIONS)
    features = tf.train.Example.FromString(once.examples[0]).features.feature
    assert features["digit"].int64_list.value == [7]
    assert features["id"].int64_list.value == [1]
    text = join("b", [example(id="b")], [Label("b", "cat")], OPTIONS).examples[0]
    assert b"cat" in text


@pytest.mark.parametrize(
    ("key", "examples", "labels", "made", "problems"),
    [
        ("a", 2, [Label("a", 1), Label("a", 1)], 2, {"label given more than once": 1}),
        (
            "a",
            1,
            [Label("a", 1), Label("a", 2)],
            0,
            {"labels that contradict one another": 2, "no label": 1},
        ),
        ("a", 2, [], 0, {"no label": 2}),
        ("a", 0, [Label("a", 1)], 0, {"label without an example": 1}),
        ("a", 1, [Label("a", None, "late label")], 0, {"late label": 1, "no label": 1}),
        ("", 2, [Label("", None, "no key")], 0, {"no key": 3}),
    ],
)
def test_what_does_not_match_is_counted(key, examples, labels, made, problems):
    joined = join(key, [example(id=key)] * examples, labels, OPTIONS)
    assert len(joined.examples) == made
    assert joined.problems == problems


def test_keys_of_examples_are_text():
    assert key_of(example(id=12), OPTIONS) == "12"
    assert key_of(example(id="b"), OPTIONS) == "b"
    assert key_of(example(x=1), OPTIONS) == ""
    assert key_of(b"\xff", OPTIONS) == ""


def test_files_that_cannot_be_read_are_told(tmp_path):
    (tmp_path / "labels.csv").write_text("key,digit\n1,2\n")
    with pytest.raises(DataError, match="lacks the columns id; it has key, digit"):
        list(read_labels(tmp_path, OPTIONS))
    (tmp_path / "labels.csv").unlink()
    (tmp_path / "labels.parquet").write_bytes(b"none")
    with pytest.raises(DataError, match="No labels can be read"):
        list(read_labels(tmp_path, OPTIONS))


def test_options_are_checked():
    with pytest.raises(ConfigError, match="key"):
        LabelOptions("", "digit")
    with pytest.raises(ConfigError, match="until"):
        LabelOptions("id", "digit", "at", datetime(2026, 1, 1))
