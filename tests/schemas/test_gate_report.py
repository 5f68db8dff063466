"""Gate reports as they are stored."""

import json
from pathlib import Path

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas import gate_report
from tfx_feeder.schemas.gate_report import GateLine, GateReport

LINE = GateLine(
    "form 3", "accuracy", "margin", "no worse", "refused", True, "accuracy on form 3: ...", 3_000,
    0.9, 0.92, -0.02, -0.03, -0.01, 1e-5, 5e-4, "McNemar mid-p",
)  # fmt: skip
EMPTY = GateLine(
    "form 1", "loss", "floor", "at most 0.5", "refused", True, "...", None, float("nan")
)
REPORT = GateReport(
    False, "accuracy on form 3: ...", "compared", (LINE, EMPTY), "holm", 0.05, 7, {"floors": []}
)


def test_reports_are_read_as_they_were_written(tmp_path: Path) -> None:
    gate_report.write(REPORT, tmp_path)
    found = gate_report.read(tmp_path)
    assert repr(found) == repr(REPORT)
    assert found.deciding == found.lines
    assert found.count("refused") == 2


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"version": 2}, "version 2"),
        ({"baseline": "lost"}, "unknown baseline 'lost'"),
        ({"blessed": "yes"}, "blessed is of type str"),
        ({"lines": [{"slice": 3}]}, "damaged"),
    ],
)
def test_damaged_reports(tmp_path: Path, change: dict, message: str) -> None:
    path = gate_report.write(REPORT, tmp_path)
    path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    with pytest.raises(DataError, match=message):
        gate_report.read(tmp_path)
