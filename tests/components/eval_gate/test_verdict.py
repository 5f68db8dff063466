"""Verdicts: what is proven, what is noise, and what is said about it."""

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np
import pytest
from scipy import stats

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate.evidence import examples_needed
from tfx_feeder.components.eval_gate.gate import Floor, Gate, Margin
from tfx_feeder.components.eval_gate.verdict import decide
from tfx_feeder.schemas.gate_report import GateLine, GateReport
from tfx_feeder.schemas.model_comparison import AnswerCounts, ComparedSlice, Estimate, MeasureSums

ALL = ("all examples", 9_000, 200, 150, 650)
SMALL = ("form 1", 28, 1, 3, 1)
LARGE = ("form 3", 2_650, 50, 110, 190)


def _slice(name: str, *cells: int, **changes: Any) -> ComparedSlice:
    counts = AnswerCounts(*cells)
    n = counts.examples
    return ComparedSlice(
        name=name,
        columns=() if name == "all examples" else (name.split()[0],),
        examples=n,
        candidate={"accuracy": counts.right / n},
        baseline={"accuracy": (counts.both + counts.baseline_only) / n},
        answers={"accuracy": counts},
        **changes,
    )


def _decide(gate: Gate, *slices: Any, has_baseline: bool = True, **options: Any) -> GateReport:
    found = [each if isinstance(each, ComparedSlice) else _slice(*each) for each in slices]
    return decide(found, gate, has_baseline=has_baseline, **options)


def _line(report: GateReport, name: str) -> GateLine:
    [line] = [line for line in report.lines if line.slice == name]
    return line


def test_a_large_slice_is_refused_in_one_line_and_a_small_one_is_not() -> None:
    report = _decide(Gate(margins=[Margin(0.01), Margin(0, "*")]), ALL, SMALL, LARGE)

    assert not report.blessed
    assert [line.slice for line in report.deciding] == ["form 3"]
    assert report.reason == (
        "accuracy on form 3 of 3,000 examples: 0.9000 against 0.9200 of the baseline (-0.0200, "
        "95 % interval -0.0285 to -0.0119); required: no worse; refused "
        "(McNemar mid-p, p = < 0.0001 after Holm)"
    ).replace("p = <", "p <")
    small = _line(report, "form 1")
    assert small.verdict == "undecided"
    assert not small.decides
    assert small.examples_needed is not None
    assert small.examples_needed > 33
    assert _line(report, "all examples").verdict == "passed"
    assert [line.verdict for line in report.lines] == ["refused", "undecided", "passed"]
    assert report.tests == 3


def test_thresholds_are_printed_as_declared() -> None:
    report = _decide(Gate(floors=[Floor(0.1)], margins=[Margin(0.07)]), ALL)
    assert [line.threshold for line in report.lines] == [
        "at least 0.1",
        "at most 0.07 worse than the baseline",
    ]


def test_a_floor_that_is_met_exactly_is_met() -> None:
    report = _decide(Gate(floors=[Floor(0.95)]), ("all examples", 19, 0, 0, 1))
    assert report.blessed
    assert _line(report, "all examples").verdict == "passed"


@pytest.mark.parametrize(("when", "blessed"), [("pass", True), ("refuse", False)])
def test_undecided_slices_do_what_was_declared(when: str, blessed: bool) -> None:
    gate = Gate(margins=[Margin(0.02, "*")], when_undecided=when)
    report = _decide(gate, ALL, SMALL)
    line = _line(report, "form 1")
    assert (line.verdict, line.decides) == ("undecided", not blessed)
    assert report.blessed is blessed
    assert f"about {line.examples_needed:,} examples would decide" in line.reason


def test_the_first_rule_that_matches_applies() -> None:
    gate = Gate(margins=[Margin(0.05, "form *"), Margin(0, "*")], must_not_regress=["form 4"])
    equal = (2_650, 110, 110, 130)
    report = _decide(gate, ALL, LARGE, ("form 4", *equal), ("size 1", *equal))
    rules = {line.slice: (line.rule, line.threshold) for line in report.lines}
    assert rules == {
        "form 3": ("margin", "at most 0.05 worse than the baseline"),
        "form 4": ("must not regress", "no worse"),
        "size 1": ("margin", "no worse"),
    }
    assert report.blessed


def test_slices_below_the_minimum_are_listed_only() -> None:
    gate = Gate(margins=[Margin(0, "*")], min_examples=34, when_undecided="refuse")
    report = _decide(gate, ALL, ("form 1", 3, 0, 30, 0))
    assert _line(report, "form 1").verdict == "skipped"
    assert "33 examples, fewer than min_examples=34" in _line(report, "form 1").reason
    assert report.blessed


def test_correction_covers_all_slices() -> None:
    loss = ("size 0", 80, 2, 10, 8)  # p = 0.01 by itself
    others = [(f"size {i}", 80, 5, 5, 10) for i in range(1, 30)]
    gate = Gate(margins=[Margin(0, "*")])
    assert not _decide(gate, ALL, loss).blessed
    assert _decide(gate, ALL, loss, *others).blessed
    two = [("size 0", 80, 0, 9, 11), *[(f"size {i}", 80, 0, 8, 12) for i in (1, 2, 3)], *others[3:]]
    holm = _decide(gate, ALL, *two)
    fdr = _decide(dataclasses.replace(gate, correction="benjamini_hochberg"), ALL, *two)
    assert fdr.count("refused") >= holm.count("refused") > 0


def test_the_first_model_is_judged_by_its_floors() -> None:
    counts = AnswerCounts(900, 0, 0, 100, paired=False)
    alone = ComparedSlice(
        "all examples", (), 1_000, {"accuracy": 0.9}, answers={"accuracy": counts}
    )
    gate = Gate(floors=[Floor(0.85)], margins=[Margin(0.01)])
    report = _decide(gate, alone, has_baseline=False)
    assert report.blessed
    assert report.baseline == "none"
    assert [line.rule for line in report.lines] == ["floor"]
    assert "no blessed model to compare with" in report.reason
    assert not _decide(Gate(floors=[Floor(0.95)]), alone, has_baseline=False).blessed


@pytest.mark.parametrize(("fallback", "blessed"), [("floors", True), ("refuse", False)])
def test_a_baseline_without_results_is_reported(fallback: str, blessed: bool) -> None:
    alone = ComparedSlice("all examples", (), 1_000, {"accuracy": 0.9})
    gate = Gate(floors=[Floor(0.85)], margins=[Margin(0.01)], when_baseline_fails=fallback)
    report = _decide(gate, alone)
    assert report.blessed is blessed
    assert report.baseline == "not evaluated"
    assert "no results of the blessed model" in report.reason


def test_the_blessed_model_itself_is_not_blessed_again() -> None:
    report = _decide(Gate(floors=[Floor(0.1)]), ALL, same_model=True)
    assert not report.blessed
    assert report.reason == (
        "The candidate is the blessed model itself: there is nothing new to push."
    )


def test_an_evaluation_without_examples_blesses_nothing() -> None:
    gate = Gate(margins=[Margin(0.5)])
    assert not _decide(gate, has_baseline=False).blessed
    empty = ComparedSlice("all examples", examples=0, candidate={"accuracy": float("nan")})
    assert "no examples" in _decide(gate, empty).reason


def test_unknown_slices_and_metrics_are_errors_that_list_the_known_ones() -> None:
    with pytest.raises(ConfigError, match="all examples, form 1, form 3"):
        _decide(Gate(must_not_regress=["colour red"]), ALL, SMALL, LARGE)
    gate = Gate(floors=[Floor(0.5, metric="auc")], metrics={"auc": "higher"})
    with pytest.raises(ConfigError, match="a metric of the evaluation: accuracy"):
        _decide(gate, ALL)


def test_a_value_that_is_absent_today_is_undecided() -> None:
    report = _decide(Gate(must_not_regress=["form 7"]), ALL, SMALL)
    assert report.blessed
    assert _line(report, "form 7").verdict == "undecided"
    assert "no examples" in _line(report, "form 7").reason


def test_so_is_a_value_that_no_example_is_annotated_with() -> None:
    annotated = dataclasses.replace(_slice(*SMALL), columns=("evaluation_slices",))
    report = _decide(Gate(must_not_regress=["form 7"]), ALL, annotated)
    assert _line(report, "form 7").verdict == "undecided"
    with pytest.raises(ConfigError, match=r"all examples, form 1, form \*"):
        _decide(Gate(must_not_regress=["size 7"]), ALL, annotated)


def _means(candidate: float, baseline: float, variance: float = 0.04) -> ComparedSlice:
    return ComparedSlice(
        "all examples",
        (),
        400,
        {"loss": candidate},
        {"loss": baseline},
        sums={"loss": MeasureSums(400, candidate, 0.25, baseline, variance)},
    )


def test_less_may_be_better() -> None:
    gate = Gate(
        floors=[Floor(0.5, metric="loss")],
        margins=[Margin(0.05, metric="loss")],
        metrics={"loss": "lower"},
    )
    better = _decide(gate, _means(0.4, 0.45))
    assert {line.verdict for line in better.lines} == {"passed"}
    assert {line.method for line in better.lines} == {"t", "paired t"}
    assert better.lines[0].threshold == "at most 0.5"
    worse = _decide(gate, _means(0.7, 0.45))
    assert {line.verdict for line in worse.lines} == {"refused"}


@pytest.mark.parametrize("name", ["nan", "inf"])
def test_losses_that_are_not_finite_are_refused(name: str) -> None:
    gate = Gate(margins=[Margin(0.05, metric="loss")], metrics={"loss": "lower"})
    report = _decide(gate, _means(float(name), 0.45, float("nan")))
    assert "not a finite number" in report.reason
    skipped = _decide(gate, _means(0.45, float(name), float("nan")))
    assert _line(skipped, "all examples").verdict == "skipped"


def _auc(difference: Mapping[str, Estimate], own: Mapping[str, Estimate]) -> ComparedSlice:
    return ComparedSlice(
        "all examples", (), 500, {"auc": 0.90}, {"auc": 0.95}, estimates=own, differences=difference
    )


def test_metrics_of_all_examples_use_the_standard_error_of_tfma() -> None:
    gate = Gate(
        floors=[Floor(0.85, metric="auc")],
        margins=[Margin(0.01, metric="auc")],
        metrics={"auc": "higher"},
    )
    own = {"auc": Estimate(0.9, 0.02, 19)}
    proven = _decide(gate, _auc({"auc": Estimate(-0.05, 0.01, 19)}, own))
    assert [(line.verdict, line.method) for line in proven.lines] == [
        ("refused", "TFMA interval, paired t"),
        ("passed", "TFMA interval, t"),
    ]
    assert proven.lines[0].p_value == pytest.approx(stats.t.cdf(-4, 19))
    noisy = _decide(gate, _auc({"auc": Estimate(-0.05, 0.05, 19)}, own))
    assert noisy.blessed
    bare = _decide(gate, _auc({}, {}))
    assert not bare.blessed
    assert "by its bare value: the evaluation has no standard error of it" in bare.reason


def test_the_number_of_examples_that_would_decide() -> None:
    # 80 % power for a one-sided test of 5 % needs 2.486 standard errors.
    needed = examples_needed(100, 0.9, stats.norm.sf(1.243), 0.001, 0.05)
    assert needed == pytest.approx(400, abs=1)
    assert examples_needed(100, 0.5, 0.5, 0.05, 0.05) is None


SIZES = np.round(np.geomspace(20, 5_000, 50)).astype(int)


def _differing(rng: np.random.Generator, name: str, n: int, loss: float = 0.0) -> ComparedSlice:
    """Returns a slice on which 10 % of the answers of two models with 90 % differ."""
    won, lost, both = 0.05 - loss / 2, 0.05 + loss / 2, 0.85
    cells = rng.multinomial(n, [both, won, lost, 1 - both - won - lost])
    return _slice(name, *map(int, cells))


@pytest.mark.parametrize("margins", [[Margin(0, "*")], [Margin(0), Margin(0.02, "*")]])
def test_equal_models_are_refused_at_the_nominal_rate_at_most(margins: list[Margin]) -> None:
    rng = np.random.default_rng(0)
    runs, gate = 60, Gate(margins=margins)
    vetoes = 0
    for _ in range(runs):
        slices = [_differing(rng, f"size {i}", n) for i, n in enumerate(SIZES)]
        vetoes += not _decide(gate, ALL, *slices).blessed
    assert stats.binomtest(vetoes, runs, 0.05, alternative="greater").pvalue > 0.001


def test_a_loss_of_two_points_in_a_large_slice_is_caught() -> None:
    rng = np.random.default_rng(1)
    gate = Gate(margins=[Margin(0, "*")])
    caught = 0
    for _ in range(30):
        slices = [_differing(rng, f"size {i}", n) for i, n in enumerate(SIZES[:-1])]
        report = _decide(gate, ALL, *slices, _differing(rng, "size 49", 5_000, 0.02))
        caught += any(line.slice == "size 49" for line in report.deciding)
    assert caught >= 20
