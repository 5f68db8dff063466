"""``tfx-feeder gc``: deleted and kept files."""

import shutil
from datetime import datetime, timedelta, timezone
from functools import partial
from types import SimpleNamespace

import ml_metadata as mlmd
import pytest
from ml_metadata.proto import metadata_store_pb2 as pb

from tests.pipeline.gated_run import write_gated_run
from tfx_feeder.common.hashing import hash_files
from tfx_feeder.pipeline.metadata.gc import classify_files, delete_files
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.store import open_store, writable_config

ALL = ("--older-than", "0.001s", "--keep-runs", 0)


@pytest.fixture
def runs(own_reference) -> SimpleNamespace:
    """Three runs with files where components write them: pushed, not blessed, failed."""
    return settled(own_reference)


def settled(own_reference) -> SimpleNamespace:
    """Moves all files to where components write them."""
    for artifact_id, (node, key, execution) in makers(own_reference.folder).items():
        folder = own_reference.folder / "artifacts" / "p" / node / key / str(execution)
        move(own_reference, artifact_id, folder)
        (folder / "content").write_bytes(b"x" * 1000)
    return own_reference


def makers(folder) -> dict[int, tuple[str, str, int]]:
    """Returns the node, output key and execution that made each artifact."""
    lineage, found = Lineage.open(folder), {}
    for run_id in lineage.run_ids():
        for execution in lineage.executions(run_id):
            for key, artifacts in execution.outputs.items():
                for artifact in artifacts:
                    found.setdefault(artifact.id, (execution.node, key, execution.id))
    return found


def move(runs, artifact_id: int, folder) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    runs.store.path(artifact_id).rename(folder)
    update(runs, pb.Artifact(id=artifact_id, uri=str(folder)), "uri")


def update(runs, artifact: pb.Artifact, field: str) -> None:
    mlmd.MetadataStore(writable_config(runs.folder)).put_artifacts(
        [artifact], field_mask_paths=[field]
    )


def state(runs, artifact_id: int) -> str:
    return Lineage.open(runs.folder).artifact(artifact_id).state


def context(runs, run: SimpleNamespace) -> int:
    store = open_store(runs.folder)
    return store.get_context_by_type_and_name("pipeline_run", run.name).id


def left_by_failed(runs) -> int:
    """The id of the Examples that the third run read before it failed."""
    [first, *_] = Lineage.open(runs.folder).executions("2026-01-03")
    return first.output("examples").id


def of(run: SimpleNamespace) -> set[int]:
    return {value for value in vars(run).values() if isinstance(value, int)}


@pytest.fixture
def collect(runs, ask_json):
    """Returns a function that calls ``gc`` and returns the ids of what can go or went."""

    def call(*arguments: object) -> set[int]:
        answer = ask_json("gc", *arguments, store=runs.folder)
        return {files["artifact_id"] for files in answer["files"]}

    return call


def test_files_that_no_blessed_or_pushed_model_needs_are_deleted(runs, collect):
    gone = (of(runs.second) - {runs.second.schema}) | {left_by_failed(runs)}
    assert collect(*ALL) == gone


def test_nothing_is_touched_without_consent(runs, ask):
    output = ask("gc", *ALL, store=runs.folder).stdout
    assert "Nothing was deleted" in output
    assert str(runs.folder / "artifacts" / "p") in output.replace("\n", "")
    assert all(runs.store.path(artifact).exists() for artifact in of(runs.second))
    assert state(runs, runs.second.model) != "DELETED"


def test_with_consent_files_go_and_their_artifacts_are_marked(runs, ask, collect):
    output = ask("gc", *ALL, "--yes", store=runs.folder).stdout
    assert "Deleted" in output
    for artifact in of(runs.second) - {runs.second.schema}:
        assert not runs.store.path(artifact).exists()
        assert state(runs, artifact) == "DELETED"
    for artifact in of(runs.first):
        assert runs.store.path(artifact).exists()
        assert state(runs, artifact) != "DELETED"
    assert Lineage.open(runs.folder).artifact(runs.first.raw).properties["span"] == 1
    assert collect(*ALL) == set()


def test_files_left_by_an_interrupted_collection_are_deleted_next_time(runs, collect):
    update(runs, pb.Artifact(id=runs.second.model, state=pb.Artifact.DELETED), "state")
    assert runs.second.model in collect(*ALL, "--yes")
    assert not runs.store.path(runs.second.model).exists()


def test_young_files_and_those_of_the_newest_runs_stay(runs, collect):
    assert collect() == set()
    assert collect("--older-than", "0.001s") == of(runs.second) - {runs.second.schema}
    assert collect("--older-than", "0.001s", "--keep-runs", 2) == set()


def test_files_of_a_running_run_are_kept(runs, collect):
    store, second = runs.store, runs.second
    store.execution(context(runs, second), "BulkInferrer", "RUNNING", {"model": second.model})
    assert collect(*ALL) == {left_by_failed(runs)}


def test_files_that_a_newer_run_took_from_the_cache_are_kept(runs, collect):
    raw = runs.second.raw
    run = runs.store.run("2026-01-04")
    runs.store.execution(run, "ImageExampleGen", "CACHED", outputs={"examples": raw})
    gone = collect("--older-than", "0.001s")
    assert runs.second.model in gone
    assert raw not in gone


def test_model_stays_that_a_pushed_one_was_trained_from(runs, collect):
    run, second = runs.store.run("2026-01-04"), runs.second
    model, version = runs.store.artifact("Model"), runs.store.artifact("PushedModel", pushed=1)
    read = {"examples": second.transformed, "base_model": second.model}
    runs.store.execution(run, "FeederTrainer", "COMPLETE", read, {"model": model})
    runs.store.execution(run, "Pusher", "COMPLETE", {"model": model}, {"pushed_model": version})
    # Its own evaluation says nothing about the model that was made of it.
    assert collect(*ALL) == {
        second.evaluation,
        second.blessing,
        second.pushed,
        left_by_failed(runs),
    }


def test_evaluations_histories_and_cards_are_kept(runs, collect):
    store, run = runs.store, context(runs, runs.first)
    card, statistics, anomalies = map(
        store.artifact, ("tfx_feeder.ModelCard", "ExampleStatistics", "ExampleAnomalies")
    )
    made = (
        ("ModelCard", {"model": runs.first.model}, {"model_card": card}),
        ("StatisticsGen", {"examples": runs.first.raw}, {"statistics": statistics}),
        ("ExampleValidator", {"statistics": statistics}, {"anomalies": anomalies}),
    )
    for node, read, outputs in made:
        execution = store.execution(run, node, "COMPLETE", read, outputs)
        [(key, artifact)] = outputs.items()
        move(runs, artifact, runs.folder / "artifacts" / "p" / node / key / str(execution))
    assert collect(*ALL).isdisjoint({card, statistics, anomalies})


def test_files_elsewhere_are_not_touched(runs, collect, tmp_path):
    elsewhere = tmp_path / "imported"
    move(runs, runs.second.raw, elsewhere)
    linked = runs.store.path(runs.second.model)
    linked.rename(tmp_path / "model")
    linked.symlink_to(tmp_path / "model")
    gone = collect(*ALL, "--yes")
    assert gone.isdisjoint({runs.second.raw, runs.second.model})
    assert (elsewhere / "content").exists()
    assert (tmp_path / "model" / "content").exists()


def test_a_folder_that_contains_kept_files_is_not_deleted(runs, collect):
    inner = runs.store.path(runs.second.model) / "within"
    move(runs, runs.first.model, inner)
    assert runs.second.model not in collect(*ALL, "--yes")
    assert inner.exists()


def test_only_the_named_pipeline_is_swept(runs, ask_json):
    runs.store.empty_run("another", "2026-02-01")
    answer = ask_json("gc", *ALL, "--pipeline", "another", store=runs.folder)
    assert answer["files"] == answer["kept"] == []


def test_files_that_a_run_read_during_the_collection_keep_their_mark(runs):
    sort = partial(
        classify_files,
        untouched_since=datetime.now(timezone.utc) + timedelta(hours=1),
        keep_runs=0,
    )

    def sort_again():
        run = runs.store.run("2026-01-04")
        runs.store.execution(run, "Transform", "RUNNING", {"examples": runs.second.raw})
        return sort(open_store(runs.folder))

    before = state(runs, runs.second.raw)
    store = mlmd.MetadataStore(writable_config(runs.folder))
    deleted, failures = delete_files(store, sort(store), sort_again)
    assert runs.second.raw not in {files.artifact_id for files in deleted}
    assert state(runs, runs.second.raw) == before
    assert runs.store.path(runs.second.raw).exists()
    assert state(runs, runs.second.model) == "DELETED"
    assert failures == []


def test_of_a_copy_the_files_of_the_original_stay(runs, ask, tmp_path):
    copy = shutil.copytree(runs.folder, tmp_path / "copy")
    before = hash_files(runs.folder)
    kept = ask("gc", *ALL, "--yes", store=copy).stdout
    assert "beside another store, of which this is a copy" in kept
    assert hash_files(runs.folder) == before
    (tmp_path / "link").symlink_to(runs.folder)
    assert "another store" not in ask("gc", *ALL, store=tmp_path / "link").stdout


def test_deletion_failures_are_reported(runs, ask):
    path = runs.store.path(runs.second.model)
    shutil.rmtree(path)
    path.write_text("a file where a folder should be")
    done = ask("gc", *ALL, "--yes", store=runs.folder, status=1)
    assert f"{path} was not deleted" in done.output
    assert not runs.store.path(runs.second.raw).exists()


def test_an_invalid_age_is_rejected(runs, ask):
    assert (
        "--older-than: expected a duration"
        in ask("gc", "--older-than", "never", store=runs.folder, status=2).output
    )


def test_slices_of_later_data_are_no_part_of_the_blessed_model_that_they_search(
    own_reference, ask_json
):
    store, first = own_reference.store, own_reference.first
    blessed = write_gated_run(store, "2026-01-04", first.model, None)
    later = write_gated_run(store, "2026-01-05", own_reference.second.model, first.model)
    runs = settled(own_reference)
    listed = ask_json("gc", *ALL, store=runs.folder)
    going = {row["artifact_id"] for row in listed["files"]}
    assert {later.annotated, later.slices} <= going
    assert {blessed.gate_report, blessed.evaluation, blessed.blessing}.isdisjoint(going)
