"""Verdicts about drift: right when nothing changed, and when something did."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from tests.components.slice_gen.measured import measured
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.drift import DriftOptions, compare_statistics
from tfx_feeder.schemas.statistics import SplitStatistics

DEFAULT = DriftOptions()
TINY = DriftOptions(l_infinity=1e-9, jensen_shannon=1e-9)


def table(rng: np.random.Generator, size: int) -> dict[str, np.ndarray]:
    return {
        "normal": rng.normal(size=size),
        "skewed": np.exp(1.5 * rng.normal(size=size)),
        "amount": np.where(rng.random(size) < 0.6, 0.0, rng.gamma(2.0, 50.0, size)),
        "label": rng.integers(0, 10, size),
        "visits": rng.poisson(8, size),
        "rating": rng.integers(1, 6, size).astype(float),
        "age": rng.integers(17, 90, size),
        "color": rng.choice(["red", "green", "blue"], size, p=[0.6, 0.3, 0.1]),
        "town": rng.zipf(1.6, size).clip(max=300).astype(str),
        "maybe": np.where(rng.random(size) < 0.2, "", "yes").astype(str),
        "reading": np.where(rng.random(size) < 0.1, np.nan, rng.normal(size=size)),
    }


def rows(report, aspect="values"):
    return {row.feature: row for row in report.features if row.aspect == aspect}


def compared(current, baseline, options=DEFAULT):
    return compare_statistics(measured(current), measured(baseline), options)


# Nothing changed.


@pytest.mark.parametrize(("small", "large"), [(40, 2000), (1000, 1000)])
def test_splits_of_the_same_data_alarm_at_the_nominal_rate(small, large):
    rng = np.random.default_rng(small)
    repetitions = 200
    alarms, below, tests = 0, {}, 0
    for _ in range(repetitions):
        whole = table(rng, small + large)
        first = {name: values[:small] for name, values in whole.items()}
        rest = {name: values[small:] for name, values in whole.items()}
        report = compared(first, rest, TINY)
        alarms += any(row.verdict == "drift" for row in report.features)
        for row in report.features:
            if row.p_value is not None:
                tests += 1
                key = (row.feature, row.aspect)
                below[key] = below.get(key, 0) + (row.p_value < 0.05)
    # Upper limits of a binomial count at the nominal rate that are exceeded once in 10,000.
    limit = stats.binom.isf(1e-4, repetitions, 0.05)
    assert alarms <= limit
    assert {name: n for name, n in below.items() if n > limit} == {}
    assert 0.015 < sum(below.values()) / tests < 0.06


@given(st.permutations(range(60)))
@settings(max_examples=10, deadline=None)
def test_the_order_of_examples_does_not_matter(order):
    rng = np.random.default_rng(1)
    current, baseline = table(rng, 60), table(rng, 80)
    shuffled = {name: values[list(order)] for name, values in current.items()}
    assert rows(compared(shuffled, baseline)) == rows(compared(current, baseline))


@given(st.integers(0, 10**6), st.integers(1, 300))
@settings(max_examples=10, deadline=None)
def test_equal_data_do_not_differ(seed, size):
    data = table(np.random.default_rng(seed), size)
    for row in compared(data, data, TINY).features:
        assert row.verdict != "drift"
        if row.p_value is not None:
            assert row.p_value == pytest.approx(1)
            assert row.distance == pytest.approx(0, abs=1e-9)


@given(st.integers(0, 10**6))
@settings(max_examples=10, deadline=None)
def test_swapping_both_sides_changes_no_p_value(seed):
    rng = np.random.default_rng(seed)
    one, other = table(rng, 200), table(rng, 300)
    there, back = rows(compared(one, other)), rows(compared(other, one))
    for name, row in there.items():
        assert row.p_value == pytest.approx(back[name].p_value, abs=1e-9)
        assert row.noise_floor == pytest.approx(back[name].noise_floor, abs=1e-9)


def test_noise_floors_are_what_chance_gives():
    rng = np.random.default_rng(3)
    shares = rng.dirichlet(np.ones(8))
    n1, n2 = 300, 2000
    found: dict[str, list[tuple[float, float]]] = {"c": [], "x": []}
    for _ in range(300):
        one, other = (
            {"c": rng.choice(list("abcdefgh"), n, p=shares), "x": rng.uniform(size=n)}
            for n in (n1, n2)
        )
        for name, row in rows(compared(one, other)).items():
            found[name].append((row.distance, row.noise_floor))
    distances, floors = (np.mean(column) for column in zip(*found["c"], strict=True))
    # The bound for independent differences exceeds the expected maximum by little.
    assert distances <= floors <= 1.15 * distances
    distances, floors = (np.mean(column) for column in zip(*found["x"], strict=True))
    assert floors == pytest.approx(distances, rel=0.15)


def test_a_bare_threshold_would_have_fired():
    rng = np.random.default_rng(0)
    report = compared({"x": rng.normal(size=15)}, {"x": rng.normal(size=5000)})
    [row] = report.features
    assert row.distance > 0.1
    assert row.verdict == "no drift"
    assert "by chance" in row.reason


def test_a_real_difference_that_is_too_small_is_told():
    rng = np.random.default_rng(0)
    report = compared(
        {"x": rng.normal(0.03, size=100_000)}, {"x": rng.normal(size=100_000)}, DriftOptions()
    )
    [row] = report.features
    assert row.verdict == "no drift"
    assert "too small to matter" in row.reason


# Something changed.


@pytest.mark.parametrize(
    ("name", "change"),
    [
        ("normal", lambda v: v + 0.4),
        ("skewed", lambda v: v * 1.7),
        ("amount", lambda v: np.where(np.arange(len(v)) % 2 == 0, 0.0, v)),
        ("label", lambda v: np.where(v == 9, 0, v)),
        ("visits", lambda v: v + 2),
        ("rating", lambda v: np.maximum(v, 2)),
        ("age", lambda v: np.minimum(v + 9, 89)),
        ("color", lambda v: np.where(v == "blue", "red", v)),
        ("town", lambda v: np.where(v == "2", "1", v)),
        ("reading", lambda v: v * 2),
    ],
)
def test_what_changed_is_found_and_nothing_else(name, change):
    rng = np.random.default_rng(5)
    current, baseline = table(rng, 1500), table(rng, 3000)
    report = compared(current | {name: change(current[name])}, baseline)
    assert [row.feature for row in report.drifted] == [name]
    [row] = report.drifted
    assert row.adjusted_p_value < 0.05
    assert row.distance > row.noise_floor + row.threshold
    assert report.verdict == "drift"


def test_a_species_that_is_gone_is_named():
    rng = np.random.default_rng(2)
    species = rng.choice(["Adelie", "Gentoo", "Chinstrap"], 344, p=[0.44, 0.36, 0.2])
    current = species[species != "Chinstrap"]
    [row] = compared({"species": current}, {"species": species}).features
    assert row.verdict == "drift"
    assert "absent in the current data: 'Chinstrap'" in row.reason


def test_a_rare_class_that_is_gone_is_drift_whatever_the_distance():
    classes = np.repeat(["a", "b", "c"], [4950, 4950, 100])
    report = compared({"label": classes[:9900]}, {"label": classes})
    [row] = report.drifted
    assert row.distance < 0.02
    assert "absent in the current data: 'c' (1.0%)" in row.reason
    # By chance, as among few examples, it is not.
    few = np.repeat(["a", "b"], 20)
    assert compared({"label": few}, {"label": classes}).drifted == ()


def test_more_missing_values_are_drift():
    values = np.random.default_rng(1).normal(size=2000)
    some = np.where(np.arange(2000) % 4 == 0, np.nan, values)
    report = compared({"x": some}, {"x": values})
    [row] = report.drifted
    assert (row.aspect, row.current_examples) == ("presence", 2000)
    assert row.distance == pytest.approx(0.25)
    assert rows(report)["x"].current_examples == 1500


def test_features_that_one_side_lacks_are_counted_and_no_drift():
    x = np.arange(100.0)
    report = compared({"x": x, "new": x, "gone": np.full(100, np.nan)}, {"x": x, "gone": x})
    assert sorted(report.missing) == ["gone", "new"]
    assert rows(report)["gone"].reason == "missing in the current data"
    assert rows(report)["new"].reason == "absent in the baseline"
    assert report.verdict == "no drift"


def test_constants_that_differ_are_drift():
    three, four = np.full(200, 3), np.full(200, 4)
    assert compared({"x": three}, {"x": four}).verdict == "drift"
    assert compared({"x": three + 0.5}, {"x": four + 0.25}).verdict == "drift"
    assert compared({"x": three}, {"x": three}).verdict == "not tested"


def test_lists_that_are_cut_off_do_not_make_values_absent():
    towns = np.repeat([f"t{i}" for i in range(40)], 100)
    whole = measured({"town": towns})

    def cut(size: int) -> SplitStatistics:
        feature = whole.features[0]
        total = sum(share for _, share in feature.fractions[:size])
        kept = tuple((name, share / total) for name, share in feature.fractions[:size])
        counted = len(towns) * total
        short = dataclasses.replace(feature, fractions=kept, counted=counted)
        return dataclasses.replace(whole, features=(short,))

    [row] = compare_statistics(cut(30), whole).features
    assert row.p_value == pytest.approx(1)
    assert "absent" not in row.reason


def test_several_values_of_an_example_count_once():
    tags = np.repeat(["a", "b"], [60, 40])
    one = measured({"tag": tags})
    other = measured({"tag": np.repeat(["a", "b"], [40, 60])})
    p_value = rows(compare_statistics(one, other))["tag"].p_value

    def ten_each(side: SplitStatistics) -> SplitStatistics:
        feature = dataclasses.replace(side.features[0], values=1000, counted=1000)
        return dataclasses.replace(side, features=(feature,))

    [row] = compare_statistics(ten_each(one), ten_each(other)).features
    assert row.p_value == p_value


def test_an_empty_side_is_told():
    x = measured({"x": np.arange(10.0)})
    report = compare_statistics(SplitStatistics("eval", 0, ()), x)
    assert report.verdict == "not tested"
    assert report.features[0].reason == "the current data has no examples"


def test_features_can_be_chosen_and_left_out():
    rng = np.random.default_rng(0)
    one, other = table(rng, 100), table(rng, 100)
    chosen = compared(one, other, DriftOptions(features=("age", "color")))
    assert set(rows(chosen)) == {"age", "color"}
    assert "age" not in rows(compared(one, other, DriftOptions(excluded=("age",))))


@pytest.mark.parametrize("name", ["l_infinity", "jensen_shannon", "error_rate", "min_class"])
def test_options_out_of_range_are_refused(name):
    with pytest.raises(ConfigError, match=name):
        DriftOptions(**{name: 0})


def test_the_report_says_what_decided(tmp_path: Path):
    rng = np.random.default_rng(0)
    [row] = compared({"x": rng.normal(1, size=500)}, {"x": rng.normal(size=500)}).features
    assert row.reason.startswith("Jensen–Shannon 0.")
    assert "above the noise, limit 0.01; p = " in row.reason
