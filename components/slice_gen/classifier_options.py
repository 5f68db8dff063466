"""Options of the two-sample classifier test, apart from it, as it loads scikit-learn."""

from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_at_least

FEWEST = 20
"""Smallest number of examples of each side: fewer leave nothing to learn from."""


@dataclass(frozen=True, slots=True)
class ClassifierTestOptions:
    """Options of the test.

    Args:
        error_rate: Probability of a false alarm, 0 to 1, shared by both classifiers.
        min_auc: Area under the curve from which a difference matters, 0.5 to 1.
        components: Largest number of principal components that a classifier sees.
        max_examples: Largest number of examples of each side; more are sampled at random.
        clip: Largest ratio of the weight of an example to the mean weight, above 1.

    Raises:
        ConfigError: A value is out of range.
    """

    error_rate: float = 0.05
    min_auc: float = 0.55
    components: int = 20
    max_examples: int = 5000
    clip: float = 10.0

    def __post_init__(self) -> None:
        if not 0 < self.error_rate < 1:
            raise ConfigError("error_rate", received=self.error_rate, expected="between 0 and 1")
        if not 0.5 <= self.min_auc < 1:
            raise ConfigError("min_auc", received=self.min_auc, expected="0.5 or more, below 1")
        check_at_least("components", self.components, 1)
        check_at_least("max_examples", self.max_examples, FEWEST)
        if not self.clip > 1:
            raise ConfigError("clip", received=self.clip, expected="above 1")
