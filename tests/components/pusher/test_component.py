"""The gate that a rollback closes."""

import pytest
from tfx import v1 as tfx

from tfx_feeder.components.pusher.component import Executor, Pusher

_artifacts = tfx.types.standard_artifacts


@pytest.mark.parametrize(
    ("blessed", "withdrawn", "passes"), [(1, "", True), (0, "", False), (1, "it was wrong", False)]
)
def test_only_blessed_models_that_are_not_withdrawn_pass(blessed, withdrawn, passes):
    model, blessing = _artifacts.Model(), _artifacts.ModelBlessing()
    blessing.set_int_custom_property("blessed", blessed)
    if withdrawn:
        model.set_string_custom_property("withdrawn", withdrawn)
    inputs = {"model": [model], "model_blessing": [blessing]}
    assert Executor().CheckBlessing(inputs) is passes


def test_it_is_the_pusher_of_tfx_otherwise():
    assert Pusher.SPEC_CLASS is tfx.components.Pusher.SPEC_CLASS
