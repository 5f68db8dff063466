"""Hashes cover every file, and each kind of difference is reported by name."""

import hashlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.common.errors import DataError
from tfx_feeder.common.hashing import FileDifferences, compare, hash_files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "model"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data [0]").write_bytes(b"weights" * 400_000)
    (folder / "card.json").write_bytes(b"{}")
    (folder / "assets").mkdir()
    return folder


def test_hashes_are_those_of_the_contents(folder: Path) -> None:
    assert hash_files(folder, exclude=["card.json"]) == {
        "saved_model.pb": hashlib.sha256(b"graph").hexdigest(),
        "variables/data [0]": hashlib.sha256(b"weights" * 400_000).hexdigest(),
    }


def test_only_the_folder_s_own_files_are_left_out(folder: Path) -> None:
    (folder / "assets" / "card.json").write_bytes(b"{}")
    assert "assets/card.json" in hash_files(folder, exclude=["card.json"])


def test_links_are_followed_to_files_and_broken_ones_are_missing(folder: Path) -> None:
    before = hash_files(folder)
    path = folder / "saved_model.pb"
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")
    assert hash_files(folder) == before
    (folder.parent / "elsewhere").unlink()
    assert compare(before, hash_files(folder)) == FileDifferences(missing=("saved_model.pb",))


def test_a_file_that_cannot_be_read_is_an_error(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(path: Path, *_: str) -> None:
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(DataError, match=r"card\.json cannot be read: Permission denied"):
        hash_files(folder)


def test_differences_name_the_files() -> None:
    found = compare({"a": "1", "b": "2", "c": "3"}, {"a": "1", "b": "9", "d": "4"})
    assert found == FileDifferences(changed=("b",), missing=("c",), added=("d",))
    assert str(found) == "changed: b; missing: c; added: d"


@given(st.dictionaries(st.text(), st.text()), st.dictionaries(st.text(), st.text()))
def test_there_is_a_difference_exactly_where_hashes_differ(
    before: dict[str, str], now: dict[str, str]
) -> None:
    assert bool(compare(before, now)) == (before != now)
