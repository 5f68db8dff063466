"""The list of evaluation slices: exact, versioned, strict JSON."""

import json
import math
from pathlib import Path

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.schemas.evaluation import from_protos
from tfx_feeder.schemas.slices import (
    FILE_NAME,
    Evidence,
    Remark,
    SearchSummary,
    Slice,
    Slices,
    read,
    slice_name,
    write,
)
from tfx_feeder.schemas.tfma import parse

EVIDENCE = Evidence("error rate", 0.2, 0.1, math.inf, 1e-9, "Bonferroni", 0.3, 0.1, 40)
SLICES = Slices(
    slices=(
        Slice("split eval", (("split", "eval"),), "split", 300),
        Slice("größe [0.2, 0.4)", (("größe", "[0.2, 0.4)"),), "declared", 100),
        Slice("a 1, b 2", (("a", "1"), ("b", "2")), "proposed", 50, EVIDENCE),
        Slice("c 1", (("c", "1"),), "drift", 9, Evidence("auc", None, None, None, 0.01, "none")),
    ),
    examples={"eval": 300, "drift": 40},
    search=SearchSummary("/model", "error rate", math.nan, 240, 60, (3, 4, 5), 50, 0.01, 0.05),
    remarks=(Remark("user_id", "too many values", 1_000_000),),
)


def test_round_trip_is_exact(tmp_path: Path) -> None:
    path = write(SLICES, tmp_path / "new")
    assert path == tmp_path / "new" / FILE_NAME
    stored = read(path.parent)
    assert stored.slices == SLICES.slices
    assert repr(stored) == repr(SLICES)
    assert read(write(Slices((), {}), tmp_path).parent) == Slices((), {})


def test_slices_are_found_by_name_and_origin() -> None:
    assert SLICES.find("c 1") == SLICES.slices[3]
    assert SLICES.find("c 2") is None
    assert SLICES.of_origin("declared") == SLICES.slices[1:2]
    assert str(SLICES.remarks[0]) == "user_id: too many values (1,000,000)"


def test_a_conjunction_is_named_as_the_slice_of_a_slicing_spec() -> None:
    message = parse("MetricsForSlice", b"", Path("here"))
    # TensorFlow Model Analysis sorts the columns of a slice.
    for column, value in (("digit", 5), ("form", 3)):
        message.slice_key.single_slice_keys.add(column=column, int64_value=value)
    pair = message.metric_keys_and_values.add()
    pair.value.double_value.value = 0.5
    (row,) = from_protos([message], None).rows
    assert slice_name([("form", "3"), ("digit", "5")]) == row.slice == "digit 5, form 3"


@pytest.mark.parametrize(
    "damage",
    [
        {"version": 2},
        {"slices": [{"name": "a"}]},
        {"slices": None},
        {"examples": {"eval": "many"}},
        {"remarks": [{"subject": 1, "reason": "", "count": 0}]},
        {"search": {}},
    ],
)
def test_a_damaged_file_is_refused(tmp_path: Path, damage: dict) -> None:
    path = write(SLICES, tmp_path)
    path.write_text(json.dumps(json.loads(path.read_text()) | damage))
    with pytest.raises(DataError, match=FILE_NAME):
        read(tmp_path)


def test_an_unknown_origin_is_refused(tmp_path: Path) -> None:
    write(Slices((Slice("a 1", (("a", "1"),), "guessed", 1),), {}), tmp_path)
    with pytest.raises(DataError, match="guessed"):
        read(tmp_path)
