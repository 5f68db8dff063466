"""TFRecord files are read without TensorFlow, and what is corrupt is found."""

import io
import struct
import subprocess
import sys

import pytest
import tensorflow as tf

from tfx_feeder.common.tfrecord import FRAME_BYTES, RecordError, read_records

RECORDS = [b"first", b"", b"third" * 100]


@pytest.fixture
def contents(tmp_path):
    path = str(tmp_path / "data")
    with tf.io.TFRecordWriter(path) as writer:
        for record in RECORDS:
            writer.write(record)
    return (tmp_path / "data").read_bytes()


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


def test_checksums_are_verified_unless_the_caller_says_no():
    contents = struct.pack("<QI", 4, 0) + b"some" + bytes(4)
    assert _read(contents) == [RecordError("not a TFRecord file")]
    assert _read(contents, verify_checksums=False) == [b"some"]


def test_the_reader_needs_no_tensorflow():
    program = "import sys, tfx_feeder.common.tfrecord; sys.exit('tensorflow' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", program]).returncode == 0
