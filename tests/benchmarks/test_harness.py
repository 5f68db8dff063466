"""The arithmetic of the benchmarks, and what happens when a process that they start fails."""

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import click
import pytest

_PATH = Path(__file__).resolve().parents[2] / "benchmarks" / "harness.py"


@pytest.fixture(scope="module")
def harness() -> ModuleType:
    spec = importlib.util.spec_from_file_location("benchmark_harness", _PATH)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def _script(folder: Path, body: str) -> str:
    path = folder / "script.py"
    path.write_text(body)
    return str(path)


def test_ratios_pair_the_samples_of_one_round(harness: ModuleType) -> None:
    # The machine was three times slower in the second round, for both.
    ours, competitor = [{"s": 1.0}, {"s": 3.0}], [{"s": 2.0}, {"s": 6.0}]
    assert harness.ratios(ours, competitor, "s") == [0.5, 0.5]


def test_describe_shows_median_and_range(harness: ModuleType) -> None:
    assert harness.describe([1.5, 1.0, 1.25]) == "1.25 (median of 3; 1.00-1.50)"
    assert harness.describe([1.31]) == "1.31 (median of 1)"


def test_medians_are_written_in_their_formats(harness: ModuleType) -> None:
    samples = [{"a": 1000.0, "b": 0.5}, {"a": 3000.0, "b": 0.7}, {"a": 2000.0, "b": 0.6}]
    assert harness.medians(samples, {"a": ",.0f", "b": ".2f"}) == ["2,000", "0.60"]


def test_variants_alternate_each_in_a_process_of_its_own(
    harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    script = _script(
        tmp_path,
        "import json, os, sys\n"
        "open('order', 'a').write(sys.argv[sys.argv.index('--only') + 1])\n"
        "print('noise')\n"
        "print(json.dumps({'pid': os.getpid()}))\n",
    )
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    samples = harness.in_turn(script, ("a", "b"), 2, tmp_path)
    assert (tmp_path / "order").read_text() == "abab"
    assert len({sample["pid"] for taken in samples.values() for sample in taken}) == 4


def test_a_process_that_fails_is_shown(
    harness: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "argv", ["benchmark"])
    script = _script(tmp_path, "raise SystemExit('no such feed')\n")
    with pytest.raises(click.ClickException, match="no such feed"):
        harness.in_turn(script, ("a",), 1, tmp_path)
