"""Policy that increases the batch size where the learning rate would decay."""

import bisect
import math
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among, check_at_least
from tfx_feeder.components.feeder_trainer.schedules.length import Length
from tfx_feeder.components.feeder_trainer.schedules.lr_decay import (
    LearningRateDecay,
    PiecewiseConstantDecay,
    decay_from_dict,
)
from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import EXPONENT_OF_OPTIMIZER
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import (
    Phase,
    Schedule,
    check_steps_per_epoch,
)

if TYPE_CHECKING:
    from typing_extensions import Self  # In the standard library since Python 3.11.

_SHORTEST_PHASE = 0.01
"""Fraction of the training; a decay toward 0 would otherwise end in one-step phases."""

_SAMPLES = 100
"""Largest number of steps from which the mean rate of a phase is computed."""

_TOLERANCE = 1e-5
"""Tolerance of the logarithm of a rate; schedules computed in float32 miss exact powers."""


@dataclass(frozen=True, slots=True)
class BatchSizeRamp(Policy):
    """Converts a decaying learning rate into phases of increasing batch size.

    A phase begins whenever the decay has divided the rate by another ``factor``. The batch size is
    then ``batch_size * factor**k``, and the rate is the mean of the decay over the phase times
    ``growth`` (SGD) or ``sqrt(growth)`` (Adam), where ``growth`` is the batch size relative to the
    first phase. With SGD, the mean of rate / batch size, to which the noise of the updates is
    proportional, therefore equals that of the decay in every phase (Smith et al. 2018, "Don't Decay
    the Learning Rate, Increase the Batch Size", section 2). With Adam and a factor of 2, each
    halving of the rate becomes a division by sqrt(2) and a doubling of the batch size (Meterez et
    al. 2025, "Seesaw"). Once the batch size reaches ``max_batch_size``, the rate decays again.

    Args:
        lr_schedule: ``LearningRateDecay``, ``PiecewiseConstantDecay``, or any non-increasing
            function of the step, including Keras's ``LearningRateSchedule``. A function is
            evaluated when the policy is created; its first value and its mean in each phase are
            stored.
        batch_size: Global batch size of the first phase, in examples; one step of ``lr_schedule``
            consumes that many examples.
        length: Length of the training at ``batch_size``. Larger batches take the same number of
            examples in fewer steps.
        max_batch_size: Largest global batch size in examples, rounded down to a multiple of
            ``batch_size``, so that phases end with a whole batch. The batch never exceeds the
            split.
        optimizer: ``"sgd"``, or ``"adam"`` for optimizers that normalize their updates.
        factor: Factor of the rate decay and the batch size increase per phase; 2 or more.
        steps_per_epoch: Number of steps per epoch; ``None`` for one pass over the data.

    Raises:
        ConfigError: If a value is out of range, the rate increases, or ``lr_schedule`` is a
            function and the number of steps is unknown.

    Example:
        >>> policy = BatchSizeRamp(
        ...     LearningRateDecay("exponential", 0.1, final=0.25), 32, "9ep", max_batch_size=64
        ... )
        >>> str(policy.schedule(num_examples=3200))
        '0.0721349:32x14400ex, 0.0721349:64x14400ex'
    """

    NAME: ClassVar[str] = "decay_to_batch"
    TEXT_OPTIONS: ClassVar[Mapping[str, str]] = {
        "max": "max_batch_size",
        "optimizer": "optimizer",
        "factor": "factor",
        "decay": "kind",
        "final": "final",
    }

    lr_schedule: LearningRateDecay | PiecewiseConstantDecay | Callable[[int], Any]
    batch_size: int
    length: Length
    max_batch_size: int
    optimizer: str = "sgd"
    factor: int = 2
    steps_per_epoch: int | None = None

    def __post_init__(self) -> None:
        check_at_least("batch_size", self.batch_size, 1)
        check_at_least("max_batch_size", self.max_batch_size, self.batch_size)
        check_among("optimizer", self.optimizer, EXPONENT_OF_OPTIMIZER)
        check_at_least("factor", self.factor, 2)
        check_steps_per_epoch(self.steps_per_epoch)
        object.__setattr__(self, "length", Length.from_value(self.length))
        decay = self.lr_schedule
        if isinstance(decay, Mapping):
            decay = decay_from_dict(decay)
        elif callable(decay):
            decay = self._tabulate(decay)
        if not isinstance(decay, (LearningRateDecay, PiecewiseConstantDecay)):
            raise ConfigError(
                "lr_schedule",
                received=decay,
                expected="a LearningRateDecay, a PiecewiseConstantDecay, or a function of the step",
            )
        object.__setattr__(self, "lr_schedule", decay)

    @classmethod
    def _from_parts(cls, start: Phase, named: dict[str, Any]) -> "Self":
        kind = named.pop("kind", "cosine")
        final = {"final": named.pop("final")} if "final" in named else {}
        decay = LearningRateDecay(kind, start.learning_rate, **final)
        return cls(decay, start.batch_size, start.length, **named)

    def schedule(self, num_examples: int) -> Schedule:
        """Returns the phases; see ``Policy``."""
        decay = self.lr_schedule
        assert isinstance(decay, (LearningRateDecay, PiecewiseConstantDecay))
        total = self._total_examples(num_examples)
        total_steps = math.ceil(total / self.batch_size)

        def rate(step: int) -> float:
            return decay.rate(step, total_steps)

        phases = []
        for steps in self._phase_steps(rate, total_steps, num_examples):
            batch = self._batch_size(rate(0) / rate(steps.start), num_examples)
            growth = batch / self.batch_size
            compensated = _mean(rate, steps) * growth ** EXPONENT_OF_OPTIMIZER[self.optimizer]
            stop = min(steps.stop * self.batch_size, total)
            examples = stop - steps.start * self.batch_size
            readable = float(f"{compensated:.6g}")
            phases.append(Phase(readable, batch, Length(examples, "ex")))
        return Schedule(phases, self.steps_per_epoch)

    def _total_examples(self, num_examples: int) -> int:
        steps = self.steps_per_epoch
        epoch_examples = num_examples if steps is None else steps * self.batch_size
        return self.length.in_examples(batch_size=self.batch_size, epoch_examples=epoch_examples)

    def _tabulate(self, function: Callable[[int], Any]) -> PiecewiseConstantDecay:
        if self.length.unit == "ep" and self.steps_per_epoch is None:
            raise ConfigError(
                "length",
                received=str(self.length),
                expected="a number of steps or examples, because lr_schedule is a function",
                fix="Set steps_per_epoch, a length such as 2000steps, or a LearningRateDecay.",
            )

        def rate(step: int) -> float:
            return float(function(step))

        table = {}
        for steps in self._phase_steps(rate, math.ceil(self._total_examples(0) / self.batch_size)):
            table[steps.start] = rate(steps.start)
            if len(steps) > 1 and (mean := _mean(rate, steps[1:])) > 0:
                table[steps.start + 1] = mean
        return PiecewiseConstantDecay(list(table), list(table.values()))

    def _phase_steps(
        self, rate: Callable[[int], float], total_steps: int, num_examples: int = sys.maxsize
    ) -> Iterator[range]:
        """Yields the steps of each phase, at the first batch size.

        Args:
            rate: Rate of the decay at a step.
            total_steps: Number of steps of the whole training.
            num_examples: Number of examples in one pass, which bounds the batch size.

        Raises:
            ConfigError: If the rate increases, or is not above 0 at the start of a phase.
        """
        _check_positive(rate, 0)
        previous = first = rate(0)
        for step in range(0, total_steps, max(1, total_steps // 100)):
            current = rate(step)
            if current > previous * (1 + _TOLERANCE):
                raise ConfigError(
                    "lr_schedule",
                    received=f"a rate that increases to {current:g} at step {step}",
                    expected="a non-increasing rate",
                    fix="Define a warm-up as separate phases.",
                )
            previous = current

        def level(step: int) -> int:
            current = rate(step)
            return self._level(first / current) if current > 0 else sys.maxsize

        shortest = max(1, math.ceil(total_steps * _SHORTEST_PHASE))
        step = 0
        while step < total_steps:
            _check_positive(rate, step)
            reached = level(step)
            batch_steps = self._batch_size(first / rate(step), num_examples) // self.batch_size
            following = bisect.bisect_right(
                range(total_steps), reached, lo=min(step + shortest, total_steps), key=level
            )
            # Round up to whole batches: the phase includes the update in which the rate would fall.
            begin, step = step, step + math.ceil((following - step) / batch_steps) * batch_steps
            yield range(begin, min(step, total_steps))

    def _level(self, decayed: float) -> int:
        return math.floor(math.log(decayed, self.factor) + _TOLERANCE)

    def _batch_size(self, decayed: float, num_examples: int) -> int:
        grown = self.batch_size * self.factor ** self._level(decayed)
        whole = min(grown, self.max_batch_size, num_examples) // self.batch_size
        return max(1, whole) * self.batch_size


def _mean(rate: Callable[[int], float], steps: range) -> float:
    """Returns the mean rate over some steps, from a sample if there are many."""
    count = min(len(steps), _SAMPLES)
    sampled = (steps[(2 * index + 1) * len(steps) // (2 * count)] for index in range(count))
    return math.fsum(map(rate, sampled)) / count


def _check_positive(rate: Callable[[int], float], step: int) -> None:
    value = rate(step)
    if not 0 < value < math.inf:
        raise ConfigError(
            "lr_schedule",
            received=f"{value:g} at step {step}",
            expected="a learning rate above 0 until the end",
        )
