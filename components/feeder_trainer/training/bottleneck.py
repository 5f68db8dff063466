"""Bottleneck diagnosis: whether input, device or communication limits a run, and what to try.

In ``benchmarks/input_stall.py`` (see docs/benchmarks.md) steps wait 5 % of the time for a fast feed
and 33 % for a slow one; the thresholds of the wait lie between the two.
"""

import time
from dataclasses import dataclass
from typing import Literal

import numpy as np
import tensorflow as tf

from tfx_feeder.components.feeder_trainer.feed.base import UNBOUNDED_EPOCH, Feed
from tfx_feeder.components.feeder_trainer.feed.tfdata import without_autotune
from tfx_feeder.components.feeder_trainer.schedules.time_model import PROFILE_TIME_FRACTION
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup
from tfx_feeder.components.feeder_trainer.training.step_timer import (
    MIN_STEPS,
    WARM_UP_STEPS,
    preserve_state,
    time_steps,
)
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps

SURE_WAIT_PCT = 20.0
"""Wait in percent of the time from which a run is always input-bound: feed and device can each be
fast alone and still compete when they run together."""

LIKELY_WAIT_PCT = 10.0
"""The same limit for a run without measured bounds."""

_CACHE = 'cache the decoded examples with FeedOptions(cache="memory"), or "disk" with a cache_dir'
_SERVE = 'run the feed in other processes with FeedOptions(service="local:2")'
_LARGER_BATCH = "increase the batch size, because gathering costs about the same for every batch"
_ADVICE = {
    "": (_CACHE, "move work from the feed into Transform", _SERVE),
    "reading": (_CACHE, "move the files to faster storage"),
    "parsing and decoding": (_CACHE, "decode and resize in Transform", _SERVE),
    "augment_fn": ("make augment_fn cheaper (it gets a whole batch: no map_fn)", _SERVE),
    "gathering": (_LARGER_BATCH, "leave more CPU time to the feed"),
}
"""Suggestions by the slowest stage of the feed."""

_HALF_PRECISION = ("float16", "bfloat16")
_MAX_BUDGET_S = 2.0
_MIN_BATCHES = 3
_TRACING_S = 1.0
"""Budget from which the step without gradient exchange is traced and measured as well."""
_COMMUNICATION_BOUND = 0.8
"""Throughput with/without gradient exchange; below this ratio the run is communication-bound."""
_DEVICE_REACHED = 0.85
"""Throughput of the run relative to the device bound; below this ratio something competes for the
CPU."""


@dataclass(frozen=True, slots=True)
class ThroughputBounds:
    """Throughput of model and feed alone, at one batch size.

    Args:
        device_examples_per_s: Model throughput on a cached batch.
        input_examples_per_s: Feed throughput with no consumer.
        slowest_stage: Stage of the feed that takes the most time; empty if there is only one.
        compute_only_examples_per_s: Throughput of the replicas on a cached batch without gradient
            exchange; ``None`` if not measured.
    """

    device_examples_per_s: float
    input_examples_per_s: float
    slowest_stage: str = ""
    compute_only_examples_per_s: float | None = None


@dataclass(frozen=True, slots=True)
class Bottleneck:
    """Diagnosis of a phase.

    Args:
        kind: ``"input-bound"``, ``"device-bound"`` or ``"communication-bound"``.
        advice: Suggestion in one or two sentences.
    """

    kind: Literal["input-bound", "device-bound", "communication-bound"]
    advice: str


class ThroughputMonitor:
    """Measures the throughput bounds of each phase and diagnoses its bottleneck.

    Args:
        steps: Compiled steps of the run; a measurement leaves their model unchanged.
        feed: Feed of the run.
        process_group: Processes that train together; they measure at the same time.
        enabled: If False, nothing is measured and the diagnosis relies on wait times.
    """

    def __init__(
        self,
        steps: CompiledSteps,
        feed: Feed,
        process_group: ProcessGroup,
        *,
        enabled: bool = True,
    ) -> None:
        self._steps = steps
        self._feed = feed
        self._process_group = process_group
        self._enabled = enabled
        self._spent_s = 0.0
        self._stage_costs: dict[str, float] = {}
        self.bounds: ThroughputBounds | None = None

    def begin_phase(self) -> None:
        """Discards the bounds of the previous batch size."""
        self.bounds = None

    def probe(self, batch_size: int, step_s: float, trained_s: float) -> None:
        """Measures the bounds, if this takes at most 5 % of the time trained so far.

        Args:
            batch_size: Global batch size of the phase.
            step_s: Measured duration of a step in seconds.
            trained_s: Time trained so far in seconds.
        """
        if not self._enabled or self.bounds is not None:
            return
        budget_s = min(_MAX_BUDGET_S, PROFILE_TIME_FRACTION * trained_s - self._spent_s)
        budget_s, count = self._process_group.broadcast(
            [budget_s, budget_s / 2 / max(step_s, 1e-6)]
        )
        if count < MIN_STEPS:
            return
        begin = time.perf_counter()
        costs = self._stage_costs or self._measure_stages(batch_size, budget_s / 2)
        if not costs:
            return
        device, compute_only = self._device_bounds(batch_size, int(count), budget_s)
        stages = {name: cost for name, cost in costs.items() if name}
        # The stages run beside one another, so the slowest one limits the feed.
        feed = 1 / costs.get("", max(stages.values()))
        slowest = max(stages, key=stages.__getitem__) if len(stages) > 1 else ""
        self.bounds = ThroughputBounds(device, feed, slowest, compute_only)
        self._spent_s += time.perf_counter() - begin

    def _measure_stages(self, batch_size: int, budget_s: float) -> dict[str, float]:
        """Returns the seconds per example of each stage, and of the whole feed as ``""``.

        A feed that reads files is measured by its stages alone, because a second stream beside
        that of the training would take its memory and its files; the costs of such a feed are
        measured once and hold for every batch size.
        """
        datasets = self._feed.stage_datasets(batch_size)
        if datasets and not self._feed.reads_files:
            datasets[""] = self._feed.batches([UNBOUNDED_EPOCH], batch_size)
        seconds = budget_s / max(1, len(datasets))
        costs = {name: _batch_s(each, seconds) / batch_size for name, each in datasets.items()}
        if self._feed.reads_files:
            self._stage_costs = costs
        return costs

    def is_input_bound(self, input_wait_pct: float) -> bool:
        """Returns True if the steps waited too long for their batches.

        Args:
            input_wait_pct: Wait for batches in percent of the time.
        """
        if self.bounds is None or input_wait_pct >= SURE_WAIT_PCT:
            return input_wait_pct >= LIKELY_WAIT_PCT
        # Fetching a ready batch costs a little as well, which is much of a short step.
        return self.bounds.input_examples_per_s < self.bounds.device_examples_per_s

    def diagnose(self, input_wait_pct: float, examples_per_s: float) -> Bottleneck:
        """Returns the bottleneck of a phase.

        Args:
            input_wait_pct: Wait for batches in percent of the time.
            examples_per_s: Throughput of the run.
        """
        bounds = self.bounds
        if self.is_input_bound(input_wait_pct):
            advice = (
                f"The step waited for its batch {input_wait_pct:.0f} % of the time; the feed "
                f"(cache: {self._feed.description}) cannot keep up. "
            )
            stage = bounds.slowest_stage if bounds else ""
            if stage:
                advice += f"Its slowest stage is {stage}. "
            return Bottleneck("input-bound", advice + self._input_advice(stage))
        compute_only = bounds.compute_only_examples_per_s if bounds else None
        if (
            bounds
            and compute_only
            and bounds.device_examples_per_s < _COMMUNICATION_BOUND * compute_only
        ):
            exchange_pct = 100 * (1 - bounds.device_examples_per_s / compute_only)
            return Bottleneck(
                "communication-bound",
                f"Communication between replicas takes {exchange_pct:.0f} % of a step. Use larger "
                "batches, fewer replicas or a faster network; parameter_server and "
                "peer_averaging do not synchronize every step.",
            )
        if bounds and examples_per_s < _DEVICE_REACHED * bounds.device_examples_per_s:
            reached_pct = 100 * examples_per_s / bounds.device_examples_per_s
            return Bottleneck(
                "device-bound",
                f"The model reached {reached_pct:.0f} % of its throughput on a cached batch: feed "
                "or callbacks compete with it for the CPU. Feed from memory, or move the work of "
                "callbacks to the end of the epoch.",
            )
        options = "A faster device, a larger batch or mixed precision"
        if any(layer.compute_dtype in _HALF_PRECISION for layer in self._steps.model.layers):
            options = "A faster device or a larger batch"
        return Bottleneck("device-bound", f"The feed keeps up. {options} would speed up training.")

    def _input_advice(self, stage: str) -> str:
        """Returns what may speed up a stage, without the options that are set already."""
        cache, _, reason = self._feed.description.partition(":")
        useless = set()
        if cache in ("memory", "disk"):
            useless.add(_CACHE)
            stage = stage or "gathering"
        if "vary in length" in reason:
            useless.add(_CACHE)
        if "service" in reason:
            useless |= {_CACHE, _SERVE}
        options = [option for option in _ADVICE[stage] if option not in useless]
        *first, last = options or ["give the feed more workers"]
        text = f"{', '.join(first)}, or {last}" if first else last
        return text[0].upper() + text[1:] + "."

    def _device_bounds(
        self, batch_size: int, count: int, budget_s: float
    ) -> tuple[float, float | None]:
        """Returns examples/s on a cached batch, with and without gradient exchange."""
        batch = self._feed.sample(batch_size)
        cached = iter(without_autotune(tf.data.Dataset.from_tensors(batch).repeat()))
        with preserve_state(self._steps.model):
            durations = time_steps(
                lambda steps: self._steps.profile(cached, [batch_size] * steps),
                budget_s / 2,
                self._process_group,
                warm_up_steps=0,
                first_steps=count,
            )
            compute_only_s = None
            if budget_s >= _TRACING_S:
                compute_only_s = self._steps.compute_only_step_s(cached, [batch_size] * count)
        step_s = float(np.median(durations))
        return batch_size / step_s, batch_size / compute_only_s if compute_only_s else None


def _batch_s(batches: tf.data.Dataset, seconds: float) -> float:
    """Takes batches for some seconds, at least three, and returns the seconds per batch."""
    iterator = iter(batches)
    begin, times = time.perf_counter(), []
    while len(times) < _MIN_BATCHES or times[-1] - begin < seconds:
        next(iterator)
        times.append(time.perf_counter())
    if len(times) > 2 * WARM_UP_STEPS:
        times = times[WARM_UP_STEPS:]
    return (times[-1] - times[0]) / (len(times) - 1)
