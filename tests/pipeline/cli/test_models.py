"""``tfx-feeder models``, ``history`` and ``verify``."""

import json
import shutil
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from tests.mlmd_store import StoreWithFiles
from tfx_feeder.common.hashing import hash_files
from tfx_feeder.pipeline.cli.main import main
from tfx_feeder.schemas import model_card, training_history
from tfx_feeder.schemas.model_card import LineageEntry, ModelCardDocument

ODD = "[red]<script>"


def test_models_are_listed_with_span_metric_and_status(ask, reference):
    output = ask("models").stdout
    lines = [line for line in output.splitlines() if "accuracy 0" in line]
    assert [line.split()[0] for line in lines] == [
        str(reference.second.model),
        str(reference.first.model),
    ]
    assert "accuracy 0.7000" in lines[0]
    assert "not blessed" in lines[0]
    assert "accuracy 0.9000" in lines[1]
    assert "100 live" in lines[1]


def test_unmet_thresholds_are_listed(ask, reference):
    output = ask("models").stdout
    assert (
        f"Model {reference.second.model}: not blessed: accuracy on all examples: 0.7000; "
        "threshold: at least 0.8; baseline: 0.9000" in output
    )


def test_live_versions_are_listed(ask, reference):
    where = reference.folder / "serving"
    assert f"Live in {where}: 100, model {reference.first.model}" in ask("models").stdout


def test_scripts_get_the_list_of_models(ask_json):
    second, first = ask_json("models")
    assert first["metric"]["candidate"] == pytest.approx(0.9)
    assert first["version"]["spans"] == [1]
    assert first["version"]["live"] is True
    assert second["version"]["blessed"] is False


def test_missing_files_are_marked(ask, own_reference):
    store, first = own_reference.store, own_reference.first
    shutil.rmtree(store.path(first.model))
    shutil.rmtree(store.path(first.evaluation))
    output = ask("models", store=own_reference.folder).stdout
    assert f"{first.model} files missing" in output
    assert f"Model {first.model}: No metrics in TFRecord files are in " in output


def test_a_withdrawn_model_is_marked(ask, own_reference):
    store = own_reference.store
    store.set_property(own_reference.first.model, "withdrawn", "it was [wrong]")
    assert "100 withdrawn" in ask("models", store=own_reference.folder).stdout


def test_a_store_without_models_is_reported(ask, tmp_path):
    StoreWithFiles(tmp_path)
    assert ask("models", store=tmp_path).stdout == "The store has no model yet.\n"


def test_every_epoch_has_a_row(ask):
    output = ask("history", "latest").stdout
    rows = [
        line.split()
        for line in output.splitlines()
        if line.split()[:1] in (["1"], ["3"]) and "┤" not in line
    ]
    head = ["1", "1", "0.01", "32", "0.5000", "1.0000", "0.5000", "50", "25.0"]
    assert rows == [head, ["3", "2", "0.005", "64", "0.7000", "0.3333", "0.5000", *head[-2:]]]


def test_phases_events_and_advice_are_shown(ask):
    output = ask("history", "latest").stdout
    assert "Phase 2: due [now]. 1 epoch at 50 examples/s, input-bound" in output
    assert "At 0 examples: The weights of the base model were loaded." in output
    assert output.count("Advice: Feed from memory.") == 1


def test_curves_are_drawn_for_metrics_rate_and_batch(ask):
    output = ask("history", "latest").stdout
    for title in ("loss", "accuracy", "learning rate", "global batch size"):
        assert any(line.startswith(title) for line in output.splitlines()), title


def test_scripts_get_the_whole_record(ask_json, reference):
    answer = ask_json("history", reference.first.model)
    written = training_history.read(reference.store.path(reference.first.history))
    assert [row["metrics"] for row in answer["history"]["epochs"]] == [
        dict(row.metrics) for row in written.epochs
    ]


def test_a_history_of_a_newer_format_is_rejected_in_one_line(ask, own_reference):
    path = own_reference.store.path(own_reference.second.history) / training_history.FILE_NAME
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"version": 99}))
    done = ask("history", "latest", store=own_reference.folder, status=1)
    assert "has version 99" in done.stderr
    assert "Upgrade tfx-feeder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_missing_history_is_reported_in_one_line(ask, own_reference):
    path = own_reference.store.path(own_reference.second.history) / training_history.FILE_NAME
    path.unlink()
    done = ask("history", "latest", store=own_reference.folder, status=1)
    assert str(path) in done.stderr


def test_a_model_of_another_trainer_has_none(ask, own_reference):
    store = own_reference.store
    model = store.artifact("Model")
    store.execution(store.run("2026-01-04"), "Trainer", "COMPLETE", outputs={"model": model})
    done = ask("history", "latest", store=own_reference.folder, status=1)
    assert f"Model {model} has no training history" in done.stderr


def test_metrics_that_are_not_finite_leave_gaps(ask, own_reference):
    path = own_reference.store.path(own_reference.second.history) / training_history.FILE_NAME
    document = json.loads(path.read_text())
    for row in document["epochs"]:
        row["metrics"]["loss"] = "nan"
        row["learning_rate"] = 0.0
    path.write_text(json.dumps(document))
    output = ask("history", "latest", store=own_reference.folder).stdout
    assert " nan " in output
    assert "validation" not in output.partition("\nloss")[2].splitlines()[0]


@pytest.mark.parametrize("epochs", [0, 1])
def test_trainings_too_short_for_plots_are_shown_without_them(epochs, ask, own_reference):
    path = own_reference.store.path(own_reference.second.history) / training_history.FILE_NAME
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"epochs": document["epochs"][:epochs]}))
    assert "learning rate" not in ask("history", "latest", store=own_reference.folder).stdout


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


def test_an_unchanged_folder_is_verified(folder: Path) -> None:
    done = _verify(folder)
    assert done.exit_code == 0, done.output
    assert f"Version 7 of pipeline {ODD}, written by run r, span 3" in done.output
    assert "Reason: a person said so" in done.output
    assert "Unchanged: all 2 files are as they were pushed" in done.output


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


def test_scripts_get_the_verification_as_json(folder: Path) -> None:
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


def test_a_missing_card_and_a_newer_one_are_rejected_in_one_line(folder: Path) -> None:
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
