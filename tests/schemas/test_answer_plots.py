"""Plots of a classifier, read from the messages that TFMA writes."""

import base64
import json
import struct

import pytest

from tfx_feeder.schemas import tfma
from tfx_feeder.schemas.answer_plots import (
    CONFUSION,
    LOST,
    RELIABILITY,
    ReliabilityBin,
    calibration_error,
    read_plots,
)

PNG = base64.b64encode(b"\x89PNG\r\n\x1a\n and pixels").decode()


@pytest.fixture
def folder(tmp_path):
    """An evaluation with plots over all examples, and the differences that TFMA adds."""
    message = tfma.parse("MetricsForSlice", b"", tmp_path)

    def add(name, model, **values):
        pair = message.metric_keys_and_values.add()
        pair.key.name, pair.key.model_name = name, model
        array = pair.value.array_value
        for field, numbers in values.items():
            getattr(array, field).extend(numbers)
        return pair

    add(CONFUSION, "candidate", shape=[2, 2], int64_values=[5, 1, 0, 4])
    add(CONFUSION, "candidate", shape=[2, 2], int64_values=[-1] * 4).key.is_diff = True
    add(RELIABILITY, "candidate", shape=[2, 3], float64_values=[0, 0, 0, 10, 8, 9])
    add(RELIABILITY, "baseline", shape=[2, 3], float64_values=[4, 1, 2, 6, 6, 3])
    records = [
        {"label": 1, "candidate": 0, "baseline": 1, "image": PNG},
        {"label": 1, "candidate": 0, "baseline": 1, "image": base64.b64encode(b"<svg").decode()},
        {"label": 1, "candidate": 0, "baseline": 1, "image": '"><script>'},
    ]
    texts = [json.dumps(record).encode() for record in records]
    add(LOST, "candidate", shape=[4], bytes_values=[*texts, b"damaged"])
    record = message.SerializeToString()
    framed = struct.pack("<QI", len(record), 0) + record + struct.pack("<I", 0)
    (tmp_path / "metrics-00000-of-00001.tfrecord").write_bytes(framed)
    return tmp_path


def test_plots_are_those_of_the_candidate_and_not_the_differences(folder):
    plots = read_plots(folder)
    assert plots.confusion == ((5, 1), (0, 4))
    assert plots.reliability == (ReliabilityBin(10, 0.8, 0.9),)
    assert plots.baseline_reliability == (ReliabilityBin(4, 0.25, 0.5), ReliabilityBin(6, 1.0, 0.5))
    assert plots.won == ()


def test_only_png_files_are_shown(folder):
    [first, second] = read_plots(folder).lost
    assert (first.label, first.candidate, first.baseline, first.image) == (1, 0, 1, PNG)
    assert second.image == ""


def test_calibration_error_is_weighted_by_examples(folder):
    plots = read_plots(folder)
    assert calibration_error(plots.reliability) == pytest.approx(0.1)
    assert calibration_error(plots.baseline_reliability) == pytest.approx((4 * 0.25 + 6 * 0.5) / 10)
    assert calibration_error(()) == 0
