"""The log holds what was asked and answered, and never disturbs the answers."""

import http.client
import json
import time

import grpc
import pyarrow.parquet as pq
import pytest
import tensorflow as tf
from tensorflow_serving.apis import (
    classification_pb2,
    model_pb2,
    predict_pb2,
    prediction_log_pb2,
    prediction_service_pb2_grpc,
)

from tests.serving.server.conftest import FREE_PORTS
from tests.serving.server.saved_models import save
from tests.serving.server.test_grpc_api import examples, request
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.serving_log import (
    ServingLogCounts,
    ServingLogOptions,
    parse_record,
)
from tfx_feeder.serving.prediction_log import (
    Call,
    LogOptions,
    PredictionLogger,
    is_sampled,
)
from tfx_feeder.serving.server.options import ModelOptions
from tfx_feeder.serving.server.server import ModelServer


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("logged") / "scaled"
    folder.mkdir()
    save(folder / "1")
    return folder


def start(folder, log):
    server = ModelServer([ModelOptions("scaled", folder)], FREE_PORTS, LogOptions(log))
    server.start()
    return server


def stub(server):
    channel = grpc.insecure_channel(f"127.0.0.1:{server.grpc_port}")
    return prediction_service_pb2_grpc.PredictionServiceStub(channel)


def post(server, path, body, **headers):
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port, timeout=20)
    connection.request("POST", path, json.dumps(body), headers)
    answer = json.loads(connection.getresponse().read())
    connection.close()
    return answer


def records(log):
    files = sorted(map(str, (log / "scaled").glob("*.tfrecord.gz")))
    found = tf.data.TFRecordDataset(files, "GZIP").as_numpy_iterator()
    return [prediction_log_pb2.PredictionLog.FromString(record) for record in found]


def table(log):
    return [
        row
        for path in sorted((log / "scaled").glob("*.parquet"))
        for row in pq.ParquetFile(path).read().to_pylist()
    ]


def call(number=0, key="", size=1):
    made = prediction_log_pb2.PredictionLog()
    made.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto([[float(number)]]))
    made.predict_log.response.outputs["y"].CopyFrom(tf.make_tensor_proto([[2.0 * number]]))
    return Call("scaled", 1, f"r{number}", key, 10, size, lambda: made)


def test_requests_by_every_protocol_are_logged(folder, tmp_path):
    server = start(folder, tmp_path)
    metadata = (("x-request-id", "first"), ("x-join-key", "order 7"))
    stub(server).Predict(request([[1, 2], [3, 4]]), metadata=metadata)
    post(server, "/v1/models/scaled:predict", {"instances": [[5, 6]]}, **{"X-Join-Key": "order 8"})
    tensor = {"name": "x", "shape": [1, 2], "datatype": "FP32", "data": [7, 8]}
    post(server, "/v2/models/scaled/infer", {"inputs": [tensor]})
    made = classification_pb2.ClassificationRequest(
        model_spec=model_pb2.ModelSpec(name="scaled", signature_name="classify")
    )
    made.input.example_list.examples.extend(examples(0.0))
    stub(server).Classify(made)
    with pytest.raises(grpc.RpcError):
        stub(server).Predict(request([[1, 2, 3]]))  # Refused, so not logged.
    server.stop()

    rows = [row for row in table(tmp_path) if "inputs.x" in row]
    inputs = [row["inputs.x"] for row in rows]
    assert inputs == [[1, 2], [3, 4], [5, 6], [7, 8]]
    assert [row["outputs.scaled"] for row in rows] == [[2 * x for x in row] for row in inputs]
    assert [row["key"] for row in rows] == ["order 7", "order 7", "order 8", ""]
    assert rows[0]["request_id"] == "first"
    assert len({row["request_id"] for row in rows}) == 3
    assert all(row["version"] == 1 and row["latency_us"] > 0 for row in rows)
    assert abs(rows[0]["time"].timestamp() - time.time()) < 60
    (classified,) = [row for row in table(tmp_path) if "inputs.examples" in row]
    assert classified["outputs.scores"] == [0.5, 0.5]

    found = records(tmp_path)
    kinds = [log.WhichOneof("log_type") for log in found]
    assert kinds == ["predict_log"] * 3 + ["classify_log"]
    assert {log.log_metadata.model_spec.version.value for log in found} == {1}
    for log in found[:3]:
        assert log.predict_log.request.model_spec.name == "scaled"
        assert log.predict_log.response.outputs["scaled"].dtype == tf.float32.as_datatype_enum


def test_what_is_logged_is_what_slice_gen_reads(folder, tmp_path):
    server = start(folder, tmp_path)
    made = classification_pb2.ClassificationRequest(
        model_spec=model_pb2.ModelSpec(name="scaled", signature_name="classify")
    )
    made.input.example_list.examples.extend(examples(0.0, 1.5))
    stub(server).Classify(made)
    server.stop()
    counts, options = ServingLogCounts(), ServingLogOptions(model="scaled")
    (log,) = records(tmp_path)
    parsed = parse_record(log.SerializeToString(), options)
    counts.add(parsed)
    assert (counts.records, counts.examples, counts.set_aside) == (1, 2, {})
    values = [
        tf.train.Example.FromString(example).features.feature["x"].float_list.value[0]
        for example in parsed.examples
    ]
    assert values == [0.0, 1.5]


def test_an_error_of_the_disk_stops_the_log_and_no_answer(folder, tmp_path):
    blocked = tmp_path / "log"
    blocked.write_text("a file where the folder should be")
    server = start(folder, blocked)
    for _ in range(3):
        assert stub(server).Predict(request([[1, 2]]))
    deadline = time.monotonic() + 10
    while server.logger.counts.failed < 3 and time.monotonic() < deadline:
        time.sleep(0.02)
    assert server.logger.is_stopped
    connection = http.client.HTTPConnection("127.0.0.1", server.rest_port)
    connection.request("GET", "/monitoring/prometheus/metrics")
    metrics = connection.getresponse().read().decode()
    assert "tfx_feeder_prediction_log_stopped 1.0" in metrics
    assert 'tfx_feeder_prediction_log_total{outcome="failed"} 3.0' in metrics
    server.stop()


def test_files_rotate_and_the_oldest_are_deleted(tmp_path):
    logger = PredictionLogger(LogOptions(tmp_path, rotate_mb=1, max_disk_mb=4))
    logger.start()
    noise = tf.random.stateless_uniform([70_000], (0, 0)).numpy()
    for number in range(20):  # 280 kB each, which cannot be compressed much.
        made = prediction_log_pb2.PredictionLog()
        made.predict_log.request.inputs["x"].CopyFrom(tf.make_tensor_proto(noise[None] + number))
        logger.add(Call("scaled", 1, str(number), "", 1, 1, lambda made=made: made))
    logger.close()
    assert logger.counts.written == 20
    kept = list((tmp_path / "scaled").iterdir())
    assert 1 < len(kept) < 10
    assert sum(path.stat().st_size for path in kept) <= 4 * 2**20
    assert not [path for path in kept if path.name.startswith(".")]
    numbers = [row["request_id"] for row in table(tmp_path)]
    assert "19" in numbers
    assert "0" not in numbers


def test_what_waits_is_bounded_by_number_and_by_size(tmp_path):
    for options, size, kept in (
        (LogOptions(tmp_path, queue=5), 1, 5),
        (LogOptions(tmp_path, queue_mb=1), 2**19, 2),
    ):
        logger = PredictionLogger(options)  # Nobody writes yet.
        for number in range(8):
            logger.add(call(number, size=size))
        assert logger.counts.dropped == 8 - kept


def test_columns_may_differ_between_requests(tmp_path):
    logger = PredictionLogger(LogOptions(tmp_path))
    logger.start()
    logger.add(call(1))
    other = predict_pb2.PredictRequest()
    other.inputs["z"].CopyFrom(tf.make_tensor_proto([b"text"]))
    log = prediction_log_pb2.PredictionLog(predict_log=prediction_log_pb2.PredictLog(request=other))
    logger.add(Call("scaled", 1, "other", "", 1, 1, lambda: log))
    logger.add(call(2))
    logger.close()
    rows = table(tmp_path)
    assert [row["inputs.x"] for row in rows if "inputs.x" in row] == [[1.0], [2.0]]
    assert [row["inputs.z"] for row in rows if "inputs.z" in row] == [b"text"]


def test_a_request_that_cannot_be_written_is_counted_and_the_next_is_logged(tmp_path):
    def fail():
        raise ValueError("no log")

    logger = PredictionLogger(LogOptions(tmp_path))
    logger.start()
    logger.add(Call("scaled", 1, "r", "", 1, 1, fail))
    logger.add(call(2))
    logger.close()
    assert (logger.counts.failed, logger.counts.written) == (1, 1)


def test_what_a_killed_process_left_is_completed(tmp_path):
    (tmp_path / "scaled").mkdir()
    hidden = tmp_path / "scaled" / ".20260101T000000-1-1.tfrecord.gz"
    with tf.io.TFRecordWriter(str(hidden), "GZIP") as writer:
        writer.write(prediction_log_pb2.PredictionLog().SerializeToString())
    (tmp_path / "scaled" / ".20260101T000000-1-1-0.parquet").write_bytes(b"PAR1")
    logger = PredictionLogger(LogOptions(tmp_path))
    logger.start()
    logger.close()
    assert [path.name for path in (tmp_path / "scaled").iterdir()] == [hidden.name[1:]]


def test_a_unit_is_logged_always_or_never():
    keys = [f"user {number}" for number in range(2_000)]
    kept = [key for key in keys if is_sampled(key, 0.25)]
    assert 400 < len(kept) < 600
    assert set(kept) <= {key for key in keys if is_sampled(key, 0.5)}
    assert all(is_sampled(key, 1.0) for key in keys)


@pytest.mark.parametrize(
    "wrong",
    [{"sampling_rate": 0}, {"sampling_rate": 1.1}, {"rotate_mb": 0}, {"max_disk_mb": 20}],
)
def test_options_out_of_range(tmp_path, wrong):
    with pytest.raises(ConfigError):
        LogOptions(tmp_path, **wrong)
