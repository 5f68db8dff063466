"""Atomic writes of files."""

import pytest

from tfx_feeder.common.files import atomic_write


@pytest.mark.parametrize("sync", [False, True])
@pytest.mark.parametrize(("content", "read"), [("häh", "häh".encode()), (b"\x00", b"\x00")])
def test_file_is_replaced_and_nothing_is_left_beside_it(tmp_path, content, read, sync):
    path = tmp_path / "a.json"
    path.write_text("before")
    atomic_write(path, content, sync=sync)
    assert path.read_bytes() == read
    assert list(tmp_path.iterdir()) == [path]


def test_failed_write_keeps_the_old_content(tmp_path):
    path = tmp_path / "a.json"
    path.write_text("before")
    with pytest.raises(UnicodeEncodeError):
        atomic_write(path, "\ud800")
    assert (path.read_text(), list(tmp_path.iterdir())) == ("before", [path])
