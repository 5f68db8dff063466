"""Options of the training loop."""

import dataclasses
import json
from collections.abc import Mapping
from dataclasses import dataclass

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import is_integer
from tfx_feeder.components.feeder_trainer.training.early_stopping import BaselineEarlyStopping


@dataclass(frozen=True, slots=True)
class TrainingOptions:
    """Options of the training loop.

    Args:
        max_micro_batch_size: Largest number of examples that pass through the model at once. A
            larger global batch is split into micro-batches whose gradients are accumulated. If
            ``None``, there is no limit until the device runs out of memory; then the micro-batch
            is halved.
        class_weight: Weight of each class in the loss, by its integer label.
        steps_per_execution: Steps per compiled call; ``None`` for about half a second of steps.
            Callbacks with a batch-level hook always get one step per call.
        probe: If True, the throughput of feed and model alone is measured for the bottleneck
            diagnosis; this takes at most 5 % of the time.
        checkpoint_every_s: Seconds between two checkpoints; more if they would take more than 5 %
            of the time.
        checkpoint_every_examples: Examples between two checkpoints; replaces
            ``checkpoint_every_s``.
        checkpoint_dir: Folder of the checkpoints, with a folder for each training; ``None`` for a
            folder beside the outputs of the component.
        keep_checkpoints: Number of the newest checkpoints to keep.
        deterministic: If True, only deterministic operations are used. The same seed then gives
            bit-identical weights, also after a restart, unless the model uses ``tf.random``, whose
            state is not in a checkpoint. Slower on some devices.
        early_stopping: Condition on which a run that can no longer match ``base_model`` is
            stopped; ``None`` to never stop it.

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
    early_stopping: BaselineEarlyStopping | None = None

    def to_json(self) -> str:
        """Returns the JSON document of an execution property.

        The key of ``early_stopping`` is that of release 0.1.0: the cache and the folder of
        checkpoints are keyed by this text.
        """
        values = dataclasses.asdict(self)
        values["give_up"] = values.pop("early_stopping")
        return json.dumps(values, sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> "TrainingOptions":
        """Returns the options that ``to_json`` wrote."""
        values = json.loads(text)
        values["early_stopping"] = values.pop("give_up", None)
        return cls(**values)

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
                expected="a number of seconds greater than 0",
            )
        if isinstance(self.early_stopping, Mapping):  # From JSON.
            early_stopping = BaselineEarlyStopping(**self.early_stopping)
            object.__setattr__(self, "early_stopping", early_stopping)
        if self.early_stopping is not None and not isinstance(
            self.early_stopping, BaselineEarlyStopping
        ):
            raise ConfigError(
                "loop early_stopping",
                received=self.early_stopping,
                expected="a BaselineEarlyStopping",
            )
        if self.class_weight is not None:
            # JSON turns labels into strings.
            weights = {int(label): float(w) for label, w in self.class_weight.items()}
            if not weights or min(weights.values()) < 0 or min(weights) < 0:
                raise ConfigError(
                    "loop class_weight",
                    received=dict(self.class_weight),
                    expected="labels and weights of 0 or more",
                )
            object.__setattr__(self, "class_weight", weights)
