"""What holds a training back: the feed or the device, and what to do about it."""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import UNBOUNDED_EPOCH, Feed
from tfx_feeder.components.feeder_trainer.feed.tfdata import without_autotune
from tfx_feeder.components.feeder_trainer.model.state import capture, restore
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps

SURE_WAIT_PCT = 20.0
"""Share of waiting, in percent, from which on a training counts as input-bound in any case: feed
and device can each be fast alone and still get in each other's way."""

LIKELY_WAIT_PCT = 10.0
"""The same where nothing was measured."""

_HOLD = 'Hold the decoded examples with Feed(cache="memory"), or "disk" with a cache_dir'
_SERVE = 'feed from other processes with Feed(service="local:2")'
_ADVICE = {
    "": f"{_HOLD}, move work out of the feed into Transform, or {_SERVE}.",
    "reading": f"{_HOLD}, or bring the files nearer.",
    "parsing and decoding": f"{_HOLD}, or let Transform decode and resize.",
    "augment_fn": f"Make augment_fn cheaper (it gets a whole batch: no map_fn), or {_SERVE}.",
    "gathering": "Raise Feed(prefetch=...), or leave more of the processor to the feed.",
}
_SHARE_OF_TIME = 0.05
_LONGEST_S = 2.0
_TRACING_S = 1.0
"""Budget from which on a step without exchange is traced and measured as well."""
_LIKELY_SYNC = 0.8
"""What is reached with exchange, as a share of what is without, below which it is the brake."""
_FEWEST_STEPS = 5
_WARM_UP = 5


@dataclass(frozen=True, slots=True)
class ThroughputBounds:
    """What each side could do alone, at one batch size.

    Args:
        device_examples_per_s: The model on one batch that is always there.
        input_examples_per_s: The feed with nobody to wait for.
        slowest_stage: The stage of the feed that takes the most time; empty if there is but one.
        alone_examples_per_s: The replicas on that batch without exchanging anything; ``None``
            where it was not measured.
    """

    device_examples_per_s: float
    input_examples_per_s: float
    slowest_stage: str = ""
    alone_examples_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Which side holds the training back.

    Args:
        kind: ``"input-bound"``, ``"device-bound"`` or ``"sync-bound"``.
        advice: What to try; one or two sentences.
    """

    kind: Literal["input-bound", "device-bound", "sync-bound"]
    advice: str


class ThroughputMonitor:
    """Probes both ceilings now and then and judges phases.

    Args:
        steps: Those that train; the probe runs them and undoes what they did.
        feed: The feed of the training.
        team: Those that train side by side: they probe together.
        enabled: ``False``: never probe; judge by the waits alone.
    """

    def __init__(
        self, steps: CompiledSteps, feed: Feed, team: ProcessGroup, *, enabled: bool = True
    ) -> None:
        self._steps = steps
        self._feed = feed
        self._team = team
        self._enabled = enabled
        self._spent_s = 0.0
        self.ceilings: ThroughputBounds | None = None

    def begin_phase(self) -> None:
        """Forgets the ceilings of another batch size."""
        self.ceilings = None

    def probe(self, batch_size: int, step_s: float, trained_s: float) -> None:
        """Measures both ceilings, if this fits into 5 % of the time trained so far.

        Args:
            batch_size: Of the phase.
            step_s: Duration of a step, as measured.
            trained_s: Time trained so far.
        """
        if not self._enabled or self.ceilings is not None:
            return
        budget_s = min(_LONGEST_S, _SHARE_OF_TIME * trained_s - self._spent_s)
        budget_s, count = self._team.broadcast([budget_s, budget_s / 2 / max(step_s, 1e-6)])
        count = int(count)
        if count < _FEWEST_STEPS:
            return
        stages = self._feed.stage_datasets(batch_size)  # Making these takes a while itself.
        if not stages:
            return
        begin = time.perf_counter()
        device, alone = self._device_ceilings(batch_size, count, exact=budget_s >= _TRACING_S)
        whole = {"": self._feed.batches([UNBOUNDED_EPOCH], batch_size)}
        seconds = budget_s / 2 / (1 + len(stages))
        costs = {name: _drain(batches, seconds) for name, batches in (stages | whole).items()}
        feed = batch_size / costs.pop("")
        slowest = max(costs, key=costs.__getitem__) if len(costs) > 1 else ""
        self.ceilings = ThroughputBounds(device, feed, slowest, alone)
        self._spent_s += time.perf_counter() - begin

    def is_input_bound(self, input_wait_pct: float) -> bool:
        """Says whether the step waited for its input too much."""
        if self.ceilings is None or input_wait_pct >= SURE_WAIT_PCT:
            return input_wait_pct >= LIKELY_WAIT_PCT
        # Fetching a batch that is there costs a little as well, which is much of a short step.
        return self.ceilings.input_examples_per_s < self.ceilings.device_examples_per_s

    def judge(self, input_wait_pct: float, examples_per_s: float) -> Bottleneck:
        """Judges a phase.

        Args:
            input_wait_pct: Share of the time in which the step waited for its batch.
            examples_per_s: What the training reached.
        """
        ceilings = self.ceilings
        if self.is_input_bound(input_wait_pct):
            advice = (
                f"The step waited for its batch {input_wait_pct:.0f} % of the time; the feed "
                f"(cache: {self._feed.description}) cannot keep up. "
            )
            stage = ceilings.slowest_stage if ceilings else ""
            if stage:
                advice += f"Its slowest stage is {stage}. "
            return Bottleneck("input-bound", advice + _ADVICE[stage])
        alone = ceilings.alone_examples_per_s if ceilings else None
        if ceilings and alone and ceilings.device_examples_per_s < _LIKELY_SYNC * alone:
            lost = 100 * (1 - ceilings.device_examples_per_s / alone)
            return Bottleneck(
                "sync-bound",
                f"{lost:.0f} % of a step goes into what the replicas exchange. Larger batches, "
                "fewer replicas or a faster network mend that; parameter_server and "
                "peer_averaging do not wait for each other.",
            )
        if ceilings and examples_per_s < 0.85 * ceilings.device_examples_per_s:
            share = 100 * examples_per_s / ceilings.device_examples_per_s
            return Bottleneck(
                "device-bound",
                f"The model reached {share:.0f} % of what it does on a resident batch: feed or "
                "callbacks compete with it for the processor. Feed from memory, or move the work "
                "of callbacks to the end of the epoch.",
            )
        return Bottleneck(
            "device-bound",
            "The feed keeps up. A faster device, a larger batch or mixed precision is what would "
            "speed this up.",
        )

    def _device_ceilings(
        self, batch_size: int, count: int, *, exact: bool
    ) -> tuple[float, float | None]:
        """Returns examples/s on a batch that is always there, with and without exchange."""
        batch = next(iter(self._feed.batches([range(batch_size)], batch_size)))
        resident = iter(without_autotune(tf.data.Dataset.from_tensors(batch).repeat()))
        before = capture(self._steps.model)
        sizes = [batch_size] * count
        rows = self._steps.profile(resident, sizes)
        compute_only_step_s = self._steps.compute_only_step_s(resident, sizes) if exact else None
        restore(self._steps.model, before)
        step_s = float(np.median(rows[:, :2].sum(axis=1)))
        return (
            batch_size / step_s,
            batch_size / compute_only_step_s if compute_only_step_s else None,
        )


def _drain(batches: tf.data.Dataset, seconds: float) -> float:
    """Takes batches for a while; returns the seconds that one takes."""
    iterator = iter(batches)
    for _ in range(_WARM_UP):
        next(iterator)
    begin, count = time.perf_counter(), 0
    while (elapsed := time.perf_counter() - begin) < seconds or count < 2:
        next(iterator)
        count += 1
    return elapsed / count
