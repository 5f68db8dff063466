"""Slices that carry a drift: the values that became more frequent, and no others."""

import numpy as np
import pytest

from tests.components.slice_gen.measured import measured
from tfx_feeder.components.slice_gen.carriers import carriers
from tfx_feeder.components.slice_gen.drift import compare_statistics
from tfx_feeder.components.slice_gen.encoders import make_encoders
from tfx_feeder.components.slice_gen.options import SliceGenOptions
from tfx_feeder.schemas.slices import Evidence, slice_name

SIZE = 2000


def carried(current, baseline, **options) -> dict[str, Evidence]:
    now, before = measured(current), measured(baseline)
    encoders = make_encoders(now, SliceGenOptions(**options), before).encoders
    found = carriers(compare_statistics(now, before), now, before, encoders)
    return {slice_name(predicate): evidence for predicate, evidence in found.items()}


def categories(rng: np.random.Generator, **shares: float) -> np.ndarray:
    return rng.choice(list(shares), SIZE, p=list(shares.values()))


def test_values_that_grew_carry_the_drift_of_a_category() -> None:
    rng = np.random.default_rng(0)
    before = {"city": categories(rng, Rome=0.5, Oslo=0.4, Bonn=0.1)}
    now = {"city": categories(rng, Rome=0.3, Oslo=0.4, Bonn=0.29, Kiel=0.01)}
    found = carried(now, before)
    assert list(found) == ["city Bonn", "city Kiel"]
    evidence = found["city Bonn"]
    assert evidence.effect == pytest.approx(0.19, abs=0.03)
    assert evidence.low < evidence.effect < evidence.high
    assert evidence.high - evidence.low == pytest.approx(2 * 1.96 * 0.0122, rel=0.1)
    assert evidence.examples == (now["city"] == "Bonn").sum()
    # The new value is below the threshold.
    assert found["city Kiel"].elsewhere == 0


def test_integers_are_counted_by_value_and_other_numbers_by_interval() -> None:
    rng = np.random.default_rng(1)
    before = {"form": rng.integers(0, 4, SIZE), "age": rng.normal(40, 10, SIZE)}
    now = {"form": rng.integers(0, 4, SIZE), "age": rng.normal(45, 10, SIZE)}
    now["form"][:600] = 3
    found = carried(now, before, boundaries={"age": (20, 50, 60)})
    assert list(found) == ["age [50, 60)", "age [60, inf)", "form 3"]
    assert found["form 3"].value == pytest.approx((now["form"] == 3).mean(), abs=1e-9)
    for name, low, high in (("age [50, 60)", 50, 60), ("age [60, inf)", 60, np.inf)):
        for share, table in ((found[name].value, now), (found[name].elsewhere, before)):
            exact = ((table["age"] >= low) & (table["age"] < high)).mean()
            assert share == pytest.approx(exact, abs=0.015)


def test_missing_values_carry_the_drift_of_presence() -> None:
    rng = np.random.default_rng(2)
    readings = rng.normal(size=(2, SIZE))
    readings[0, :400] = np.nan
    found = carried({"reading": readings[0]}, {"reading": readings[1]})
    assert list(found) == ["reading (missing)"]
    assert found["reading (missing)"].effect == pytest.approx(0.2)


def test_nothing_carries_what_did_not_drift() -> None:
    rng = np.random.default_rng(3)
    tables = [
        {"city": categories(rng, Rome=0.5, Oslo=0.5), "age": rng.normal(size=SIZE)}
        for _ in range(2)
    ]
    assert carried(*tables) == {}


def test_a_feature_with_a_million_values_has_few_carriers() -> None:
    rng = np.random.default_rng(4)
    before = {"user": rng.integers(0, 10**6, SIZE).astype(str)}
    now = {"user": np.where(rng.random(SIZE) < 0.1, "robot", before["user"])}
    assert list(carried(now, before)) == ["user robot"]
