"""The page that each run leaves behind: its figures are those of the files."""

import json
import re
from pathlib import Path

import pytest

from tfx_feeder.schemas import training_history

pytestmark = pytest.mark.slow


def _page(finished) -> Path:
    [path] = re.findall(r"^Report: (.+\.html)$", finished.text, re.MULTILINE)
    return Path(path)


def _data(finished) -> dict:
    text = _page(finished).read_text()
    [data] = re.findall(r'<script type="application/json"[^>]*>(.*?)</script>', text)
    return json.loads(data)


def test_every_run_leaves_its_own_page(story):
    pages = [_page(run) for run in (story.refused, story.resumed, story.second, story.repeated)]
    assert len(set(pages)) == len(pages)
    assert all(page.parent == story.refused.root / "reports" for page in pages)
    assert all(page.stat().st_size < 5_000_000 for page in pages)


def test_curves_are_those_of_the_history(story):
    folder = max(
        story.second.root.glob("artifacts/*/FeederTrainer/training_history/*"),
        key=lambda path: int(path.name),
    )
    history = training_history.read(folder)
    # The repeated run took its model from the cache.
    for run in (story.second, story.repeated):
        rows = _data(run)["data"]["epochs"]
        for row, epoch in zip(rows, history.epochs, strict=True):
            assert row["x"] == epoch.examples_seen
            assert (row["m0"], row["v0"]) == (epoch.metrics["loss"], epoch.metrics["val_loss"])
            assert (row["speed"], row["wait"]) == (epoch.examples_per_s, epoch.input_wait_pct)


def test_slices_are_those_that_tfma_loads(story):
    import tensorflow_model_analysis as tfma

    folder = max(
        story.second.root.glob("artifacts/*/Evaluator/evaluation/*"),
        key=lambda path: int(path.name),
    )
    drawn = _data(story.second)["specs"]["slices-0"]["data"]["values"]
    assert len(drawn) > 10
    for model in ("candidate", "baseline"):
        loaded = tfma.load_eval_result(str(folder), model_name=model)
        theirs = {
            str(key[0][1]) if key else "all examples": metrics[""][""]["accuracy"]
            for key, metrics in loaded.slicing_metrics
        }
        ours = {row["slice"]: row[model] for row in drawn}
        assert ours == {name: value["doubleValue"] for name, value in theirs.items()}


def test_plots_are_about_all_examples_of_the_evaluation(story):
    specs = _data(story.second)["specs"]
    cells = specs["confusion"]["data"]["values"]
    assert sum(cell["examples"] for cell in cells) == 222
    right = sum(cell["examples"] for cell in cells if cell["of"] == "right")
    overall = specs["slices-0"]["data"]["values"][0]
    assert right / 222 == pytest.approx(overall["candidate"], abs=1e-6)
    assert {"differences-0", "reliability"} <= set(specs)
    assert "Examples that only the candidate answers right" in _page(story.second).read_text()


def test_refused_run_says_why_on_its_page(story):
    assert "Not blessed: accuracy on all 204 examples" in _page(story.refused).read_text()
