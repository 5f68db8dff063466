"""Snapshots of folders and of a real store."""

import os
from datetime import datetime, timedelta, timezone

import pytest

from tests.mlmd_store import StoreWithFiles, category_feature, write_evaluation, write_statistics
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.retraining.observe import (
    ObservedData,
    observe_data,
    take_snapshot,
    unfinished_run,
)

NOW = datetime.now(timezone.utc)


class RetrainedStore(StoreWithFiles):
    """Store to which trainings, evaluations and pushes are added one by one."""

    def train(
        self, name: str, span: int, *, base: int | None = None, seconds=30.0, **properties
    ) -> int:
        run = self.run(name)
        raw = self.read_span(run, span)
        model = self.artifact("Model")
        history = self.artifact("tfx_feeder.TrainingHistory", seconds=seconds)
        self.execution(
            run,
            "FeederTrainer",
            "COMPLETE",
            {"examples": raw} | ({"base_model": base} if base else {}),
            {"model": model, "training_history": history},
            properties,
        )
        return model

    def read_span(self, run: int, span: int, fractions=(0.5, 0.5)) -> int:
        raw, statistics = (
            self.artifact("Examples", span=span),
            self.artifact("ExampleStatistics"),
        )
        self.execution(run, "ImageExampleGen", "COMPLETE", outputs={"examples": raw})
        self.execution(
            run, "StatisticsGen", "COMPLETE", {"examples": raw}, {"statistics": statistics}
        )
        counts = {str(label): fraction for label, fraction in enumerate(fractions)}
        write_statistics(self.path(statistics), "train", category_feature(["label"], counts))
        return raw

    def evaluate(self, name: str, model: int, accuracy: float, baseline=None) -> None:
        evaluation, blessing = self.artifact("ModelEvaluation"), self.artifact("ModelBlessing")
        values, inputs = {"": {"accuracy": accuracy}}, {"model": model}
        if baseline:
            inputs["baseline_model"], baseline_accuracy = baseline
            values["baseline"] = {"accuracy": baseline_accuracy}
        write_evaluation(self.path(evaluation), {"": values})
        self.execution(
            self.run(name),
            "Evaluator",
            "COMPLETE",
            inputs,
            {"evaluation": evaluation, "blessing": blessing},
        )

    def push(self, name: str, model: int) -> None:
        pushed = self.artifact("PushedModel", pushed=1)
        run = self.run(name)
        self.execution(run, "Pusher", "COMPLETE", {"model": model}, {"pushed_model": pushed})


@pytest.fixture
def store(tmp_path) -> RetrainedStore:
    return RetrainedStore(tmp_path)


@pytest.fixture
def look(tmp_path):
    """Returns a function that observes the store."""

    def call(spans=(1, 2), **options):
        return take_snapshot(Lineage.open(tmp_path, "p"), ObservedData("p", spans), NOW, **options)

    return call


def test_before_the_first_run_there_is_only_data():
    seen = take_snapshot(None, ObservedData("p", (1,)), NOW)
    assert (seen.spans, seen.new_spans, seen.trainings, seen.live) == ((1,), (1,), (), None)


def test_trainings_tell_how_long_they_took_and_from_what_they_started(store, look):
    first = store.train("1", 1, seconds=30.0)
    store.train("2", 2, base=first, seconds=12.5)
    run = store.run("3")
    store.execution(run, "FeederTrainer", "FAILED")
    store.execution(store.run("4"), "FeederTrainer", "CACHED", outputs={"model": first})
    seen = look().trainings
    assert [(t.run_id, t.warm_start, t.done) for t in seen] == [
        ("1", False, True),
        ("2", True, True),
        ("3", False, False),
        ("4", False, False),
    ]
    assert [t.seconds for t in seen[:2]] == [30.0, 12.5]
    assert seen[-1].seconds == 0


def test_a_model_that_was_only_to_be_beaten_is_no_start(store, look):
    store.train("1", 1)
    store.train("2", 2, base=store.train("0", 1), warm_start="off")
    assert [t.warm_start for t in look().trainings] == [False, False, False]


def test_spans_are_done_when_their_run_got_to_the_end(store, look):
    store.whole_run("1", span=1)
    store.whole_run("2", span=2, pushed=None)
    seen = look()
    assert seen.done == {1}
    assert seen.new_spans == (2,)


def test_the_live_model_has_the_metrics_of_its_newest_evaluation(store, look):
    live = store.train("1", 1)
    store.evaluate("1", live, 0.95)
    store.push("1", live)
    other = store.train("2", 2, base=live)
    # On newer data, as the model that another one had to beat.
    store.evaluate("2", other, 0.7, baseline=(live, 0.8))
    seen = look().live
    assert (seen.id, seen.metrics, seen.initial_metrics) == (
        live,
        {"accuracy": 0.8},
        {"accuracy": 0.95},
    )


def test_what_a_monitor_measured_goes_before_evaluations(store, look):
    live = store.train("1", 1)
    store.evaluate("1", live, 0.95)
    store.push("1", live)
    assert look(measured={"accuracy": 0.6, "ctr": 0.1}).live.metrics == {
        "accuracy": 0.6,
        "ctr": 0.1,
    }


def test_drift_is_that_of_the_newest_data_from_those_of_the_live_model(store, look):
    live = store.train("1", 1)
    store.push("1", live)
    assert look().newer is None
    store.read_span(store.run("2"), 2, fractions=(0.8, 0.2))
    seen = look()
    assert seen.measured == {1, 2}
    sides = (seen.newer.current, seen.newer.baseline)
    assert [side.feature("label").fractions[0][1] for side in sides] == pytest.approx([0.8, 0.5])


def test_drift_is_over_once_a_model_of_the_newer_data_is_live(store, look):
    store.push("1", store.train("1", 1))
    store.push("2", store.train("2", 2))
    assert look().newer is None


def test_evaluations_without_files_are_done_without(store, look):
    live = store.train("1", 1)
    evaluation, blessing = store.artifact("ModelEvaluation"), store.artifact("ModelBlessing")
    store.path(evaluation).rmdir()
    outputs = {"evaluation": evaluation, "blessing": blessing}
    store.execution(store.run("1"), "Evaluator", "COMPLETE", {"model": live}, outputs)
    store.push("1", live)
    assert look().live.metrics == {}


def test_a_run_that_is_running_elsewhere_is_seen_until_it_is_stale(store, tmp_path):
    store.execution(store.run("1"), "FeederTrainer", "RUNNING")
    lineage = Lineage.open(tmp_path, "p")
    written = datetime.now(timezone.utc)  # Not the module's time: a whole suite may lie between.
    assert unfinished_run(lineage, written - timedelta(hours=1)) == "run 1 is running"
    assert unfinished_run(lineage, written + timedelta(hours=1)) == ""


def test_spans_count_once_they_are_settled(tmp_path):
    folder = tmp_path / "My Sheets"
    for span in (1, 2, 10):
        (folder / f"span-{span}").mkdir(parents=True)
        (folder / f"span-{span}" / "images.npz").write_bytes(b"1")
    (folder / "span-11").mkdir()  # Nothing has arrived in it yet.
    (folder / "notes").mkdir()
    # A copy that keeps the time of writing has arrived now all the same.
    os.utime(folder / "span-10" / "images.npz", (0, 0))
    changed = (folder / "span-10" / "images.npz").stat().st_ctime
    assert observe_data(str(folder), tmp_path, changed + 60) == ObservedData(
        "my-sheets", (1, 2, 10)
    )
    assert observe_data(str(folder), tmp_path, changed - 60) == ObservedData("my-sheets", ())


def test_a_span_of_a_wrong_clock_does_not_wait_for_its_time(tmp_path, monkeypatch):
    span = tmp_path / "sheets" / "span-1"
    span.mkdir(parents=True)
    (span / "images.npz").write_bytes(b"1")
    changed = (span / "images.npz").stat().st_ctime
    for days, spans in ((365, (1,)), (0.5, ())):
        now = changed - days * 86400
        monkeypatch.setattr("time.time", lambda now=now: now)
        assert observe_data(str(span.parent), tmp_path, now - 60).spans == spans


def test_a_link_to_nothing_does_not_hold_a_span_back_for_ever(tmp_path):
    span = tmp_path / "sheets" / "span-1"
    span.mkdir(parents=True)
    (span / "images.npz").write_bytes(b"1")
    (span / "gone.png").symlink_to("nowhere.png")
    changed = (span / "gone.png").lstat().st_ctime
    assert observe_data(str(span.parent), tmp_path, changed + 60).spans == (1,)


def test_a_folder_of_one_set_has_no_spans(tmp_path):
    folder = tmp_path / "flowers"
    (folder / "rose").mkdir(parents=True)
    assert observe_data(str(folder), tmp_path, 0.0) == ObservedData("flowers", (), has_spans=False)


def test_an_empty_folder_waits_for_its_first_span(tmp_path):
    folder = tmp_path / "flowers"
    folder.mkdir()
    assert observe_data(str(folder), tmp_path, 0.0) == ObservedData("flowers", (), has_spans=True)


@pytest.mark.parametrize("name", ["absent", "~nobody-of-this-name/images"])
def test_data_that_are_not_there_are_refused(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="data"):
        observe_data(name, tmp_path, 0.0)
