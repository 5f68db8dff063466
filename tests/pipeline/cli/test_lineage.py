"""``tfx-feeder lineage``."""

import shutil

import pytest


def lines_of(text: str) -> list[str]:
    """Returns the lines of a tree without its guides."""
    return [line.strip(" │├└─") for line in text.splitlines()]


def test_a_model_is_traced_back_to_the_input_files(ask, reference):
    first = reference.first
    output = ask("lineage", first.model).stdout
    where = str(reference.store.path(first.model))
    assert lines_of(output) == [
        f"Model {first.model} by FeederTrainer in run 2026-01-01",
        where,
        "model fn: own.model.create",
        f"examples: Examples {first.transformed} by Transform",
        f"examples: Examples {first.raw} (span 1, 100 train, 50 eval) by ImageExampleGen",
        "input files: /images/span-1/*",
        f"schema: Schema {first.schema} by SchemaGen",
        "schema file: /s.pbtxt",
    ]


def test_a_model_that_it_started_from_is_named_and_not_followed(ask, reference):
    output = ask("lineage", "latest").stdout
    first = reference.first
    assert f"base_model: Model {first.model}  tfx-feeder lineage {first.model}" in output
    assert "span 1" not in output
    assert f"Schema {first.schema} by SchemaGen in run 2026-01-01" in output


def test_the_whole_chain_is_one_tree_a_model(ask, reference):
    output = ask("lineage", "latest", "--full").stdout
    first = reference.first
    assert f"base_model: Model {first.model} by FeederTrainer in run 2026-01-01 (below)" in output
    trees = [line for line in output.splitlines() if line.startswith("Model")]
    assert [line.split()[1] for line in trees] == [str(reference.second.model), str(first.model)]
    assert "span 1" in output


def test_descendants_of_an_artifact_are_shown(ask, reference):
    first, second = reference.first, reference.second
    output = lines_of(ask("lineage", first.model, "--down").stdout)
    assert output[2:7] == [
        "Evaluator, as model",
        f"blessing: ModelBlessing {first.blessing} (blessed)",
        "Pusher, as model_blessing",
        f"pushed_model: PushedModel {first.pushed} (version 100)",
        f"evaluation: ModelEvaluation {first.evaluation}",
    ]
    assert "Pusher, as model (above)" in output
    assert "FeederTrainer in run 2026-01-02, as base_model" in output
    assert f"model: Model {second.model}  tfx-feeder lineage {second.model} --down" in output


def test_failed_executions_are_shown_and_cached_ones_are_not(ask, own_reference):
    store, first = own_reference.store, own_reference.first
    run = store.run("2026-01-04")
    store.execution(run, "Transform", "CACHED", {"examples": first.raw}, {"x": first.transformed})
    store.execution(run, "Evaluator", "FAILED", {"examples": first.raw})
    output = ask("lineage", first.raw, "--down", store=own_reference.folder).stdout
    assert "Evaluator in run 2026-01-04, as examples: failed" in output
    assert "Transform in run 2026-01-04" not in output


def test_a_node_that_reads_its_earlier_output_makes_no_endless_branch(ask, own_reference):
    store, cache = own_reference.store, None
    for number in range(4, 8):
        made = store.artifact("TransformCache")
        inputs = {} if cache is None else {"analyzer_cache": cache}
        outputs = {"updated_analyzer_cache": made}
        store.execution(store.run(f"2026-02-{number}"), "Transform", "COMPLETE", inputs, outputs)
        cache = made
    folder = own_reference.folder
    output = ask("lineage", cache, store=folder).stdout
    assert f"analyzer_cache: TransformCache {cache - 1}  tfx-feeder lineage {cache - 1}" in output
    output = ask("lineage", cache, "--full", store=folder).stdout
    assert max(len(line) - len(line.lstrip(" │├└─")) for line in output.splitlines()) < 9
    assert output.count("(below)") == 3


def test_files_that_are_gone_are_marked(ask, own_reference):
    shutil.rmtree(own_reference.store.path(own_reference.first.raw))
    output = ask("lineage", own_reference.first.model, store=own_reference.folder).stdout
    assert "(span 1, 100 train, 50 eval) files missing by ImageExampleGen" in output


@pytest.mark.parametrize("name", ["transformed", "uri", "version"])
def test_artifacts_are_named_by_id_uri_or_version(name, ask_json, reference):
    first = reference.first
    text = {
        "transformed": first.transformed,
        "uri": f"{reference.store.path(first.model)}/",
        "version": "100",
    }[name]
    found = ask_json("lineage", text)["artifact"]["id"]
    assert found == (first.transformed if name == "transformed" else first.model)


def test_scripts_get_every_artifact_and_execution(ask_json, reference):
    first = reference.first
    answer = ask_json("lineage", first.model)
    assert set(answer["items"]) == {
        str(each)
        for each in (first.model, first.history, first.raw, first.transformed, first.schema)
    }
    maker = answer["steps"][str(answer["makers"][str(first.model)])]
    assert maker["inputs"] == {"examples": [first.transformed]}


def test_an_unknown_name_is_rejected_in_one_line(ask):
    done = ask("lineage", "nowhere", status=2)
    assert done.stderr.startswith("Error: model: expected one of ")
    assert len(done.stderr.splitlines()) == 1
