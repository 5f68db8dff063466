"""Search for weak slices: planted slices, clean data, losses that are no 0 or 1."""

import numpy as np
import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.slice_gen.search import (
    Column,
    SliceSearchOptions,
    find_weak_slices,
)

EXAMPLES = 20_000
CARDINALITIES = (4, 5, 3, 8, 2, 6)
COLUMNS = tuple(
    Column(f"f{column}", tuple(f"v{value}" for value in range(cardinality)))
    for column, cardinality in enumerate(CARDINALITIES)
)


def _codes(seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return np.stack([rng.integers(1, number + 1, EXAMPLES) for number in CARDINALITIES])


def _errors(seed: int, rate: np.ndarray | float) -> np.ndarray:
    return (np.random.default_rng(seed).random(EXAMPLES) < rate).astype(float)


def _rate(codes: np.ndarray, planted: dict[int, int], effect: float) -> np.ndarray:
    inside = np.all([codes[column] == value for column, value in planted.items()], axis=0)
    return 0.1 + effect * inside


@pytest.mark.parametrize("planted", [{3: 2}, {1: 1, 3: 4}, {0: 2, 2: 1, 4: 1}])
def test_a_planted_slice_is_the_only_one_found(planted: dict[int, int]) -> None:
    codes = _codes(0)
    errors = _errors(1, _rate(codes, planted, 0.25))

    result = find_weak_slices(COLUMNS, codes, errors)

    (found,) = result.slices
    assert found.values == tuple((f"f{c}", f"v{v - 1}") for c, v in planted.items())
    assert found.p_value < 0.001
    assert found.estimate is not None
    assert found.estimate.low < 0.25 < found.estimate.high
    assert found.estimate.low > 0.05


def test_the_estimate_is_not_that_of_the_examples_searched() -> None:
    codes = _codes(2)
    result = find_weak_slices(COLUMNS, codes, _errors(3, _rate(codes, {3: 1}, 0.2)))

    (found,) = result.slices
    inside = int((codes[3] == 1).sum())
    assert found.estimate is not None
    assert found.examples + found.estimate.examples == inside
    assert found.examples == pytest.approx(0.8 * inside, rel=0.1)
    assert result.searched == pytest.approx(0.8 * EXAMPLES, rel=0.05)


def test_two_planted_slices_are_both_found() -> None:
    codes = _codes(4)
    rate = np.maximum(_rate(codes, {3: 1}, 0.3), _rate(codes, {0: 1, 1: 2}, 0.3))

    result = find_weak_slices(COLUMNS, codes, _errors(5, rate))

    assert {found.values for found in result.slices} == {
        (("f3", "v0"),),
        (("f0", "v0"), ("f1", "v1")),
    }


def test_nothing_is_found_in_clean_data() -> None:
    for seed in range(10):
        assert not find_weak_slices(COLUMNS, _codes(seed), _errors(seed + 100, 0.1)).slices


def test_a_difference_within_the_margin_is_not_reported() -> None:
    codes = _codes(6)
    errors = _errors(7, _rate(codes, {4: 1}, 0.04))

    assert find_weak_slices(COLUMNS, codes, errors, SliceSearchOptions(margin=0.0)).slices
    assert not find_weak_slices(COLUMNS, codes, errors, SliceSearchOptions(margin=0.05)).slices


def test_losses_may_be_any_numbers() -> None:
    codes, rng = _codes(8), np.random.default_rng(9)
    inside = (codes[0] == 3) & (codes[1] == 2)
    loss = rng.exponential(size=EXAMPLES) * np.where(inside, 2.0, 1.0)

    (found,) = find_weak_slices(COLUMNS, codes, loss).slices

    assert found.values == (("f0", "v2"), ("f1", "v1"))
    assert found.estimate is not None
    assert found.estimate.low < 1.0 < found.estimate.high
    clean = find_weak_slices(COLUMNS, codes, rng.exponential(size=EXAMPLES))
    assert not clean.slices


def test_rare_values_and_small_slices_are_never_reported() -> None:
    codes = _codes(10)
    codes[3] = np.where(codes[3] == 5, 0, codes[3])
    errors = np.where(codes[3] == 0, 1.0, _errors(11, 0.1))

    assert not any(
        "f3" in dict(found.values) for found in find_weak_slices(COLUMNS, codes, errors).slices
    )
    few = SliceSearchOptions(min_examples=EXAMPLES)
    assert find_weak_slices(COLUMNS, codes, errors, few).tested == (0, 0, 0)


def test_the_length_of_conjunctions_is_limited() -> None:
    codes = _codes(12)
    errors = _errors(13, _rate(codes, {0: 1, 2: 1, 4: 1}, 0.5))
    for length in (1, 2, 3):
        options = SliceSearchOptions(max_conjunction=length)
        result = find_weak_slices(COLUMNS, codes, errors, options)
        assert len(result.tested) == length
        assert max(len(found.values) for found in result.slices) <= length


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("max_conjunction", 4),
        ("min_examples", 1),
        ("margin", -0.1),
        ("error_rate", 0.0),
        ("max_slices", 0),
        ("estimate_fraction", 1.0),
    ],
)
def test_options_out_of_range_are_refused(option: str, value: float) -> None:
    with pytest.raises(ConfigError, match=option):
        SliceSearchOptions(**{option: value})  # pyright: ignore[reportArgumentType]
