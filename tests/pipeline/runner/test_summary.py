"""Terminal output about a run."""

import dataclasses
import io
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from rich.console import Console

from tests import factories
from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.datasets import Dataset
from tfx_feeder.pipeline.metadata.types import Artifact, Execution
from tfx_feeder.pipeline.runner import summary
from tfx_feeder.pipeline.runner.result import RunResult
from tfx_feeder.schemas.evaluation import EvaluationResult, SliceRow
from tfx_feeder.schemas.gate_report import GateLine, GateReport, SliceComparison, with_decision
from tfx_feeder.schemas.slices import Slice, Slices

ROWS = (
    SliceRow("all examples", 222, "accuracy", 0.95, 0.97),
    SliceRow("label 3", 20, "accuracy", 0.5, None),
)
OVERALL = GateLine(
    slice="all examples",
    metric="accuracy",
    rule="margin",
    threshold="at most 0.1 worse than the baseline",
    verdict="passed",
    decides=False,
    reason="accuracy on all 222 examples: 0.9500; passed",
)
REFUSED = GateLine(
    slice="label 3",
    metric="accuracy",
    rule="floor",
    threshold="at least 0.6",
    verdict="refused",
    decides=True,
    reason="accuracy on label 3 of 20 examples: 0.5000; required: at least 0.6; refused",
)
COMPARED = (
    SliceComparison("all examples", "accuracy", 222, 0.95, None, None, 0.97, -0.02, -0.04, 0.01),
    SliceComparison("label 3", "accuracy", 20, 0.5),
    *(SliceComparison(f"form {form}", "accuracy", 9, 0.9) for form in range(14)),
)


def _config(root, span=1):
    data = Dataset("digits", Path("/data"), ("0", "1"), spans=(1, 2), slice_keys=("label",))
    return PipelineConfig(data=data, root=root, span=span)


def _execution(number, node, state, seconds):
    began = datetime(2026, 1, 1, tzinfo=timezone.utc)
    return Execution(
        id=number,
        node=node,
        type_name=node,
        pipeline="digits",
        run_id="1",
        state=state,
        created_at=began,
        updated_at=began + timedelta(seconds=seconds),
    )


def _outcome(root, *, blessed=True, state="COMPLETE", rejected=None, withdrawn=""):
    phase = factories.phase_record(
        epochs=3, steps=120, examples_per_s=1920.0, metrics={"accuracy": 0.99}
    )
    lines = (OVERALL,) if blessed else (REFUSED, OVERALL)
    reason = "1 of 1 thresholds are met, none refuses." if blessed else REFUSED.reason
    gate = GateReport(blessed, reason, "compared", lines, "holm", 0.05, 1, {}, COMPARED)
    model = Artifact(9, "Model", "", {}, datetime(2026, 1, 1, tzinfo=timezone.utc))
    trainer = dataclasses.replace(
        _execution(0, "FeederTrainer", state, 1.0), outputs={"model": (model,)}
    )
    return RunResult(
        config=_config(root),
        executions=(
            trainer,
            _execution(1, "Transform", state, 5.04),
            _execution(2, "Pusher", "CACHED", 0.01),
        ),
        examples={"train": 442, "eval": 204},
        rejected=rejected or {},
        rejected_list=root / "rejected.jsonl",
        history=factories.history(phases=(phase,)),
        evaluation=with_decision(EvaluationResult(False, (), ROWS, gated=False), gate),
        gate=gate,
        slices=Slices((Slice("label 3", (("label", "3"),), "declared", 20),), {"eval": 222}),
        pushed=root / "serving" / "digits" / "17" if blessed else None,
        tensorboard=root / "tensorboard",
        withdrawn=withdrawn,
    )


@pytest.fixture
def text(tmp_path):
    def render(outcome, done):
        screen = io.StringIO()
        console = Console(file=screen, width=200)
        for part in summary.print_summary(
            outcome, done, tmp_path / "run.log", tmp_path / "run.html"
        ):
            console.print(part, highlight=False)
        return [" ".join(line.split()) for line in screen.getvalue().splitlines()]

    return render


def test_blessed_run(tmp_path, text):
    lines = text(_outcome(tmp_path), {1})
    assert "Transform complete 5.0 s" in lines
    assert "Pusher cached" in lines
    assert "1 0.01 32 3 120 1,920 0.9900" in lines
    assert "all examples 222 0.9500 0.9700 -0.0200 (-0.040 to +0.010) passed" in lines
    assert "label 3 declared 20 0.5000 none not judged" in lines
    assert f"4 more slices: tfx-feeder slices 9 --store {tmp_path}" in lines
    assert "Blessed: 1 of 1 thresholds are met, none refuses." in lines
    assert "Images: train 442, eval 204; rejected 0" in lines
    assert f"Pushed: version 17 in {tmp_path}/serving/digits/17" in lines
    assert "to train on span 2: run the same command again" in lines
    assert f"Log: {tmp_path}/run.log" in lines
    assert f"Report: {tmp_path}/run.html" in lines


def test_run_that_was_not_blessed_shows_reasons_and_next_steps(tmp_path, text):
    lines = text(_outcome(tmp_path, blessed=False), {1, 2})
    assert f"Not blessed: {REFUSED.reason}" in lines
    slices = [line for line in lines if line.startswith(("all examples", "label", "form"))]
    assert slices[0] == "label 3 declared 20 0.5000 none refused"
    assert slices[1].startswith("all examples")
    assert "Pushed: nothing" in lines
    assert any("--full" in line for line in lines)
    assert not any("the same command again" in line for line in lines)


def test_rejected_images_are_counted_by_reason(tmp_path, text):
    lines = text(_outcome(tmp_path, rejected={"corrupt_image": 2, "not_an_image": 1}), {1})
    assert "Images: train 442, eval 204; rejected 3" in lines
    assert (
        f"Rejected: corrupt_image 2, not_an_image 1; listed in {tmp_path}/rejected.jsonl" in lines
    )


def test_cached_run_did_not_push_again(tmp_path, text):
    lines = text(_outcome(tmp_path, state="CACHED"), {1, 2})
    assert any("version 17 (by an earlier run)" in line for line in lines)


def test_a_withdrawn_model_is_shown_with_its_reason(tmp_path, text):
    lines = text(_outcome(tmp_path, withdrawn="rolled back to version 1: [red]wrong[/]"), {1})
    assert "Withdrawn: rolled back to version 1: [red]wrong[/]" in lines


def test_start_of_a_new_span(tmp_path):
    lines = list(summary.print_start(_config(tmp_path, span=2), {1}, span_given=False))
    assert lines[0].startswith("[bold]digits[/], span 2 of 2: 2 classes")
    assert "No new spans" not in "".join(lines)


def test_start_without_new_spans_shows_how_to_start_over(tmp_path):
    lines = "".join(summary.print_start(_config(tmp_path, span=2), {1, 2}, span_given=False))
    assert "No new spans" in lines
    assert f"remove {tmp_path}" in lines
    assert "--span" in lines


def test_start_with_a_given_span_has_no_comment(tmp_path):
    lines = "".join(summary.print_start(_config(tmp_path, span=2), {1, 2}, span_given=True))
    assert "No new spans" not in lines


def test_no_cache_is_not_announced_as_served_from_the_cache(tmp_path):
    config = dataclasses.replace(_config(tmp_path, span=2), enable_cache=False)
    lines = "".join(summary.print_start(config, {1, 2}, span_given=False))
    assert "Training on span 2 again." in lines
    assert "Serving" not in lines


def test_slices_show_the_name_of_the_class(tmp_path, text):
    outcome = _outcome(tmp_path, blessed=False)
    data = dataclasses.replace(outcome.config.data, classes=("ant", "bee", "cat", "dog"))
    config = dataclasses.replace(outcome.config, data=data)
    lines = text(dataclasses.replace(outcome, config=config), {1})
    assert "label 3 (dog) declared 20 0.5000 none refused" in lines
    reason = "Not blessed: accuracy on label 3 (dog) of 20 examples: 0.5000;"
    assert any(line.startswith(reason) for line in lines)


@pytest.mark.parametrize(
    ("metrics", "epochs", "advised"),
    [
        ({"accuracy": 0.6, "val_accuracy": 0.58}, 6, "--full"),
        ({"accuracy": 1.0, "val_accuracy": 0.31}, 6, "against overfitting (accuracy 1.00 in"),
        ({"accuracy": 0.6, "val_accuracy": 0.58}, 30, "--schedule '0.01:32x40"),
    ],
)
def test_the_next_step_fits_the_training(tmp_path, text, metrics, epochs, advised):
    rows = tuple(factories.epoch_record(epoch=index) for index in range(epochs))
    history = factories.history(phases=(factories.phase_record(metrics=metrics),), epochs=rows)
    lines = text(dataclasses.replace(_outcome(tmp_path, blessed=False), history=history), {1, 2})
    (advice,) = (line for line in lines if line.startswith(("for a", "against")))
    assert advised in advice
    assert ("--full" in advice) == (advised == "--full")
