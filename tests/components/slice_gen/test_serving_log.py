"""Serving logs of all kinds of requests, and records that cannot be used."""

import gzip
from collections.abc import Sequence
from pathlib import Path

import pytest
import tensorflow as tf
from tensorflow_serving.apis import prediction_log_pb2

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.slice_gen.serving_log import (
    ServingLogCounts,
    ServingLogOptions,
    log_files,
    read_serving_log,
)


def example(**values: int) -> tf.train.Example:
    made = tf.train.Example()
    for name, value in values.items():
        made.features.feature[name].int64_list.value.append(value)
    return made


def classify(*examples: tf.train.Example, model: str = "digits", signature: str = ""):
    log = prediction_log_pb2.PredictionLog()
    request = log.classify_log.request
    request.model_spec.name, request.model_spec.signature_name = model, signature
    request.input.example_list.examples.extend(examples)
    return log


def predict(tensor):
    log = prediction_log_pb2.PredictionLog()
    log.predict_log.request.model_spec.name = "digits"
    log.predict_log.request.inputs["examples"].CopyFrom(tensor)
    return log


def write(path: Path, logs: Sequence, *, compressed: bool = False) -> Path:
    with tf.io.TFRecordWriter(str(path), "GZIP" if compressed else "") as writer:
        for log in logs:
            writer.write(log if isinstance(log, bytes) else log.SerializeToString())
    return path


def values(serialized: bytes) -> dict[str, int]:
    features = tf.train.Example.FromString(serialized).features.feature
    return {name: feature.int64_list.value[0] for name, feature in features.items()}


def read(path: Path, options: ServingLogOptions | None = None):
    counts = ServingLogCounts()
    found = read_serving_log(log_files(path), options or ServingLogOptions(), counts)
    return [values(each) for each in found], counts


@pytest.mark.parametrize("compressed", [False, True])
def test_every_kind_of_request_is_read(tmp_path, compressed):
    regress = prediction_log_pb2.PredictionLog()
    regress.regress_log.request.input.example_list.examples.append(example(x=3))
    several = prediction_log_pb2.PredictionLog()
    request = several.multi_inference_log.request
    request.tasks.add().model_spec.name = "digits"
    request.input.example_list.examples.append(example(x=4))
    context = prediction_log_pb2.PredictionLog()
    shared = context.classify_log.request.input.example_list_with_context
    shared.context.CopyFrom(example(x=0, user=7))
    shared.examples.extend([example(x=5), example(y=6)])
    serialized = [example(x=8).SerializeToString(), example(x=9).SerializeToString()]
    logs = [
        classify(example(x=1), example(x=2)),
        regress,
        several,
        context,
        predict(tf.make_tensor_proto(serialized)),
    ]
    write(tmp_path / "log.gz", logs, compressed=compressed)
    found, counts = read(tmp_path)
    assert [each["x"] for each in found] == [1, 2, 3, 4, 5, 0, 8, 9]
    assert found[4] == {"x": 5, "user": 7}
    assert (counts.records, counts.examples, counts.set_aside) == (5, 8, {})


def test_what_cannot_be_used_is_counted_and_the_rest_read(tmp_path):
    session = prediction_log_pb2.PredictionLog()
    session.session_run_log.request.target.append("softmax")
    good, bad = example(x=2).SerializeToString(), b"\xff\xff"
    logs = [
        classify(example(x=1)),
        classify(example(x=0), model="other"),
        classify(example(x=0), signature="embed"),
        session,
        predict(tf.make_tensor_proto([1.0, 2.0])),
        predict(tf.make_tensor_proto([good, bad])),
        classify(),
        b"\xff\xff\xff",
        b"",
        classify(example(x=3)),
    ]
    write(tmp_path / "log", logs)
    options = ServingLogOptions(model="digits", signatures=("serving_default",))
    found, counts = read(tmp_path, options)
    assert [each["x"] for each in found] == [1, 2, 3]
    assert counts.set_aside == {
        "another model: other": 1,
        "another signature: embed": 1,
        "request of another kind: session_run_log": 1,
        "inputs are tensors, not serialized tf.Examples": 1,
        "damaged record: not a tf.Example": 1,
        "request without examples": 1,
        "damaged record: not a PredictionLog": 1,
        "no request": 1,
    }


def test_damaged_files_are_read_as_far_as_they_go(tmp_path):
    write(tmp_path / "a", [classify(example(x=n)) for n in range(3)])
    content = bytearray((tmp_path / "a").read_bytes())
    content[len(content) // 2] ^= 1
    (tmp_path / "a").write_bytes(content)
    write(tmp_path / "b", [classify(example(x=9))], compressed=True)
    (tmp_path / "b").write_bytes((tmp_path / "b").read_bytes()[:-12])
    (tmp_path / "c").write_text("No log at all, but a long text.")
    write(tmp_path / "d", [classify(example(x=7))])
    found, counts = read(tmp_path)
    assert [each["x"] for each in found if each["x"] != 9] == [0, 2, 7]
    assert counts.set_aside["damaged record: wrong checksum"] == 1
    assert counts.set_aside["damaged record: not a TFRecord file"] == 1
    assert sum(counts.set_aside.values()) == 3


def test_plain_examples_are_read(tmp_path):
    records = [example(x=1).SerializeToString(), b"\xff", tf.train.Example().SerializeToString()]
    write(tmp_path / "log", records)
    found, counts = read(tmp_path, ServingLogOptions(payload="example"))
    assert found == [{"x": 1}]
    assert counts.set_aside == {
        "damaged record: not a tf.Example": 1,
        "tf.Example without features": 1,
    }


def test_files_are_found_in_folders_and_without_markers(tmp_path):
    for name in ("day-1/log", "day-2/log", "_SUCCESS", ".hidden/log"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(gzip.compress(b""))
    names = [path.relative_to(tmp_path).as_posix() for path in log_files(tmp_path)]
    assert names == ["day-1/log", "day-2/log"]
    assert log_files(tmp_path / "day-1" / "log") == (tmp_path / "day-1" / "log",)
    assert read(tmp_path)[0] == []


def test_no_file_is_read_twice_and_none_outside_of_the_folder(tmp_path):
    folder = tmp_path / "log"
    (folder / "..data").mkdir(parents=True)
    write(folder / "..data" / "mounted", [classify(example(x=1))])
    write(folder / "own", [classify(example(x=2))])
    (folder / "a").symlink_to(folder / "own")
    (folder / "mounted").symlink_to("..data/mounted")
    (folder / "up").symlink_to(folder)
    assert [path.name for path in log_files(folder)] == ["mounted", "own"]
    (tmp_path / "elsewhere").mkdir()
    (folder / "out").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(DataError, match="out is a link out of the folder"):
        log_files(folder)
    with pytest.raises(DataError, match="neither a file nor a folder"):
        log_files(tmp_path / "none")


def test_requests_that_stand_for_gigabytes_are_set_aside(tmp_path):
    log = prediction_log_pb2.PredictionLog()
    shared = log.classify_log.request.input.example_list_with_context
    shared.context.features.feature["a"].bytes_list.value.append(b"a" * 1_000_000)
    for _ in range(10_000):
        shared.examples.add()
    write(tmp_path / "log", [log, classify(example(x=1))])
    found, counts = read(tmp_path)
    assert found == [{"x": 1}]
    assert counts.set_aside == {"context too large for the number of examples": 1}


def test_reasons_do_not_grow_with_the_names_that_clients_choose(tmp_path):
    logs = [classify(example(x=1), model=f"{number}{'x' * 2_000}") for number in range(500)]
    write(tmp_path / "log", logs)
    counts = read(tmp_path, ServingLogOptions(model="digits"))[1]
    assert sum(counts.set_aside.values()) == 500
    assert len(counts.set_aside) == 101
    assert max(map(len, counts.set_aside)) < 100


def test_unknown_payloads_are_refused():
    with pytest.raises(ConfigError, match="payload"):
        ServingLogOptions(payload="csv")
