"""The kind of optimizer of a policy is that of the model."""

import keras
import pytest

from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import optimizer_mismatch


@pytest.mark.parametrize(
    ("kind", "optimizer", "fits"),
    [
        ("sgd", keras.optimizers.SGD, True),
        ("sgd", keras.optimizers.AdamW, False),
        ("adam", keras.optimizers.AdamW, True),
        ("adam", keras.optimizers.SGD, False),
        ("sgd", keras.optimizers.Ftrl, True),
    ],
)
def test_a_mismatch_is_named(kind: str, optimizer: type, fits: bool) -> None:
    warning = optimizer_mismatch(kind, [each.__name__ for each in optimizer.__mro__])

    assert (warning is None) == fits
    if warning:
        assert f"optimizer={kind}, but the model is compiled with {optimizer.__name__}" in warning
