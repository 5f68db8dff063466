"""Errors say what is wrong with what, and how to mend it."""

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
