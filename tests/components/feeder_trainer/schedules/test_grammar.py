"""The one-line notation: meaning and error positions."""

import pytest

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.schedules.grammar import parse_schedule_text


@pytest.mark.parametrize(
    ("text", "phases", "steps_per_epoch"),
    [
        ("0.01:32x10", [(0.01, 32, "10ep")], None),
        (
            "0.01:32x10ep, 5e-3:64x2000steps @200",
            [(0.01, 32, "10ep"), (0.005, 64, "2000steps")],
            200,
        ),
        ("  .5 : 8 x 3 ex  ", [(0.5, 8, "3ex")], None),
        ("1.:1x1,2E+0:2x2", [(1.0, 1, "1ep"), (2.0, 2, "2ep")], None),
        ("0.01:32x10,\n 0.005:64x10\n@200", [(0.01, 32, "10ep"), (0.005, 64, "10ep")], 200),
    ],
)
def test_meaning(text: str, phases: list, steps_per_epoch: int | None) -> None:
    assert parse_schedule_text(text) == (phases, steps_per_epoch)


@pytest.mark.parametrize(
    ("text", "expected", "character"),
    [
        ("", "a learning rate", 1),
        ("fast:32x10", "a learning rate", 1),
        ("0.01;32x10", "':' between", 5),
        ("0.01:x10", "a batch size", 6),
        ("0.01:32*10", "'x' between", 8),
        ("0.01:32x", "a length", 9),
        ("0.01:32xten", "a length", 9),
        ("0.01:32x10epochs", "the end", 13),
        ("0.01:32x10,", "a learning rate", 12),
        ("0.01:32x10 0.005:64x10", "the end", 12),
        ("0.01:32x10 @", "the steps per epoch", 13),
        ("0.01:32x10 @200 @300", "the end", 17),
    ],
)
def test_an_error_points_at_the_character(text: str, expected: str, character: int) -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schedule_text(text)

    message = str(caught.value)
    *_, shown, pointer = message.split("\n")
    assert message.startswith("schedule: expected ")
    assert expected in message
    assert f"at character {character}." in message
    assert shown == f"  {text}"
    assert pointer == "  " + " " * (character - 1) + "^"


def test_an_error_on_a_later_line_shows_that_line() -> None:
    with pytest.raises(ConfigError) as caught:
        parse_schedule_text("0.01:32x10,\n0.005:64y10")

    assert str(caught.value).endswith("\n  0.005:64y10\n          ^")
