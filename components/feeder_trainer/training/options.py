"""How a training runs, apart from what it is fed and where."""

from collections.abc import Mapping
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_integer
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options of the training loop.

    Args:
        max_micro_batch_size: Largest number of examples that go through the model at once. A
            larger global batch is cut into micro-batches whose gradients are added up. ``None``:
            no limit, until the device runs out of memory; it is halved then.
        class_weight: Weight of each class in the loss, by its integer label.
        steps_per_execution: Steps in a compiled call. ``None``: about half a second of them.
            Callbacks with a hook for every batch always get one step a call.
        probe: Measure now and then what feed and model could do alone, to tell which holds the
            training back; takes at most 5 % of the time.
        checkpoint_every_s: Seconds between two checkpoints.
        checkpoint_every_examples: Examples between two checkpoints, instead of the former.
        checkpoint_dir: Folder of the checkpoints; ``None``: beside the outputs of the component.
        keep_checkpoints: Number of checkpoints kept, the newest ones.
        deterministic: Use deterministic operations only; the same seed then gives the same
            weights to the last bit, restarts included. Slower on some devices.
        give_up: Stop where ``base_model`` cannot be come up to any more; ``None``: never.

    Raises:
        ConfigError: A value is out of range.
    """

    max_micro_batch_size: int | None = None
    class_weight: Mapping[int, float] | None = None
    steps_per_execution: int | None = None
    probe: bool = True
    checkpoint_every_s: float = 60.0
    checkpoint_every_examples: int | None = None
    checkpoint_dir: str | None = None
    keep_checkpoints: int = 2
    deterministic: bool = False
    give_up: BaselineEarlyStopping | None = None

    def __post_init__(self) -> None:
        for name in ("max_micro_batch_size", "steps_per_execution", "checkpoint_every_examples"):
            value = getattr(self, name)
            if value is not None and (not is_integer(value) or value < 1):
                raise ConfigError(
                    f"loop {name}", received=value, expected="an integer of 1 or more, or None"
                )
        if not is_integer(self.keep_checkpoints) or self.keep_checkpoints < 1:
            raise ConfigError(
                "loop keep_checkpoints",
                received=self.keep_checkpoints,
                expected="an integer of 1 or more",
            )
        if not self.checkpoint_every_s > 0:
            raise ConfigError(
                "loop checkpoint_every_s",
                received=self.checkpoint_every_s,
                expected="a number of seconds above 0",
            )
        if isinstance(self.give_up, Mapping):  # As JSON has it.
            object.__setattr__(self, "give_up", BaselineEarlyStopping(**self.give_up))
        if self.give_up is not None and not isinstance(self.give_up, BaselineEarlyStopping):
            raise ConfigError(
                "loop give_up", received=self.give_up, expected="a BaselineEarlyStopping"
            )
        if self.class_weight is not None:
            # JSON makes text of the labels.
            weights = {int(label): float(w) for label, w in self.class_weight.items()}
            if not weights or min(weights.values()) < 0 or min(weights) < 0:
                raise ConfigError(
                    "loop class_weight",
                    received=dict(self.class_weight),
                    expected="labels and weights of 0 or more",
                )
            object.__setattr__(self, "class_weight", weights)
