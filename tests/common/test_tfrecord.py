"""TFRecord files are read without TensorFlow, and what is corrupt is found."""

import gzip
import io
import struct
import subprocess
import sys
import tracemalloc

import pytest
import tensorflow as tf

from tfx_feeder.common.tfrecord import FRAME_BYTES, RecordError, _masked_crc, read_records

RECORDS = [b"first", b"", b"third" * 100]


@pytest.fixture
def contents(tmp_path):
    path = str(tmp_path / "data")
    with tf.io.TFRecordWriter(path) as writer:
        for record in RECORDS:
            writer.write(record)
    return (tmp_path / "data").read_bytes()


def _zipped(contents):
    return gzip.GzipFile(fileobj=io.BytesIO(gzip.compress(contents)))


def _read(contents, **options):
    return list(read_records(io.BytesIO(contents), **options))


def test_tensorflow_files_are_read(contents):
    assert len(contents) == sum(map(len, RECORDS)) + len(RECORDS) * FRAME_BYTES
    assert _read(contents) == _read(contents, verify_checksums=False) == RECORDS


@pytest.mark.parametrize("missing", [1, 4, 100, 518])
def test_a_truncated_file_yields_the_records_before_the_break(contents, missing):
    for verify in (True, False):
        records = _read(contents[:-missing], verify_checksums=verify)
        assert records == [*RECORDS[: len(records) - 1], RecordError("truncated file")]


@pytest.mark.parametrize("length", [1 << 31, 1 << 40, 1 << 63, (1 << 64) - 1])
def test_lengths_that_no_record_has_are_an_error(contents, length):
    header = struct.pack("<Q", length)
    header += struct.pack("<I", _masked_crc(header))
    for file in (io.BytesIO(contents + header), _zipped(contents + header)):
        assert list(read_records(file)) == [*RECORDS, RecordError("record of more than 2 GiB")]


def test_a_wrong_length_takes_no_memory(contents):
    header = struct.pack("<Q", (1 << 31) - 1)
    contents += header + struct.pack("<I", _masked_crc(header)) + b"some"
    tracemalloc.start()
    records = list(read_records(_zipped(contents)))
    used = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert records == [*RECORDS, RecordError("truncated file")]
    assert used < 200 << 20


def test_long_records_are_read_whole():
    record = b"0123456789abcdef" * (65 << 20 >> 4)
    header = struct.pack("<Q", len(record))
    file = io.BytesIO(header + bytes(4) + record + bytes(4))
    assert list(read_records(file, verify_checksums=False)) == [record]


def test_checksums_are_verified_unless_the_caller_says_no():
    contents = struct.pack("<QI", 4, 0) + b"some" + bytes(4)
    assert _read(contents) == [RecordError("not a TFRecord file")]
    assert _read(contents, verify_checksums=False) == [b"some"]


def test_the_reader_needs_no_tensorflow():
    program = "import sys, tfx_feeder.common.tfrecord; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
