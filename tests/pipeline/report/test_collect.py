"""Facts about runs of every kind, from a store and the files of its artifacts."""

import contextlib

import pytest

from tests.pipeline.report_runs import FIRST, SECOND, STOCK
from tfx_feeder.pipeline.report.collect import collect
from tfx_feeder.pipeline.report.facts import EvaluationFacts, Unavailable


def test_history_is_that_of_the_file(facts_of, history):
    read = facts_of(FIRST).history
    # NaN is not equal to itself.
    assert repr(read) == repr(history)


def test_slices_have_candidate_baseline_gate_and_result(facts_of):
    evaluation = facts_of(SECOND).evaluation
    assert isinstance(evaluation, EvaluationFacts)
    assert list(evaluation.slices) == ["accuracy", "loss"]
    everything, one, two, other = evaluation.slices["accuracy"]
    assert (everything.row.candidate, everything.row.baseline) == (0.95, 0.9)
    assert str(everything.gate) == "≥ 0.9, ≥ baseline −0.02"
    assert (one.row.slice, str(one.gate), one.missed) == ("label 1", "≥ 0.6", False)
    assert (two.row.slice, two.missed) == ("label 2", True)
    assert other.gate is None
    assert not evaluation.result.blessed


def test_versions_are_the_models_of_the_pipeline(facts_of, report_store):
    versions = facts_of(SECOND).versions
    assert [version.value for version in versions] == [0.95, 0.95, None]
    assert [version.is_current for version in versions] == [False, True, False]
    assert versions[0].model.live


def test_data_have_sizes_rejections_anomalies(facts_of):
    data = facts_of(FIRST).data
    assert data.span == 1
    assert [(split.name, split.examples) for split in data.splits] == [("train", 100), ("eval", 50)]
    assert data.rejected.counts == {"corrupt_image": 3}
    assert [rejection.reason for rejection in data.rejected.listed] == ["corrupt_image"]
    assert [(found.split, found.severity) for found in data.anomalies] == [("eval", "error")]


def test_drift_is_against_the_other_split_and_the_data_before(facts_of):
    first, second = facts_of(FIRST).data, facts_of(SECOND).data
    assert isinstance(first.previous, Unavailable)
    assert second.previous.run_id == FIRST
    height = next(drift for drift in second.drift if drift.feature == "height")
    # One of ten buckets differs on either side, and five of ten.
    assert height.between_splits.value == pytest.approx(0.1)
    assert height.since_previous.value == pytest.approx(0.5)
    assert "image" not in [drift.feature for drift in second.drift]


def test_artifacts_of_earlier_runs_are_known(facts_of, report_store):
    assert facts_of(SECOND).earlier_runs == {report_store.first.model: FIRST}


def test_run_can_be_reproduced(facts_of):
    reproduction = facts_of(FIRST).reproduction
    commands = dict(reproduction.commands)
    assert "tensorflow==2.16.2" in commands["The same packages on Python 3.10.13"]
    assert commands["This page"].startswith(f"tfx-feeder report {FIRST} --store ")
    assert reproduction.seeds == {"FeederTrainer.feed.seed": "7"}
    assert "abc" in reproduction.hashes.values()


def test_commands_hold_no_password(lineage):
    url = "postgresql://feeder:s3cretPW@db:5432/mlmd"
    facts = collect(lineage, lineage.run(FIRST), url)
    assert "s3cretPW" not in str(facts)
    commands = dict(facts.reproduction.commands)
    assert commands["This page"].endswith("--store postgresql://feeder@db:5432/mlmd")


def test_stock_run_lists_unavailable_facts(facts_of):
    facts = facts_of(STOCK)
    assert facts.history == Unavailable("Trainer records no training history; FeederTrainer does.")
    assert "are missing" in facts.evaluation.reason
    assert "StatisticsGen" in facts.data.statistics.reason
    assert "ExampleValidator" in facts.data.anomalies.reason
    assert "counts no rejected records" in facts.data.rejected.reason
    assert facts.model.pushes == ()


def test_history_of_a_newer_format_is_unavailable(facts_of, changed):
    with changed("tfx_feeder.TrainingHistory", "history.json", '{"format": "x", "version": 9}'):
        assert "not a training history" in facts_of(FIRST).history.reason


def test_damaged_files_are_unavailable(facts_of, changed):
    with changed("ModelEvaluation", "metrics-00000-of-00001.tfrecord", "damaged"):
        assert "cannot be read" in facts_of(FIRST).evaluation.reason
    with changed("ExampleStatistics", "Split-train/FeatureStats.pb", "damaged"):
        assert "cannot be read" in facts_of(FIRST).data.statistics.reason
    with changed("ExampleAnomalies", "Split-eval/SchemaDiff.pb", "damaged"):
        assert "cannot be read" in facts_of(FIRST).data.anomalies.reason


def test_evaluation_without_readable_thresholds_has_no_gates(facts_of, changed):
    with changed("ModelEvaluation", "eval_config.json", "[]"):
        assert facts_of(FIRST).evaluation.primary.gate is None


@pytest.fixture
def changed(lineage):
    """Returns a context in which a file of the first run holds something else."""

    @contextlib.contextmanager
    def change(type_name: str, name: str, content: str):
        path = next(lineage.run(FIRST).outputs(type_name)).path / name
        before = path.read_bytes()
        path.write_text(content)
        try:
            yield
        finally:
            path.write_bytes(before)

    return change


def test_training_split_comes_first(facts_of):
    splits = facts_of(FIRST).data.statistics
    assert [(split.split, split.examples) for split in splits] == [("train", 100), ("eval", 100)]


def test_numbers_have_buckets_and_categories_have_fractions(facts_of):
    train = facts_of(FIRST).data.statistics[0]
    height, colour, image = train.features
    assert (height.kind, height.mean, height.missing_pct) == ("number", 5, pytest.approx(10))
    assert sum(bucket.fraction for bucket in height.buckets) == pytest.approx(1)
    assert (colour.kind, colour.unique) == ("category", 2)
    assert colour.fractions[0] == ("red", 0.75)
    assert colour.name.startswith("colour.")
    # Bytes that are no text are not compared by value.
    assert (image.kind, image.fractions) == ("bytes", ())
