"""Damage of an artifact's files: what is found by size, what by content, and what is normal."""

from types import SimpleNamespace

import pytest

from tfx_feeder.schemas import file_record
from tfx_feeder.schemas.file_record import PROPERTY, FileRecord, damage, seal


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "7"
    (folder / "Format-Serving" / "variables").mkdir(parents=True)
    (folder / "Format-Serving" / "saved_model.pb").write_bytes(b"graph")
    (folder / "Format-Serving" / "variables" / "variables.index").write_bytes(b"index")
    (folder / "Format-Serving" / "empty_asset").write_bytes(b"")
    return folder


def _artifact(uri):
    properties = {}
    artifact = SimpleNamespace(uri=str(uri), set_string_custom_property=properties.__setitem__)
    return artifact, properties


def _recorded(folder):
    artifact, properties = _artifact(folder)
    seal({"model": [artifact]})
    return properties[PROPERTY]


def test_sealed_output_is_intact(model):
    recorded = _recorded(model)
    assert FileRecord.parse(recorded) == FileRecord.of(model)
    assert damage(model, recorded, contents=True) == ""


@pytest.mark.parametrize(
    ("name", "content", "by_size", "words"),
    [
        ("saved_model.pb", b"", True, "saved_model.pb is empty"),
        ("saved_model.pb", b"gra", True, "instead of 3 with 10 bytes"),
        ("saved_model.pb", None, True, "there are 2 files with 5 bytes"),
        ("saved_model.pb", b"grapH", False, "the contents are not those that were written"),
        ("more", b"", True, "there are 4 files"),
    ],
)
def test_changes_are_found(model, name, content, by_size, words):
    recorded, file = _recorded(model), model / "Format-Serving" / name
    if content is None:
        file.unlink()
    else:
        file.write_bytes(content)
    assert words in damage(model, recorded, contents=True)
    assert (words in damage(model, recorded)) is by_size


def test_renamed_file_is_found_by_content(model):
    recorded = _recorded(model)
    (model / "Format-Serving" / "empty_asset").rename(model / "Format-Serving" / "moved")
    assert damage(model, recorded) == ""
    assert damage(model, recorded, contents=True)


@pytest.mark.parametrize("recorded", ["", "of another release"])
def test_without_a_record_only_files_that_are_never_empty_count(model, recorded):
    assert damage(model, recorded, contents=True) == ""
    (model / "Format-Serving" / "variables" / "variables.index").write_bytes(b"")
    assert damage(model, recorded).endswith("variables.index is empty")


@pytest.mark.parametrize("name", ["BLESSED", "plots-00000-of-00001.tfrecord", "rejected.jsonl"])
def test_files_that_stock_components_leave_empty_are_no_damage(tmp_path, name):
    (tmp_path / name).write_bytes(b"")
    assert damage(tmp_path, "") == ""


def test_missing_folder_is_damage(tmp_path):
    assert damage(tmp_path / "missing", "") == "the files are missing"


def test_outputs_elsewhere_or_without_files_are_not_recorded(tmp_path):
    remote, of_remote = _artifact("s3://bucket/model/7")
    missing, of_missing = _artifact(tmp_path / "missing")
    seal({"model": [remote, missing]})
    assert (of_remote, of_missing) == ({}, {})


def test_very_large_outputs_are_compared_by_size(model, monkeypatch):
    monkeypatch.setattr(file_record, "_MAX_HASHED_BYTES", 9)
    recorded = _recorded(model)
    assert recorded == "3 files, 10 bytes"
    (model / "Format-Serving" / "saved_model.pb").write_bytes(b"grapH")
    assert damage(model, recorded, contents=True) == ""
    (model / "Format-Serving" / "saved_model.pb").write_bytes(b"gra")
    assert damage(model, recorded)
