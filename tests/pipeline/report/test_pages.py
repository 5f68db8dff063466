"""The page as text: nothing in it can break out, and nothing may be loaded."""

import base64
import dataclasses
import hashlib
import html.parser
import json
import re
from unittest.mock import Mock

import pytest

from tfx_feeder.pipeline.metadata.types import Run
from tfx_feeder.pipeline.report.collect import collect
from tfx_feeder.pipeline.report.pages import compare_page, run_page
from tfx_feeder.pipeline.report.render import render
from tfx_feeder.pipeline.report.vega_bundle import javascript_bundle

FIRST, FAILED = "2026-01-01", "2026-01-04/../"


class Reader(html.parser.HTMLParser):
    """Collects the tags, and what stands in scripts."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.scripts: list[str] = []
        self.words: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_data(self, data):
        (self.scripts if self.tags and self.tags[-1][0] == "script" else self.words).append(data)


@pytest.fixture(scope="module")
def pages(facts_of, lineage):
    failed = next(run_id for run_id in lineage.run_ids() if run_id.startswith(FAILED))
    return {name: render(run_page(facts_of(name))) for name in (FIRST, failed)}


def test_text_of_the_data_makes_no_tags(pages):
    for text in pages.values():
        reader = Reader(text)
        tags = [tag for tag, _ in reader.tags]
        assert tags.count("script") == 3
        assert "img" not in tags
        assert not any(
            name.startswith("on") for _, attributes in reader.tags for name in attributes
        )
        # Written as it is, neither as a template nor as markup of the terminal.
        assert "alert('x')</script><img src=x onerror=alert(1)>[red]{{ 7 * 7 }}" in "".join(
            reader.words
        )


def test_every_script_is_known_to_the_policy_by_its_hash(pages):
    for text in pages.values():
        [policy] = re.findall(r'Content-Security-Policy" content="([^"]+)"', text)
        assert policy.startswith("default-src 'none'")
        assert "unsafe-eval" not in policy
        data, *scripts = re.findall(r"<script[^>]*>(.*?)</script>", text, re.DOTALL)
        assert set(json.loads(data)) == {"data", "specs"}
        hashes = re.findall(r"'sha256-([^']+)'", policy)
        made = [base64.b64encode(hashlib.sha256(s.encode()).digest()).decode() for s in scripts]
        assert hashes == made


def test_nothing_points_outside(pages):
    for text in pages.values():
        for _, attributes in Reader(text).tags:
            for name in ("src", "href", "action", "data", "poster", "srcset"):
                assert (attributes.get(name) or "#").startswith("#")


def test_size_is_bounded(pages):
    assert all(len(text.encode()) < 5_000_000 for text in pages.values())


def test_bundle_is_kept(tmp_path, monkeypatch):
    made = javascript_bundle(tmp_path)
    [path] = tmp_path.iterdir()
    assert path.read_text() == made
    assert "</script" not in made
    with monkeypatch.context() as patched:
        patched.delattr("vl_convert.javascript_bundle")
        assert javascript_bundle(tmp_path) == made


@pytest.mark.parametrize("damaged", [b"", b"window.vegaEmbed = vegaEmbed;", b"\xff"])
def test_damaged_bundle_is_made_again(tmp_path, monkeypatch, damaged):
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda _: "made")
    assert javascript_bundle(tmp_path) == "made"
    [path] = tmp_path.iterdir()
    path.write_bytes(damaged)
    assert javascript_bundle(tmp_path) == "made"
    assert path.read_bytes() == b"made"


def test_bundle_needs_no_home(monkeypatch):
    monkeypatch.setattr("vl_convert.javascript_bundle", lambda _: "made")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", Mock(side_effect=RuntimeError("no home")))
    assert javascript_bundle() == "made"


@pytest.mark.slow
def test_bundle_needs_no_place_to_be_kept(tmp_path):
    (tmp_path / "file").write_text("")
    assert "vegaEmbed" in javascript_bundle(tmp_path / "file" / "below")


@pytest.mark.slow
def test_enormous_runs_make_no_enormous_page(facts_of, history):
    facts = facts_of(FIRST)
    metrics = {f"{part}metric {i}": 0.123456789 for i in range(20) for part in ("", "val_")}
    epoch = dataclasses.replace(history.epochs[0], metrics=metrics)
    epochs = tuple(dataclasses.replace(epoch, epoch=i, examples_seen=i) for i in range(20_000))
    trained = dataclasses.replace(history, epochs=epochs, events=history.events * 20_000)
    [part, *_] = facts.evaluation.slices["accuracy"]
    slices = {f"metric {i}": (part,) * 5_000 for i in range(10)}
    evaluated = dataclasses.replace(facts.evaluation, slices=slices)
    enormous = dataclasses.replace(facts, history=trained, evaluation=evaluated)
    assert len(render(run_page(enormous)).encode()) < 5_000_000
    assert len(render(compare_page([enormous] * 8)).encode()) < 5_000_000


def test_figures_that_are_none_make_a_page(facts_of, history):
    facts = facts_of(FIRST)
    nan, infinite = float("nan"), float("inf")
    epochs = tuple(
        dataclasses.replace(
            row,
            learning_rate=nan,
            noise_scale=infinite,
            input_wait_pct=nan,
            examples_per_s=nan,
            metrics={"loss": nan, "val_loss": -infinite},
        )
        for row in history.epochs
    )
    broken = dataclasses.replace(facts, history=dataclasses.replace(history, epochs=epochs))
    for page in (run_page(broken), compare_page([broken, facts])):
        assert Reader(render(page)).tags


def test_runs_with_nothing_in_them_make_a_page(facts_of, history, lineage, report_store):
    facts = facts_of(FIRST)
    bare = Run("bare", "p", (), facts.run.created_at)
    for changed in (
        collect(lineage, bare, str(report_store.folder)),
        dataclasses.replace(facts, history=dataclasses.replace(history, phases=())),
        dataclasses.replace(facts, history=dataclasses.replace(history, epochs=(), phases=())),
    ):
        assert Reader(render(run_page(changed))).tags
        assert Reader(render(compare_page([changed, facts]))).tags
