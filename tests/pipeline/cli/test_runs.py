"""``tfx-feeder runs`` and ``run``."""

from pathlib import Path

from tests.mlmd_store import StoreWithFiles


def test_runs_are_listed_newest_first_with_their_state(ask, reference):
    output = ask("runs").stdout
    assert output.index("2026-01-03") < output.index("2026-01-02") < output.index("2026-01-01")
    [first] = [line for line in output.splitlines() if "2026-01-01" in line]
    assert "complete" in first
    assert first.split()[-2:] == [str(reference.first.model), "live"]


def test_failed_and_cached_components_are_counted(ask_json):
    failed, second, first = ask_json("runs")
    assert (failed["state"], failed["failed"]) == ("FAILED", ["Transform"])
    assert (second["ran"], second["cached"]) == (5, 1)
    assert (first["ran"], first["cached"]) == (6, 0)


def test_models_are_listed_with_the_run_that_trained_them(ask_json, reference):
    rows = {row["id"]: row["models"] for row in ask_json("runs")}
    assert [model["model"]["id"] for model in rows["2026-01-02"]] == [reference.second.model]
    assert rows["2026-01-03"] == []


def test_only_the_newest_are_shown_and_the_rest_is_counted(ask):
    output = ask("runs", "-n", 1).stdout
    assert "2026-01-02" not in output
    assert "The newest 1 of 3 runs" in output
    assert "2026-01-01" in ask("runs", "-n", 1, "--all").stdout


def test_a_store_without_runs_is_reported(ask, tmp_path):
    StoreWithFiles(tmp_path)
    assert ask("runs", store=tmp_path).stdout == "The store has no run yet.\n"


def test_several_pipelines_are_distinguished(ask, own_reference):
    own_reference.store.empty_run("second pipeline", "2026-02-01")
    store = own_reference.folder
    assert "second pipeline" in ask("runs", store=store).stdout
    assert "second pipeline" not in ask("runs", "--pipeline", "p", store=store).stdout


def test_components_are_shown_with_their_outputs(ask, reference):
    output = ask("run", "2026-01-01").stdout
    assert "Run 2026-01-01 of pipeline p" in output
    [line] = [line for line in output.splitlines() if "ImageExampleGen" in line]
    assert f"Examples {reference.first.raw} (span 1, 100 train, 50 eval)" in line
    assert f"Model {reference.first.model}: blessed, pushed as 100, live" in output


def test_errors_and_states_are_shown(ask):
    output = ask("run", "latest").stdout
    assert "Transform failed: The disk is full: [red]<b>no space</b>" in output
    assert "[red]Odd/../<script>alert(1)</script>" in output
    assert "canceled" in output
    assert "cached" in output


def test_an_error_without_a_recorded_message_is_reported(ask, own_reference):
    run = own_reference.store.run("2026-01-04")
    own_reference.store.execution(run, "Trainer", "FAILED")
    output = ask("run", "latest", store=own_reference.folder).stdout
    assert "Trainer failed: ML Metadata contains no error message" in output


def test_a_running_component_is_shown_with_its_duration(ask, ask_json, own_reference):
    run = own_reference.store.run("2026-01-04")
    own_reference.store.execution(run, "Trainer", "RUNNING")
    assert "so far" in ask("run", "latest", store=own_reference.folder).stdout
    assert ask_json("run", "latest", store=own_reference.folder)["state"] == "RUNNING"


def test_files_that_are_gone_are_marked(ask, ask_json, own_reference):
    Path(own_reference.store.path(own_reference.first.raw)).rmdir()
    output = ask("run", "2026-01-01", store=own_reference.folder).stdout
    [line] = [line for line in output.splitlines() if "ImageExampleGen" in line]
    assert "files missing" in line
    [node] = ask_json("run", "2026-01-01", store=own_reference.folder)["nodes"][:1]
    assert node["outputs"]["examples"][0]["files_missing"] is True


def test_a_cached_model_is_shown_with_the_run_that_trained_it(ask, own_reference):
    store, first = own_reference.store, own_reference.first
    run = store.run("2026-01-04")
    store.execution(run, "FeederTrainer", "CACHED", outputs={"model": first.model})
    output = ask("run", "latest", store=own_reference.folder).stdout
    assert f"Model {first.model}, of run 2026-01-01: blessed" in output


def test_an_unknown_run_is_rejected_in_one_line(ask):
    done = ask("run", "1999", status=2)
    assert done.stderr.startswith("Error: run: expected one of 2026-01-01, 2026-01-02, 2026-01-03")
    assert len(done.stderr.splitlines()) == 1


def test_a_resolver_after_which_tfx_continued_has_not_failed(ask, ask_json, own_reference):
    store, folder = own_reference.store, own_reference.folder
    run, module = store.run("2026-01-04"), "tfx.dsl.components.common.resolver.Resolver"
    store.execution(run, "transform_cache_resolver", "FAILED", type_name=module)
    store.execution(run, "Trainer", "COMPLETE", outputs={"model": store.artifact("Model")})
    assert ask_json("run", "latest", store=folder)["state"] == "COMPLETE"
    assert "transform_cache_resolver" not in ask("runs", store=folder).stdout


def test_a_running_run_shows_its_last_change(ask, own_reference):
    own_reference.store.execution(own_reference.store.run("2026-01-04"), "Trainer", "RUNNING")
    assert "running, last change 0 s ago" in ask("runs", store=own_reference.folder).stdout
