"""Outputs onto whatever the path is."""

import os
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.output import write_output


def test_a_file_is_made_with_its_folder_or_replaced(tmp_path: Path) -> None:
    path = tmp_path / "new" / "page.html"
    assert write_output(path, "ü") == 2
    assert write_output(path, b"other") == 5
    assert path.read_bytes() == b"other"
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("exists", [True, False])
def test_a_link_stays_and_its_target_is_written(tmp_path: Path, exists: bool) -> None:
    target = tmp_path / "target"
    if exists:
        target.write_text("old")
    (tmp_path / "link").symlink_to("target")
    write_output(tmp_path / "link", "new")
    assert (tmp_path / "link").is_symlink()
    assert target.read_text() == "new"


def test_a_fifo_is_written_to(tmp_path: Path) -> None:
    path = tmp_path / "fifo"
    os.mkfifo(path)
    with pytest.raises(ConfigError, match="output: expected a writable file"):
        write_output(path, "nobody reads")
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    write_output(path, "page")
    assert os.read(descriptor, 100) == b"page"
    os.close(descriptor)
    assert stat.S_ISFIFO(path.lstat().st_mode)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes device nodes")
@pytest.mark.parametrize(("minor", "full"), [(3, False), (7, True)])
def test_a_device_is_never_replaced(tmp_path: Path, minor: int, full: bool) -> None:
    path = tmp_path / "device"
    try:
        os.mknod(path, 0o666 | stat.S_IFCHR, os.makedev(1, minor))
        path.open("rb").close()
    except OSError:
        pytest.skip("device nodes do not work in this file system")
    if full:
        with pytest.raises(ConfigError, match="No space left"):
            write_output(path, "x")
    else:
        assert write_output(path, "x") == 1
    assert stat.S_ISCHR(path.lstat().st_mode)


def test_standard_output_is_written_to(tmp_path: Path) -> None:
    code = (
        "from pathlib import Path\n"
        "from tfx_feeder.common.output import write_output\n"
        "print(write_output(Path('/dev/stdout'), 'page'))"
    )
    with (tmp_path / "out").open("wb") as file:
        subprocess.run([sys.executable, "-c", code], check=True, stdout=file)
    assert (tmp_path / "out").read_text() == "page4\n"
    done = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True)
    assert done.stdout == "page4\n"


def test_a_folder_and_a_file_in_place_of_a_folder_are_refused(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    for path in (tmp_path, tmp_path / "file" / "page.html", tmp_path / ("x" * 300)):
        with pytest.raises(ConfigError, match="--output"):
            write_output(path, "x")
