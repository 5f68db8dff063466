"""Errors say what is wrong with what, and how to mend it."""

import pickle

import pytest

from tfx_feeder.common.errors import ConfigError, DataError, FeederError


def test_config_error_says_argument_received_and_expected() -> None:
    error = ConfigError("batch_size", received="0", expected="an integer of 1 or more")

    assert str(error) == "batch_size: expected an integer of 1 or more. Received: '0'."


def test_config_error_ends_with_the_fix() -> None:
    error = ConfigError("schema", received=None, expected="a schema", fix="Pass schema=.")

    assert str(error).endswith("Received: None. Pass schema=.")
    assert (error.argument, error.received, error.expected, error.fix) == (
        "schema",
        None,
        "a schema",
        "Pass schema=.",
    )


@pytest.mark.parametrize("kind", [ConfigError, DataError])
def test_one_base_catches_every_error_of_the_suite(kind: type) -> None:
    assert issubclass(kind, FeederError)


def test_a_config_error_is_a_value_error() -> None:
    assert issubclass(ConfigError, ValueError)


def test_a_large_value_is_abbreviated() -> None:
    nested: list = ["x"]
    for _ in range(30):
        nested = [nested] * 9
    for value in (nested, "x" * 10**6, 10**5_000, {"a": [1] * 10**5}, list(range(10**6))):
        text = str(ConfigError("schedule", received=value, expected="y" * 10**6, fix="z" * 10**6))
        assert len(text) < 2_000
        assert text.startswith("schedule: expected yyy")


def test_small_values_are_shown_as_they_are() -> None:
    value = {"b": [1, (2, 3)], "a": "x" * 400, "c": None}
    assert repr(value) in str(ConfigError("a", received=value, expected="b"))


@pytest.mark.parametrize("kind", [ConfigError, DataError])
def test_names_of_files_cannot_control_the_terminal(kind: type) -> None:
    name = "a\x1b[2J\udce9 \x07ü"
    error = DataError(name) if kind is DataError else ConfigError(name, received=1, expected="b")
    assert "a\\x1b[2J\\udce9 \\x07ü" in str(error)
    assert str(pickle.loads(pickle.dumps(error))) == str(error)
