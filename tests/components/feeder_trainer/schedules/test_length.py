"""Lengths: text round trips and rejected values."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_integer
from tfx_feeder.components.feeder_trainer.schedules.length import MAX_EPOCHS, Length

lengths = st.builds(Length, st.integers(1, MAX_EPOCHS), st.sampled_from(["ep", "steps", "ex"]))


@given(lengths)
def test_text_round_trip_is_exact(length: Length) -> None:
    assert Length.from_value(str(length)) == length
    assert Length.from_value(length) is length


@given(st.integers(1, MAX_EPOCHS))
def test_a_bare_number_counts_epochs(amount: int) -> None:
    assert Length.from_value(amount) == Length.from_value(str(amount)) == Length(amount, "ep")


@given(lengths, st.integers(1, 512), st.integers(1, 10**6))
def test_examples_of_each_unit(length: Length, batch_size: int, epoch_examples: int) -> None:
    factor = {"ep": epoch_examples, "steps": batch_size, "ex": 1}[length.unit]

    examples = length.in_examples(batch_size=batch_size, epoch_examples=epoch_examples)

    assert examples == length.amount * factor


@pytest.mark.parametrize(
    "value",
    [
        0,
        -1,
        10**9,
        -(10**400),
        "9" * 20 + "ex",
        "0ep",
        "-5ep",
        "10 ep",
        "10epochs",
        "ep",
        "",
        "1.5ep",
        1.5,
        True,
        None,
        [10],
    ],
)
def test_other_values_are_rejected(value: object) -> None:
    with pytest.raises(ConfigError, match=r"^length: expected") as caught:
        Length.from_value(value)  # type: ignore[arg-type]

    assert "Received: " in str(caught.value)


def test_an_unknown_unit_is_rejected() -> None:
    with pytest.raises(ConfigError, match=r"one of the units .*Received: 'batches'"):
        Length(3, "batches")


@pytest.mark.parametrize(("value", "whole"), [(3, True), (True, False), (3.0, False), ("3", False)])
def test_is_integer(value: object, whole: bool) -> None:
    assert is_integer(value) is whole
