"""What a user learns of a model's folder."""

import json
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tfx_feeder.components.model_card.hashing import hash_files
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.schemas import model_card
from tfx_feeder.schemas.model_card import LineageEntry, ModelCardDocument

ODD = "[red]<script>"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "7"
    (folder / "variables").mkdir(parents=True)
    (folder / "saved_model.pb").write_bytes(b"graph")
    (folder / "variables" / "data").write_bytes(b"weights")
    card = ModelCardDocument(
        pushed_version="7",
        destination="/elsewhere/7",
        pipeline=ODD,
        run_id="r",
        created_at="2026-01-01T00:00:00+00:00",
        files=hash_files(folder),
        lineage=(LineageEntry("examples", 1, "Examples", "/examples/1", span=3),),
        reason="a person said so",
    )
    model_card.write(card, folder)
    return folder


def _verify(folder: Path, *options: str) -> Result:
    return CliRunner().invoke(main, ["verify", str(folder), *options])


def test_a_whole_folder_says_where_it_comes_from(folder: Path) -> None:
    done = _verify(folder)
    assert done.exit_code == 0, done.output
    assert f"Version 7 of pipeline {ODD}, written by run r, span 3" in done.output
    assert "Reason: a person said so" in done.output
    assert "Whole: 2 files are as they were pushed" in done.output


def test_every_difference_is_named(folder: Path) -> None:
    (folder / "saved_model.pb").write_bytes(b"other")
    (folder / "variables" / "data").unlink()
    (folder / ODD).write_bytes(b"")
    done = _verify(folder)
    assert done.exit_code == 1
    rows = [line.split() for line in done.output.splitlines()]
    assert ["saved_model.pb", "changed"] in rows
    assert ["variables/data", "missing"] in rows
    assert [ODD, "added"] in rows


def test_scripts_get_json(folder: Path) -> None:
    assert json.loads(_verify(folder, "--json").output)["whole"] is True
    (folder / "saved_model.pb").unlink()
    done = _verify(folder, "--json")
    assert done.exit_code == 1
    assert json.loads(done.output)["differences"]["missing"] == ["saved_model.pb"]


def test_a_card_that_points_out_of_its_folder_opens_nothing(folder: Path) -> None:
    path = folder / model_card.FILE_NAME
    path.write_text(path.read_text().replace("saved_model.pb", "../../secret"))
    done = _verify(folder)
    assert done.exit_code == 1
    assert "../../secret" in done.output


def test_no_card_and_a_newer_one_are_said_in_one_line(folder: Path) -> None:
    path = folder / model_card.FILE_NAME
    path.write_text(path.read_text().replace('"version": 1', '"version": 99'))
    done = _verify(folder)
    assert done.exit_code == 1
    assert "has version 99; this release reads 1. Upgrade tfx-feeder." in done.output
    path.unlink()
    done = _verify(folder)
    assert done.exit_code == 1
    assert done.output.startswith("Error: No model card can be read from")


def test_a_folder_that_is_not_there_is_a_usage_error(tmp_path: Path) -> None:
    assert _verify(tmp_path / "nowhere").exit_code == 2
