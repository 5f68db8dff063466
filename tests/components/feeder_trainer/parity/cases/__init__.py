"""Small models of the kinds that Keras's guides train, each with its own small data."""

from tests.components.feeder_trainer.parity.cases import (
    generative,
    losses,
    steps,
    structured,
    text,
    vision,
)
from tests.components.feeder_trainer.parity.cases.case import AVERAGED, EXAMPLES, VECTOR, Case

__all__ = ["AVERAGED", "CASES", "EXAMPLES", "VECTOR", "Case"]

CASES: dict[str, Case] = {
    **structured.CASES,
    **text.CASES,
    **vision.CASES,
    **generative.CASES,
    **losses.CASES,
    **steps.CASES,
}
