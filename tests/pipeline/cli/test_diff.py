"""``tfx-feeder diff``."""

import json
import math

import pytest

from tfx_feeder.pipeline.cli.diff import compare
from tfx_feeder.pipeline.metadata.facts import Facts, flatten

SCHEMA = 'feature {{ name: "{name}" type: INT }}'


@pytest.fixture
def differ(ask_json):
    """Returns a function that calls ``diff`` and returns both values by section and name."""

    def call(*arguments: object, store=None) -> dict[tuple[str, str], tuple]:
        rows = ask_json("diff", *arguments, store=store)["rows"]
        return {(row["section"], row["name"]): (row["first"], row["second"]) for row in rows}

    return call


def test_models_differ_in_data_code_outcome_and_metrics(differ, reference):
    rows = differ(reference.first.model, reference.second.model)
    assert rows["outcome", "blessed"] == (True, False)
    assert rows["outcome", "pushed version"] == ("100", None)
    assert rows["outcome", "compared with"] == (None, f"model {reference.first.model}")
    assert rows["training", "base model"] == (None, f"model {reference.first.model}")
    assert rows["code", "FeederTrainer.code_fingerprint"] == (
        "code of 2026-01-01",
        "code of 2026-01-02",
    )
    assert rows["properties", "ImageExampleGen.input_config.splits[0].pattern"] == (
        "span-1/*",
        "span-2/*",
    )
    assert rows["metrics", "accuracy on all examples"] == (0.9, 0.7)


def test_equal_values_are_shown_on_request_only(differ, reference):
    arguments = (reference.first.model, reference.second.model)
    name = ("code", "FeederTrainer.model_fn")
    assert name not in differ(*arguments)
    assert differ(*arguments, "--all")[name] == ("own.model.create", "own.model.create")


def test_a_run_that_failed_is_compared_as_far_as_it_got(differ):
    rows = differ("previous", "latest")
    assert rows["outcome", "state"] == ("complete", "failed")
    assert rows["metrics", "accuracy on all examples"] == (0.7, None)


def test_models_are_named_as_elsewhere(differ):
    assert differ("100", "live") == differ("blessed", "live") == {}


def test_no_differences_are_reported(ask):
    assert "No differences between" in ask("diff", "latest", "latest").stdout


def test_missing_files_are_a_note(ask, own_reference):
    own_reference.store.path(own_reference.second.evaluation).rename(own_reference.folder / "away")
    output = ask("diff", "100", own_reference.second.model, store=own_reference.folder).stdout
    assert f"The files of ModelEvaluation {own_reference.second.evaluation} are missing." in output
    assert "code_fingerprint" in output


def test_history_of_a_newer_format_is_a_note(ask, own_reference):
    path = own_reference.store.path(own_reference.second.history) / "history.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"version": 99}))
    output = ask("diff", "100", own_reference.second.model, store=own_reference.folder).stdout
    assert "has version 99" in output


def test_commits_of_the_code_are_compared(differ, own_reference):
    store = own_reference.store
    store.set_property(own_reference.first.history, "git_commit", "abc")
    path = store.path(own_reference.second.history) / "history.json"
    environment = {"git_commit": "def", "git_dirty": "yes"}
    path.write_text(json.dumps(json.loads(path.read_text()) | {"environment": environment}))
    rows = differ("100", own_reference.second.model, store=own_reference.folder)
    assert rows["code", "git_commit"] == ("abc", "def")
    assert rows["code", "git_dirty"] == (None, "yes")


def test_schemas_are_compared_feature_by_feature(differ, own_reference):
    store, folder = own_reference.store, own_reference.folder
    path = store.path(own_reference.first.schema) / "schema.pbtxt"
    path.write_text(SCHEMA.format(name="old"))
    run, other = store.run("2026-01-04"), store.artifact("Schema")
    (store.path(other) / "schema.pbtxt").write_text(SCHEMA.format(name="new [b]"))
    store.execution(run, "SchemaGen", "COMPLETE", outputs={"schema": other})
    rows = differ("2026-01-01", "2026-01-04", store=folder)
    assert rows["schema", "feature old"] == ("type: INT", None)
    assert rows["schema", "feature new [b]"] == (None, "type: INT")
    assert ("schema", "hash") in rows


def test_fingerprints_of_inputs_and_sizes_of_splits_are_compared(differ, own_reference):
    store, folder = own_reference.store, own_reference.folder
    for name, size in (("2026-02-01", 10), ("2026-02-02", 20)):
        examples = store.artifact(
            "Examples",
            num_examples_train=size,
            input_fingerprint=f"split:day,num_files:1,total_bytes:{size}\nsplit:night,num_files:2",
        )
        store.execution(store.run(name), "Gen", "COMPLETE", outputs={"examples": examples})
    rows = differ("2026-02-01", "2026-02-02", store=folder)
    assert rows["data", "examples in train"] == (10, 20)
    assert rows["data", "input day: total bytes"] == ("10", "20")
    assert ("data", "input night: num files") not in rows


def test_schedules_are_shown_in_the_notation_of_the_command_line(differ, own_reference):
    store, folder = own_reference.store, own_reference.folder
    phase = {"learning_rate": 0.01, "batch_size": 32, "length": "3ep"}
    ours = json.dumps({"phases": [phase], "steps_per_epoch": None})
    for name, schedule in (("2026-02-01", ours), ("2026-02-02", "of another trainer")):
        store.execution(
            store.run(name),
            "FeederTrainer",
            "COMPLETE",
            properties={
                "schedule": schedule if isinstance(schedule, str) else json.dumps(schedule)
            },
        )
    rows = differ("2026-02-01", "2026-02-02", store=folder)
    assert rows["schedule", "FeederTrainer"] == ("0.01:32x3ep", "of another trainer")


def test_unknown_names_are_rejected_with_the_available_ones(ask):
    assert "2026-01-01" in ask("diff", "latest", "never", status=2).output
    assert "model: expected" in ask("diff", "latest", "4711", status=2).output


def test_nested_settings_become_paths():
    text = json.dumps({"splits": [{"name": "a", "empty": None}], "config": '{"seed": 1}'})
    assert dict(flatten(text, "node")) == {"node.splits[0].name": "a", "node.config.seed": 1}
    assert dict(flatten("[no JSON", "node")) == {"node": "[no JSON"}


def test_a_metric_that_is_no_number_does_not_differ_from_itself():
    facts = Facts("model 1", {("metrics", "loss"): math.nan})
    assert compare(facts, facts).rows == ()
