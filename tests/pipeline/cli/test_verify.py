"""``tfx-feeder verify`` on folders of models that strangers have made."""

import os
import signal
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tfx_feeder.common.hashing import hash_files
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.schemas import model_card
from tfx_feeder.schemas.model_card import ModelCardDocument

HOSTILE = "a\x1b[2J\x1b]0;owned\x07\x9b31m\u202eb"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "7").mkdir()
    (tmp_path / "7" / "saved_model.pb").write_bytes(b"graph")
    return tmp_path / "7"


def _write_card(folder: Path, text: str = "p") -> None:
    files = {**hash_files(folder), **({HOSTILE: "0" * 64} if text == HOSTILE else {})}
    card = ModelCardDocument("7", text, text, "r", "2026-01-01", files, reason=text)
    model_card.write(card, folder)


def _verify(folder: Path, *options: str) -> Result:
    def stop(*_: object) -> None:
        raise AssertionError("no end after 5 s")

    previous = signal.signal(signal.SIGALRM, stop)
    signal.alarm(5)
    try:
        return CliRunner().invoke(main, ["verify", str(folder), *options])
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, previous)


@pytest.mark.parametrize("options", [(), ("--json",)])
def test_no_text_of_a_card_controls_the_terminal(folder: Path, options: tuple[str, ...]) -> None:
    _write_card(folder, HOSTILE)
    done = _verify(folder, *options)
    assert done.exit_code == 1
    assert all(line.isprintable() for line in done.output.split("\n"))
    assert "owned" in done.output


def test_a_card_that_is_no_file_is_not_read(folder: Path) -> None:
    card = folder / model_card.FILE_NAME
    os.mkfifo(card)
    assert "it is not a file" in _verify(folder).output
    card.unlink()
    card.symlink_to("/dev/null")
    assert "it is not a file" in _verify(folder).output
    card.unlink()
    with card.open("wb") as file:
        file.truncate(1 << 40)
    assert "it has 1,099,511,627,776 bytes" in _verify(folder).output


def test_links_to_folders_and_pipes_are_additions(folder: Path, tmp_path: Path) -> None:
    _write_card(folder)
    assert _verify(folder).exit_code == 0
    (folder / "assets").symlink_to(tmp_path)
    (folder / "lost").symlink_to("nowhere")
    os.mkfifo(folder / "pipe")
    done = _verify(folder)
    assert done.exit_code == 1
    rows = [line.split() for line in done.output.splitlines()]
    assert [row for row in rows if row[-1:] == ["added"]] == [
        ["assets", "added"],
        ["lost", "added"],
        ["pipe", "added"],
    ]
