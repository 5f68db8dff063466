"""Options of the gate, and the slices they refer to."""

from typing import Any

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.eval_gate.gate import (
    Floor,
    Gate,
    Margin,
    check_slices_exist,
    matches,
    matches_name,
)

CONFIG = {
    "slicingSpecs": [
        {},
        {"featureKeys": ["form"]},
        {"featureKeys": ["form", "digit"]},
        {"featureKeys": ["size"], "featureValues": {"kind": "new"}},
    ]
}


def test_a_gate_without_thresholds_is_refused() -> None:
    with pytest.raises(ConfigError, match="at least one of floors, margins and must_not_regress"):
        Gate(min_examples=30)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"floors": [Floor(0.9, metric="auc")]}, "one of the gate's metrics: accuracy"),
        ({"must_not_regress": "form 3"}, "a list of slice names"),
        ({"must_not_regress": [""]}, "a name that is not empty"),
        ({"error_rate": 0}, "a number between 0 and 1"),
        ({"error_rate": 5}, "a number between 0 and 1"),
        ({"min_examples": -1}, "an integer of 0 or more"),
        ({"when_undecided": "maybe"}, "one of pass, refuse"),
        ({"when_baseline_fails": "pass"}, "one of floors, refuse"),
        ({"correction": "bonferroni"}, "one of holm, benjamini_hochberg"),
        ({"metrics": {"accuracy": "up"}}, "one of higher, lower"),
        ({"metrics": {}}, "at least one metric"),
    ],
)
def test_invalid_options(options: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message):
        Gate(**{"margins": [Margin(0.1)], **options})


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf"), True, "0.1"])
def test_margins_are_numbers(value: Any) -> None:
    with pytest.raises(ConfigError, match="margin value"):
        Margin(value)


@pytest.mark.parametrize("options", [{"value": None}, {"value": float("nan")}, {"origin": "found"}])
def test_invalid_floors(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="floor"):
        Floor(**{"value": 0.5, **options})


def test_the_options_survive_as_json() -> None:
    gate = Gate(
        floors=[Floor(0.1), Floor(2, "size *", "loss", "declared")],
        margins=(Margin(0.02, "*"),),
        must_not_regress=["form 3"],
        metrics={"accuracy": "higher", "loss": "lower"},
        when_undecided="refuse",
        correction="benjamini_hochberg",
    )
    assert Gate.from_dict(gate.to_dict()) == gate
    assert [(m.value, m.slices, m.metric) for m in gate.all_margins()] == [
        (0, "form 3", "accuracy"),
        (0, "form 3", "loss"),
        (0.02, "*", "accuracy"),
    ]


def test_names_with_brackets_are_no_patterns() -> None:
    assert matches_name("brightness [0.2, 0.4)", "brightness [0.2, 0.4)")
    assert matches_name("brightness [*", "brightness [0.2, 0.4)")
    assert matches_name("*", "form 3")
    assert not matches_name("*", "all examples")
    assert matches_name("all examples", "all examples")
    assert not matches_name("form *", "digit 5, form 3")
    assert matches(Floor(0.5, "*", origin="proposed"), "form 3", "proposed")
    assert not matches(Floor(0.5, "*", origin="proposed"), "form 3", "declared")


@pytest.mark.parametrize(
    "name",
    ["all examples", "*", "form 3", "form *", "digit 5, form 3", "digit 5, *", "kind new, size 7"],
)
def test_slices_that_the_evaluator_computes(name: str) -> None:
    check_slices_exist(Gate(margins=[Margin(0.1, name)]), CONFIG)


@pytest.mark.parametrize("name", ["from 3", "colour *", "kind old, size 7", "size 7"])
def test_slices_that_it_does_not(name: str) -> None:
    with pytest.raises(ConfigError, match=r"form \*, digit \*, form \*, kind new, size \*"):
        check_slices_exist(Gate(must_not_regress=[name]), CONFIG)


def test_annotated_slices_are_known_at_run_time_only() -> None:
    config = {"slicing_specs": [{}, {"feature_keys": ["evaluation_slices"]}]}
    check_slices_exist(Gate(must_not_regress=["anything 3"]), config)
    check_slices_exist(Gate(must_not_regress=["a"]), {"slicingSpecs": [{"sliceKeysSql": "..."}]})
