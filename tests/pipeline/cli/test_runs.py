"""``tfx-feeder runs``."""


def test_runs_are_told_newest_first_with_what_came_of_them(ask, reference):
    told = ask("runs").stdout
    assert told.index("2026-01-03") < told.index("2026-01-02") < told.index("2026-01-01")
    [first] = [line for line in told.splitlines() if "2026-01-01" in line]
    assert "complete" in first
    assert first.split()[-2:] == [str(reference.first.model), "live"]


def test_what_failed_and_what_came_from_the_cache_is_counted(ask_json):
    failed, second, first = ask_json("runs")
    assert (failed["state"], failed["failed"]) == ("FAILED", ["Transform"])
    assert (second["ran"], second["cached"]) == (5, 1)
    assert (first["ran"], first["cached"]) == (6, 0)


def test_models_stand_by_the_run_that_trained_them(ask_json, reference):
    rows = {row["id"]: row["models"] for row in ask_json("runs")}
    assert [model["model"]["id"] for model in rows["2026-01-02"]] == [reference.second.model]
    assert rows["2026-01-03"] == []


def test_only_the_newest_are_shown_and_the_rest_is_counted(ask):
    told = ask("runs", "-n", 1).stdout
    assert "2026-01-02" not in told
    assert "The newest 1 of 3 runs" in told
    assert "2026-01-01" in ask("runs", "-n", 1, "--all").stdout


def test_a_store_without_runs_says_so(ask, tmp_path, make_store_with_files):
    make_store_with_files(tmp_path)
    assert ask("runs", store=tmp_path).stdout == "The store has no run yet.\n"


def test_pipelines_are_told_apart_where_there_are_several(ask, own_reference):
    own_reference.store.empty_run("second pipeline", "2026-02-01")
    store = own_reference.folder
    assert "second pipeline" in ask("runs", store=store).stdout
    assert "second pipeline" not in ask("runs", "--pipeline", "p", store=store).stdout
