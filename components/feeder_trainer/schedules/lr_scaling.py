"""How the learning rate follows the batch size."""

EXPONENT_OF_RULE = {"none": 0.0, "sqrt": 0.5, "linear": 1.0}
"""Exponent of the growth of the batch, by the name of the rule."""

EXPONENT_OF_OPTIMIZER = {"sgd": EXPONENT_OF_RULE["linear"], "adam": EXPONENT_OF_RULE["sqrt"]}
"""Exponent that leaves the noise of an update as it is.

SGD: learning rate / batch size (Smith et al. 2018, "Don't Decay the Learning Rate, Increase the
Batch Size"). Adam, whose updates are normalised: learning rate / sqrt(batch size) (Meterez et al.
2025, "Seesaw: Accelerating Training by Balancing Learning Rate and Batch Size Scheduling").
"""
