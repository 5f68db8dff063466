"""The cheapest strategy within the budget is selected; only candidates that matter are profiled."""

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import Auto
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.schedules.time_model import (
    StepProfile,
    StepTime,
    TimePrediction,
)
from tfx_feeder.components.feeder_trainer.strategy_selection.budget import Budget
from tfx_feeder.components.feeder_trainer.strategy_selection.decision import (
    StrategyCandidate,
    StrategyChoice,
    profile_and_select,
    select_cheapest,
)

HOUR = 3600.0
SEGMENTS = list(Schedule.from_value("0.01:32x100 @1000").epoch_specs(num_examples=50_000))

# 100,000 steps. Values as measured on machines: two devices give 1.6 times the speed of one.
PROFILES = {
    "sequential": StepProfile(5.0, {32: StepTime(0.036, 0.0005, 50)}),
    "mirrored": StepProfile(20.0, {32: StepTime(0.0225, 0.0005, 50)}),
    "multi_worker": StepProfile(30.0, {32: StepTime(0.012, 0.0005, 50)}),
}
CANDIDATES = (
    StrategyCandidate("sequential", 1, ("GPU:0",)),
    StrategyCandidate("mirrored", 2, ("GPU:0", "GPU:1")),
    StrategyCandidate("multi_worker", 4, ("GPU:0", "GPU:1", "GPU:2", "GPU:3")),
)


class Profiling:
    """Returns prepared profiles and records the requested strategies."""

    def __init__(self, profiles=PROFILES):
        self.profiles, self.requested = profiles, []

    def __call__(self, candidate: StrategyCandidate) -> StepProfile:
        self.requested.append(candidate.strategy)
        profile = self.profiles[candidate.strategy]
        if isinstance(profile, Exception):
            raise profile
        return profile


def select_for(budget: Budget, profiling=None, candidates=CANDIDATES, **options) -> StrategyChoice:
    return profile_and_select(
        candidates, SEGMENTS, budget, profiling or Profiling(), lambda: 0.0, **options
    )


def statuses(choice: StrategyChoice) -> dict[str, str]:
    return {row.strategy: row.status for row in choice.rows}


def test_it_flips_to_a_distributed_strategy_as_the_budget_tightens() -> None:
    prices = {"GPU": 3.0, "multi_worker": 3.5}  # Machines with a network between them cost more.

    names = [
        select_for(Budget(hours * HOUR, None, prices)).selected.strategy
        for hours in (24, 1.1, 0.9, 0.5)
    ]

    assert names == ["sequential", "sequential", "mirrored", "multi_worker"]


def test_what_cannot_change_the_choice_is_not_profiled() -> None:
    profiling = Profiling()

    choice = select_for(Budget(2 * HOUR), profiling)

    assert profiling.requested == ["sequential"]
    assert statuses(choice) == {
        "sequential": "chosen",
        "mirrored": "not probed",
        "multi_worker": "not probed",
    }
    assert choice.warning == ""
    assert choice.rows[1].reason == (
        "even at perfect scaling 30m5s and a cost of 1, "
        "where sequential takes up to 1h3m and costs 1"
    )


def test_cheaper_devices_are_worth_a_probe_though_sequential_ends_in_time() -> None:
    profiling = Profiling()

    choice = select_for(Budget(2 * HOUR, None, {"sequential": 4.0, "mirrored": 1.0}), profiling)

    assert "mirrored" in profiling.requested
    assert choice.selected.strategy == "mirrored"
    assert choice.selected.cost == pytest.approx(2 * (20 + 2250) / 3600)


def test_devices_of_another_kind_have_no_bound() -> None:
    profiling = Profiling()
    candidates = (StrategyCandidate("sequential", 1, ("CPU:0",)), *CANDIDATES[1:])

    select_for(Budget(2 * HOUR, None, {"CPU": 0.1, "GPU": 3.0}), profiling, candidates)

    assert profiling.requested == ["sequential", "mirrored", "multi_worker"]


def test_the_cheapest_that_suffices_ends_the_profiling() -> None:
    profiling = Profiling()

    choice = select_for(Budget(0.9 * HOUR, None, {"GPU": 3.0, "multi_worker": 9.0}), profiling)

    assert profiling.requested == ["sequential", "mirrored"]
    assert statuses(choice) == {
        "sequential": "too slow",
        "mirrored": "chosen",
        "multi_worker": "not probed",
    }
    assert "up to 1h3m of 54m left, 9m5s too long" in choice.rows[0].reason


def test_where_none_suffices_the_fastest_is_taken_and_the_miss_is_told() -> None:
    choice = select_for(Budget(600.0))

    assert set(statuses(choice).values()) == {"too slow", "chosen"}
    assert choice.selected.strategy == "multi_worker"
    # 30 s of start and 100,000 steps of at most 12.6 ms: 1290 s.
    assert "multi_worker, the fastest" in choice.warning
    assert "the time to train of 10m by 11m30s" in choice.warning


def test_what_has_elapsed_counts() -> None:
    budget = Budget(1.5 * HOUR)

    late = profile_and_select(CANDIDATES, SEGMENTS, budget, Profiling(), lambda: 3000.0)

    assert select_for(budget).selected.strategy == "sequential"
    assert late.selected.strategy == "mirrored"
    assert "of 40m left, 23m5s too long" in late.rows[0].reason


def test_a_limit_of_cost_goes_before_time() -> None:
    one = select_for(Budget(0.9 * HOUR, max_cost=1.1))
    assert one.selected.strategy == "sequential"
    assert "the time to train of 54m" in one.warning

    none = select_for(Budget(0.9 * HOUR, max_cost=0.5))
    assert none.selected.strategy == "sequential"
    assert "the highest cost of 0.5" in none.warning
    assert "cheapest" in none.warning


def test_one_that_fails_is_ruled_out_with_its_reason() -> None:
    profiling = Profiling(
        {**PROFILES, "mirrored": ConfigError("x", received=1, expected="two GPUs")}
    )

    choice = select_for(Budget(0.9 * HOUR, None, {"GPU": 1.0}), profiling)

    assert statuses(choice)["mirrored"] == "cannot run"
    assert "two GPUs" in choice.rows[1].reason
    assert choice.selected.strategy == "multi_worker"


def test_a_failure_of_the_sequential_training_is_one_of_any_training() -> None:
    with pytest.raises(RuntimeError, match="in the model"):
        select_for(Budget(), Profiling({"sequential": RuntimeError("in the model")}))


def test_one_that_cannot_run_is_never_profiled() -> None:
    profiling = Profiling()
    no_cluster = dataclasses.replace(CANDIDATES[2], status="cannot run", reason="no cluster")

    choice = select_for(Budget(60.0), profiling, (*CANDIDATES[:2], no_cluster))

    assert profiling.requested == ["sequential", "mirrored"]
    assert choice.rows[2] == no_cluster


def test_none_can_run() -> None:
    with pytest.raises(ConfigError, match=r"at least one that can run here.*mirrored: no GPU"):
        select_cheapest(
            [StrategyCandidate("mirrored", 2, (), status="cannot run", reason="no GPU")], Budget()
        )


def test_without_the_sequential_one_all_are_profiled() -> None:
    profiling = Profiling()

    choice = select_for(Budget(), profiling, CANDIDATES[1:])

    assert sorted(profiling.requested) == ["mirrored", "multi_worker"]
    assert choice.selected.strategy == "mirrored"


def test_a_probe_of_an_earlier_run_says_so() -> None:
    reused = dataclasses.replace(PROFILES["sequential"], reused=True)

    choice = select_for(Budget(), Profiling({"sequential": reused}))

    assert choice.selected.reason.endswith("(profiled by an earlier run)")


def test_the_record_holds_everything() -> None:
    choice = select_for(Budget(0.9 * HOUR, None, {"GPU": 3.0, "multi_worker": 9.0}))
    sequential, mirrored, unprofiled = choice.to_rows()

    assert sequential.probe == PROFILES["sequential"].to_dict()
    assert (mirrored.verdict, mirrored.predicted_s) == ("chosen", pytest.approx(2270.0))
    assert (unprofiled.probe, unprofiled.cost) == (None, None)


def test_the_budget_is_that_of_the_strategy() -> None:
    strategy = Auto("1h30m", max_cost=7.0, device_cost_per_hour={"GPU": 2.0})

    assert Budget.from_strategy(strategy) == Budget(5400.0, 7.0, {"GPU": 2.0})
    assert Budget.from_strategy(Auto()).remaining_s == float("inf")


def test_prices_are_by_kind_or_by_strategy() -> None:
    budget = Budget(device_cost_per_hour={"GPU": 2.0, "multi_worker": 5.0})

    costs = [candidate.cost_of(HOUR, budget) for candidate in CANDIDATES]

    assert costs == [2.0, 4.0, 20.0]
    named = StrategyCandidate("sequential", 1, ("/job:worker/task:0/device:gpu:0",))
    assert named.cost_of(HOUR, budget) == 2.0
    assert StrategyCandidate("sequential", 1, ("CPU:0",)).cost_of(HOUR, budget) == 1.0


ranges = st.tuples(*[st.floats(0.1, 1e5)] * 3).map(sorted)
candidate_lists = (
    st.lists(
        st.tuples(st.sampled_from(sorted(STRATEGIES)), st.integers(1, 8), ranges, st.booleans()),
        min_size=1,
        max_size=6,
    )
    .map(
        lambda rows: [
            StrategyCandidate(name, count, ("CPU:0",) * count).with_prediction(
                None, TimePrediction(middle, low, high)
            )
            if can_run
            else StrategyCandidate(name, count, ("CPU:0",) * count, status="cannot run")
            for name, count, (low, middle, high), can_run in rows
        ]
    )
    .filter(lambda rows: any(row.predicted_s is not None for row in rows))
)
prices = st.dictionaries(st.sampled_from(["CPU", *STRATEGIES]), st.floats(0.0, 100.0))
limits = st.none() | st.floats(0.1, 1e5)


@given(candidates=candidate_lists, limit_s=limits, max_cost=limits, prices=prices)
def test_nothing_that_meets_the_budget_is_cheaper(candidates, limit_s, max_cost, prices):
    budget = Budget(limit_s, max_cost, prices)
    choice = select_cheapest(candidates, budget)
    meeting = [
        row
        for row in choice.rows
        if row.high_s is not None
        and row.high_s <= budget.remaining_s
        and (max_cost is None or row.cost <= max_cost)
    ]

    assert bool(meeting) == (not choice.warning)
    assert all(choice.selected.cost <= row.cost for row in meeting)
    assert not meeting or choice.selected in meeting
    assert [row.status for row in choice.rows].count("chosen") >= 1
    assert all(row.reason for row in choice.rows if row.predicted_s is not None)
    assert [row.strategy for row in choice.rows] == [c.strategy for c in candidates]


@given(
    candidates=candidate_lists,
    two=st.tuples(st.floats(0.1, 1e5), st.floats(0.1, 1e5)).map(sorted),
    max_cost=limits,
    prices=prices,
)
def test_less_time_never_means_a_longer_training(candidates, two, max_cost, prices):
    tight, loose = (
        select_cheapest(candidates, Budget(limit_s, max_cost, prices)).selected for limit_s in two
    )

    assert tight.high_s <= loose.high_s


step_times = st.builds(StepTime, st.floats(1e-4, 1.0), st.floats(0.0, 0.01), st.just(5))
any_profiles = st.fixed_dictionaries(
    {
        c.strategy: st.builds(
            lambda start, time: StepProfile(start, {32: time}), st.floats(5.0, 60.0), step_times
        )
        for c in CANDIDATES
    }
)


@given(profiles=any_profiles, limit_s=st.floats(1.0, 1e5), prices=prices, data=st.data())
def test_profiling_less_does_not_cost_more(profiles, limit_s, prices, data):
    """Where no strategy scales better than perfectly, the lazy choice is that among all."""
    base = profiles["sequential"]
    for candidate in CANDIDATES[1:]:
        profile = profiles[candidate.strategy]
        least = base.step_s[32].median_s / candidate.replicas
        slow = dataclasses.replace(
            profile.step_s[32], median_s=max(profile.step_s[32].median_s, least), spread_s=0.0
        )
        start_s = max(profile.start_s, base.start_s)
        profiles = {
            **profiles,
            candidate.strategy: dataclasses.replace(profile, start_s=start_s, step_s={32: slow}),
        }
    budget = Budget(limit_s, None, prices)

    lazy = select_for(budget, Profiling(profiles)).selected
    everything = select_for(budget, Profiling(profiles), CANDIDATES[1:])  # no bounds: all profiled
    alone = select_for(budget, Profiling(profiles), CANDIDATES[:1])
    best = select_cheapest([*everything.rows, *alone.rows], budget).selected

    assert lazy.cost == pytest.approx(best.cost)
