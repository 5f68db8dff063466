"""The main job on handwritten digits, as a user runs it."""

import json
import subprocess
import sys

import pytest

from tfx_feeder.pipeline.lineage import Lineage

pytestmark = pytest.mark.slow

COMPONENTS = [
    "ImageExampleGen",
    "ImportSchemaGen",
    "StatisticsGen",
    "Transform",
    "ExampleValidator",
    "FeederTrainer",
    "Evaluator",
    "Pusher",
]


def test_model_that_learnt_nothing_is_refused_with_reasons(story):
    run = story.refused
    assert run.status == 3, run.text
    assert "digits, span 1 of 3" in run.text
    assert "Not blessed: accuracy on all examples: 0." in run.text
    assert "; threshold: at least 0.9; baseline: none" in run.text
    assert "Not blessed: accuracy on label" in run.text
    assert "Pushed: nothing" in run.text
    assert sorted(run.states()) == sorted(COMPONENTS)


def test_interrupted_run_says_how_to_go_on(story):
    assert story.interrupted.status == 130, story.interrupted.text
    assert "Run the same command again" in story.interrupted.text
    assert "Traceback" not in story.interrupted.text


def test_interrupted_run_leaves_nothing_open(story):
    lineage = Lineage(story.resumed.root / "metadata.sqlite", "digits")
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
    assert states["FeederTrainer"] == "run"
    assert "Blessed: every gate was passed" in run.text


def test_second_span_is_compared_with_the_blessed_model(story):
    run = story.second
    assert run.status == 0, run.text
    assert "digits, span 2 of 3" in run.text
    assert "all examples 222 0.9" in run.text
    (overall,) = [line for line in run.text.splitlines() if line.startswith("all examples ")]
    assert overall.split()[-1].startswith(("+", "-"))
    assert "form 9" in run.text
    assert "trains on span 3" in run.text


def test_identical_run_comes_from_the_cache_and_pushes_nothing_anew(story):
    assert story.repeated.status == 0, story.repeated.text
    assert set(story.repeated.states().values()) == {"cached"}
    assert "(by an earlier run)" in story.repeated.text
    assert len(story.repeated.versions()) == 2


def test_strategies_can_be_probed_on_what_the_runs_made(story):
    script = "from tfx_feeder.pipeline.cli import main; main()"
    options = ["strategy", "probe", "--root", str(story.second.root), "--json"]
    done = subprocess.run([sys.executable, "-c", script, *options], capture_output=True, text=True)
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
