"""``tfx-feeder artifacts``."""

import shutil

from tests.mlmd_store import StoreWithFiles


def test_types_are_counted(ask, ask_json, reference):
    rows = {row["type_name"]: row for row in ask_json("artifacts")}
    assert rows["Model"]["count"] == 2
    assert rows["Model"]["newest_id"] == reference.second.model
    assert "tfx_feeder.TrainingHistory" in ask("artifacts").stdout


def test_artifacts_of_a_type_are_listed_newest_first(ask, ask_json, reference):
    items = ask_json("artifacts", "PushedModel")
    first, second = reference.first.pushed, reference.second.pushed
    assert [(item["id"], item["facts"]) for item in items] == [
        (second, ["not pushed"]),
        (first, ["version 100"]),
    ]
    output = ask("artifacts", "PushedModel", "-n", 1).stdout
    assert "The newest 1 of 2 artifacts" in output
    assert "version 100" not in output


def test_artifacts_of_a_run_include_cached_ones(ask_json, reference):
    ids = {item["id"] for item in ask_json("artifacts", "--run", "2026-01-02")}
    assert {reference.second.model, reference.first.schema} < ids
    assert reference.first.model not in ids
    models = ask_json("artifacts", "Model", "--run", "2026-01-02")
    assert [item["id"] for item in models] == [reference.second.model]


def test_a_run_without_artifacts_of_a_type_says_so(ask):
    output = ask("artifacts", "Model", "--run", "latest").stdout
    assert output == "Artifacts of type Model of run 2026-01-03: none.\n"


def test_one_artifact_is_shown_with_producer_consumers_and_properties(ask, reference):
    first = reference.first
    output = ask("artifacts", first.raw).stdout
    assert f"Examples {first.raw}  {reference.store.path(first.raw)}" in output
    assert "By ImageExampleGen as examples, run 2026-01-01" in output
    assert "Read by Transform as examples, run 2026-01-01: complete" in output
    assert any(line.split() == ["num_examples_train", "100"] for line in output.splitlines())


def test_missing_files_and_states_are_marked(ask, own_reference):
    shutil.rmtree(own_reference.store.path(own_reference.first.raw))
    output = ask("artifacts", "Examples", store=own_reference.folder).stdout
    assert output.count("files missing") == 1


def test_text_of_the_store_is_not_taken_for_markup(ask, own_reference):
    odd = "[bold]<script>alert(1)</script>/../[/nope]"
    model = own_reference.store.artifact("Model", note=odd)
    assert odd in ask("artifacts", model, store=own_reference.folder).stdout


def test_an_unknown_name_is_rejected_in_one_line(ask):
    done = ask("artifacts", "Nothing", status=2)
    assert done.stderr.startswith("Error: artifact: expected the id or URI")


def test_an_empty_store_says_so(ask, tmp_path):
    StoreWithFiles(tmp_path)
    assert ask("artifacts", store=tmp_path).stdout == "The store has no artifact yet.\n"
