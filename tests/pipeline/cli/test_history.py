"""``tfx-feeder history``."""

import json

import pytest

from tfx_feeder.schemas import training_history


def test_every_epoch_has_a_row_with_what_was_in_force(ask):
    told = ask("history", "latest").stdout
    rows = [
        line.split()
        for line in told.splitlines()
        if line.split()[:1] in (["1"], ["3"]) and "┤" not in line
    ]
    head = ["1", "1", "0.01", "32", "0.5000", "1.0000", "0.5000", "50", "25.0"]
    assert rows == [head, ["3", "2", "0.005", "64", "0.7000", "0.3333", "0.5000", *head[-2:]]]


def test_phases_events_and_advice_are_told(ask):
    told = ask("history", "latest").stdout
    assert "Phase 2: due [now]. 1 epoch at 50 examples/s, input-bound" in told
    assert "At 0 examples: The weights of the base model were loaded." in told
    assert told.count("Advice: Feed from memory.") == 1


def test_curves_are_drawn_for_metrics_rate_and_batch(ask):
    told = ask("history", "latest").stdout
    for title in ("loss", "accuracy", "learning rate", "global batch size"):
        assert any(line.startswith(title) for line in told.splitlines()), title


def test_scripts_get_the_whole_record(ask_json, reference):
    answer = ask_json("history", reference.first.model)
    written = training_history.read(reference.store.path(reference.first.history))
    assert [row["metrics"] for row in answer["history"]["epochs"]] == [
        dict(row.metrics) for row in written.epochs
    ]


def test_a_history_of_a_newer_format_is_refused_in_one_line(ask, own_reference):
    path = own_reference.store.path(own_reference.second.history) / training_history.FILE_NAME
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"version": 99}))
    done = ask("history", "latest", store=own_reference.folder, status=1)
    assert "has version 99" in done.stderr
    assert "Upgrade tfx-feeder" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_a_history_that_is_gone_is_told_in_one_line(ask, own_reference):
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
    told = ask("history", "latest", store=own_reference.folder).stdout
    assert " nan " in told
    assert "validation" not in told.partition("\nloss")[2].splitlines()[0]


@pytest.mark.parametrize("epochs", [0, 1])
def test_trainings_too_short_for_curves_are_told_without(epochs, ask, own_reference):
    path = own_reference.store.path(own_reference.second.history) / training_history.FILE_NAME
    document = json.loads(path.read_text())
    path.write_text(json.dumps(document | {"epochs": document["epochs"][:epochs]}))
    assert "learning rate" not in ask("history", "latest", store=own_reference.folder).stdout
