import json
from pathlib import Path

import pytest

from tfx_feeder.common.errors import DataError
from tfx_feeder.components.image_example_gen import rejections
from tfx_feeder.components.image_example_gen.rejections import Rejection


def test_parts_become_one_list(tmp_path: Path) -> None:
    first = Rejection("/d/ä.png", "corrupt_image", 'says "no"')
    second = Rejection("/d/x.npz", "truncated_archive", "short", index=7, records=3)
    (tmp_path / "rejected-a-0").write_text(first.to_json() + "\n", encoding="utf-8")
    (tmp_path / "rejected-b-0").write_text(second.to_json() + "\n", encoding="utf-8")
    target = tmp_path / "rejected.jsonl"
    counts = rejections.merge_rejections(str(tmp_path / "rejected-"), str(target))
    assert counts == {"truncated_archive": 3, "corrupt_image": 1}
    lines = target.read_text(encoding="utf-8").splitlines()
    assert [Rejection(**json.loads(line)) for line in lines] == [first, second]
    assert list(tmp_path.iterdir()) == [target]


def test_the_list_is_there_when_it_is_empty(tmp_path: Path) -> None:
    target = tmp_path / "rejected.jsonl"
    assert rejections.merge_rejections(str(tmp_path / "rejected-"), str(target)) == {}
    assert target.read_bytes() == b""


def test_the_limit_itself_is_tolerated() -> None:
    rejections.check({"corrupt_image": 1}, accepted=99, limit=0.01, where="list")
    with pytest.raises(DataError, match=r"2 of 100 records.*corrupt_image 2.*list$"):
        rejections.check({"corrupt_image": 2}, accepted=98, limit=0.01, where="list")


def test_a_stray_file_is_not_a_record() -> None:
    rejections.check({"not_an_image": 50}, accepted=1, limit=0.0, where="list")


def test_nothing_left_is_an_error_at_any_limit() -> None:
    with pytest.raises(DataError, match=r"No usable image.*missing_file 3"):
        rejections.check({"missing_file": 3}, accepted=0, limit=1.0, where="list")


def test_the_list_outlives_the_artifact(tmp_path: Path) -> None:
    artifact = tmp_path / "Gen" / "examples" / "7"
    artifact.mkdir(parents=True)
    (artifact / "rejected.jsonl").write_text("x\n")
    kept = rejections.preserve_list(str(artifact / "rejected.jsonl"), str(artifact))
    assert kept == str(tmp_path / "Gen" / "rejected" / "7.jsonl")
    assert Path(kept).read_text() == "x\n"
