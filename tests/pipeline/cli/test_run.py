"""``tfx-feeder run``."""

from pathlib import Path


def test_components_are_told_with_what_they_made(ask, reference):
    told = ask("run", "2026-01-01").stdout
    assert "Run 2026-01-01 of pipeline p" in told
    [line] = [line for line in told.splitlines() if "ImageExampleGen" in line]
    assert f"Examples {reference.first.raw} (span 1, 100 train, 50 eval)" in line
    assert f"Model {reference.first.model}: blessed, pushed as 100, live" in told


def test_errors_and_states_are_told_as_they_are(ask):
    told = ask("run", "latest").stdout
    assert "Transform failed: The disk is full: [red]<b>no space</b>" in told
    assert "[red]Odd/../<script>alert(1)</script>" in told
    assert "cancelled" in told
    assert "cached" in told


def test_an_error_of_which_the_store_has_no_text_is_admitted(ask, own_reference):
    run = own_reference.store.run("2026-01-04")
    own_reference.store.execution(run, "Trainer", "FAILED")
    told = ask("run", "latest", store=own_reference.folder).stdout
    assert "Trainer failed: ML Metadata holds no text of the error" in told


def test_a_component_that_runs_is_told_since_when(ask, ask_json, own_reference):
    run = own_reference.store.run("2026-01-04")
    own_reference.store.execution(run, "Trainer", "RUNNING")
    assert "so far" in ask("run", "latest", store=own_reference.folder).stdout
    assert ask_json("run", "latest", store=own_reference.folder)["state"] == "RUNNING"


def test_files_that_are_gone_are_marked(ask, ask_json, own_reference):
    Path(own_reference.store.path(own_reference.first.raw)).rmdir()
    told = ask("run", "2026-01-01", store=own_reference.folder).stdout
    [line] = [line for line in told.splitlines() if "ImageExampleGen" in line]
    assert "files gone" in line
    [node] = ask_json("run", "2026-01-01", store=own_reference.folder)["nodes"][:1]
    assert node["outputs"]["examples"][0]["gone"] is True


def test_a_model_from_the_cache_is_told_with_the_run_that_trained_it(ask, own_reference):
    store, first = own_reference.store, own_reference.first
    run = store.run("2026-01-04")
    store.execution(run, "FeederTrainer", "CACHED", outputs={"model": first.model})
    told = ask("run", "latest", store=own_reference.folder).stdout
    assert f"Model {first.model}, of run 2026-01-01: blessed" in told


def test_an_unknown_run_is_refused_in_one_line(ask):
    done = ask("run", "1999", status=1)
    assert done.stderr.startswith("Error: run: expected one of 2026-01-01, 2026-01-02, 2026-01-03")
    assert len(done.stderr.splitlines()) == 1
