"""The main job on handwritten digits, as a user runs it."""

import json
import shutil
import subprocess
import sys

import pytest

from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.models import read_models
from tfx_feeder.schemas import model_card

pytestmark = pytest.mark.slow

COMPONENTS = [
    "ImageExampleGen",
    "ImportSchemaGen",
    "StatisticsGen",
    "Transform",
    "ExampleValidator",
    "FeederTrainer",
    "SliceGen",
    "Evaluator",
    "EvalGate",
    "Pusher",
    "ModelCard",
]


def tfx_feeder(*arguments):
    code = "from tfx_feeder.pipeline.cli.main import main; main()"
    return subprocess.run([sys.executable, "-c", code, *arguments], capture_output=True, text=True)


def verify(folder):
    return tfx_feeder("verify", str(folder), "--json")


def test_model_that_learnt_nothing_is_refused_with_reasons(story):
    run = story.refused
    assert run.status == 3, run.text
    assert "digits, span 1 of 3" in run.text
    assert "Not blessed: accuracy on all 204 examples: 0." in run.text
    assert "; required: at least 0.9; refused (binomial mid-p, p < 0.0001 after Holm)" in run.text
    assert "Not blessed: accuracy on label" in run.text
    assert "Pushed: nothing" in run.text
    assert sorted(run.states()) == sorted(COMPONENTS)


def test_interrupted_run_says_how_to_go_on(story):
    assert story.interrupted.status == 130, story.interrupted.text
    assert "Run the same command again" in story.interrupted.text
    assert "Traceback" not in story.interrupted.text


def test_interrupted_run_leaves_nothing_open(story):
    lineage = Lineage.open(story.resumed.root, "digits")
    _, interrupted, *_ = lineage.run_ids()
    states = {e.node: e.state for e in lineage.executions(interrupted)}
    assert states["Transform"] == "CACHED"
    assert states["FeederTrainer"] == "CANCELED"
    assert "Evaluator" not in states


def test_next_run_goes_on_from_what_was_finished(story):
    run = story.resumed
    assert run.status == 0, run.text
    states = run.states()
    assert all(states[name] == "cached" for name in COMPONENTS[:5])
    assert states["FeederTrainer"] == "complete"
    assert "Blessed: 16 of 16 thresholds are met" in run.text


def test_second_span_is_compared_with_the_blessed_model(story):
    run = story.second
    assert run.status == 0, run.text
    assert "digits, span 2 of 3" in run.text
    assert "all examples 222 0.9" in run.text
    (overall,) = [line for line in run.text.splitlines() if line.startswith("all examples ")]
    assert overall.split()[5].startswith(("+", "-"))
    assert " more slices: tfx-feeder slices " in run.text
    assert "to train on span 3" in run.text


def test_identical_run_comes_from_the_cache_and_pushes_nothing_anew(story):
    assert story.repeated.status == 0, story.repeated.text
    assert set(story.repeated.states().values()) == {"cached"}
    assert "(by an earlier run)" in story.repeated.text
    assert len(story.repeated.versions) == 2


def test_pushed_versions_carry_cards_that_hold_wherever_they_are_copied(story, tmp_path):
    first = story.repeated.versions[0]
    pushed = story.repeated.root / "serving" / "digits" / first
    copied = shutil.copytree(pushed, tmp_path / "copied")
    done = verify(copied)
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    card = shown["card"]
    assert shown["whole"]
    assert card["pushed_version"] == first
    assert {row["role"] for row in card["lineage"]} >= {"model", "examples", "schema", "evaluation"}
    assert card["evaluation"]["blessed"]
    assert card["training"]["schedule"]["steps_per_epoch"] == 40
    assert card["intended_slices"] == ["label", "form"]
    (copied / "saved_model.pb").write_bytes(b"")
    done = verify(copied)
    assert done.returncode == 1
    assert json.loads(done.stdout)["differences"]["changed"] == ["saved_model.pb"]


def test_rollback_serves_the_first_model_as_the_newest_version(story):
    done = story.rolled_back
    assert done.status == 0, done.text
    first, second, newest = done.versions
    assert f"Version {first} is served again, as {newest}" in done.text
    models = read_models(Lineage.open(done.root, "digits"))
    served, left_behind = (model for model in reversed(models) if model.pushes)
    assert served.live
    assert [push.version for push in served.pushes] == [first, newest]
    assert [push.version for push in left_behind.pushes] == [second]
    assert left_behind.withdrawn == f"rolled back to version {first}: zeros look wrong"
    card = model_card.read(done.root / "serving" / "digits" / newest)
    assert card.reason == f"rolled back from version {second}: zeros look wrong"
    assert card.spans == (1,)


def test_withdrawn_model_is_not_pushed_by_a_later_run(story):
    done = story.after_rollback
    assert done.status == 0, done.text
    assert done.states()["FeederTrainer"] == "cached"
    assert "Withdrawn: rolled back to version" in done.text
    assert "Pushed: nothing" in done.text
    assert done.versions == story.rolled_back.versions


def test_strategies_can_be_probed_on_what_the_runs_made(story):
    done = tfx_feeder("strategy", "probe", "--root", str(story.second.root), "--json")
    assert done.returncode == 0, done.stderr
    shown = json.loads(done.stdout)
    assert shown["chosen"] == "sequential"
    assert shown["candidates"][0]["predicted_s"] > 0


def test_libraries_speak_into_the_log_only(story):
    screen = "".join(run.text for run in (story.refused, story.second))
    for word in ("INFO", "WARNING", "tensorflow/", "FutureWarning", "property_predicate"):
        assert word not in screen
    log = story.repeated.log()
    assert "Component Pusher is finished" in log
    assert "property_predicate" not in log
