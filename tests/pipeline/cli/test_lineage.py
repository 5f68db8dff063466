"""``tfx-feeder lineage``."""

import shutil

import pytest


def lines_of(text: str) -> list[str]:
    """Returns the lines of a tree without its guides."""
    return [line.strip(" │├└─") for line in text.splitlines()]


def test_a_model_is_traced_back_to_the_input_files(ask, reference):
    first = reference.first
    told = ask("lineage", first.model).stdout
    where = str(reference.store.path(first.model))
    assert lines_of(told) == [
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
    told = ask("lineage", "latest").stdout
    first = reference.first
    assert f"base_model: Model {first.model}  tfx-feeder lineage {first.model}" in told
    assert "span 1" not in told
    assert f"Schema {first.schema} by SchemaGen in run 2026-01-01" in told


def test_the_whole_chain_is_one_tree_a_model(ask, reference):
    told = ask("lineage", "latest", "--full").stdout
    first = reference.first
    assert f"base_model: Model {first.model} by FeederTrainer in run 2026-01-01 (below)" in told
    trees = [line for line in told.splitlines() if line.startswith("Model")]
    assert [line.split()[1] for line in trees] == [str(reference.second.model), str(first.model)]
    assert "span 1" in told


def test_what_was_made_out_of_an_artifact_is_told_downwards(ask, reference):
    first, second = reference.first, reference.second
    told = lines_of(ask("lineage", first.model, "--down").stdout)
    assert told[2:7] == [
        "Evaluator, as model",
        f"blessing: ModelBlessing {first.blessing} (blessed)",
        "Pusher, as model_blessing",
        f"pushed_model: PushedModel {first.pushed} (version 100)",
        f"evaluation: ModelEvaluation {first.evaluation}",
    ]
    assert "Pusher, as model (above)" in told
    assert "FeederTrainer in run 2026-01-02, as base_model" in told
    assert f"model: Model {second.model}  tfx-feeder lineage {second.model} --down" in told


def test_executions_that_failed_are_told_and_those_from_the_cache_are_not(ask, own_reference):
    store, first = own_reference.store, own_reference.first
    run = store.run("2026-01-04")
    store.execution(run, "Transform", "CACHED", {"examples": first.raw}, {"x": first.transformed})
    store.execution(run, "Evaluator", "FAILED", {"examples": first.raw})
    told = ask("lineage", first.raw, "--down", store=own_reference.folder).stdout
    assert "Evaluator in run 2026-01-04, as examples: failed" in told
    assert "Transform in run 2026-01-04" not in told


def test_a_node_that_reads_what_it_made_before_makes_no_endless_branch(ask, own_reference):
    store, cache = own_reference.store, None
    for number in range(4, 8):
        made = store.artifact("TransformCache")
        inputs = {} if cache is None else {"analyzer_cache": cache}
        outputs = {"updated_analyzer_cache": made}
        store.execution(store.run(f"2026-02-{number}"), "Transform", "COMPLETE", inputs, outputs)
        cache = made
    folder = own_reference.folder
    told = ask("lineage", cache, store=folder).stdout
    assert f"analyzer_cache: TransformCache {cache - 1}  tfx-feeder lineage {cache - 1}" in told
    told = ask("lineage", cache, "--full", store=folder).stdout
    assert max(len(line) - len(line.lstrip(" │├└─")) for line in told.splitlines()) < 9
    assert told.count("(below)") == 3


def test_files_that_are_gone_are_marked(ask, own_reference):
    shutil.rmtree(own_reference.store.path(own_reference.first.raw))
    told = ask("lineage", own_reference.first.model, store=own_reference.folder).stdout
    assert "(span 1, 100 train, 50 eval) files gone by ImageExampleGen" in told


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


def test_what_is_not_there_is_refused_in_one_line(ask):
    done = ask("lineage", "nowhere", status=1)
    assert done.stderr.startswith("Error: model: expected one of ")
    assert len(done.stderr.splitlines()) == 1
