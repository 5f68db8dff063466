"""Scaling rules of the learning rate with the batch size."""

from collections.abc import Iterable

EXPONENT_OF_RULE = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}
"""Exponent of the batch size ratio, by name of the rule."""

EXPONENT_OF_OPTIMIZER = {"sgd": EXPONENT_OF_RULE["linear"], "adam": EXPONENT_OF_RULE["sqrt"]}
"""Exponent that preserves the noise of an update, by kind of optimizer.

SGD preserves learning rate / batch size (Smith et al. 2018, "Don't Decay the Learning Rate,
Increase the Batch Size"). Adam, which normalizes its updates, preserves learning rate / sqrt(batch
size) (Meterez et al. 2025, "Seesaw: Accelerating Training by Balancing Learning Rate and Batch Size
Scheduling").
"""

_NORMALIZING = {
    "Adam",
    "Adamax",
    "Nadam",
    "RMSprop",
    "Adagrad",
    "Adadelta",
    "Adafactor",
    "Lamb",
    "Lion",
}
"""Keras optimizers that normalize their updates; AdamW is an Adam."""


def optimizer_mismatch(optimizer: str, classes: Iterable[str]) -> str | None:
    """Returns a warning if the kind of optimizer of a policy is not that of the model.

    Args:
        optimizer: Kind of optimizer set in the policy, a key of ``EXPONENT_OF_OPTIMIZER``.
        classes: Names of the class of the model's optimizer and of its base classes.

    Example:
        >>> optimizer_mismatch("adam", ["AdamW", "Adam", "Optimizer"]) is None
        True
    """
    names = list(classes)
    expected = optimizer
    if "SGD" in names:
        expected = "sgd"
    elif _NORMALIZING & set(names):
        expected = "adam"
    if expected == optimizer:
        return None
    return (
        f"The schedule scales the learning rate for optimizer={optimizer}, but the model is "
        f"compiled with {names[0]}; set optimizer={expected}."
    )
