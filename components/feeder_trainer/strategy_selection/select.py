"""Selects the strategy of a training: lists candidates, profiles them and takes the cheapest.

``selection.py`` calculates; this module finds out what it calculates with.
"""

import contextlib
import dataclasses
import os
import platform
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import tensorflow as tf

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import open_context
from tfx_feeder.components.feeder_trainer.distribution.fit import (
    FitContext,
    FitSpec,
    open_fit_context,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import (
    num_workers,
    run_in_processes,
)
from tfx_feeder.components.feeder_trainer.distribution.options import (
    STRATEGIES,
    Auto,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.schedules.time_model import (
    StepProfile,
    TimePrediction,
    batch_sizes_to_profile,
    known_epochs,
    predict,
)
from tfx_feeder.components.feeder_trainer.strategy_selection.budget import Budget
from tfx_feeder.components.feeder_trainer.strategy_selection.decision import (
    BASELINE,
    StrategyCandidate,
    StrategyChoice,
    profile_and_select,
)
from tfx_feeder.components.feeder_trainer.strategy_selection.profile_cache import (
    ProfileCache,
    fingerprint,
)
from tfx_feeder.components.feeder_trainer.strategy_selection.profiler import profile_schedule
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup, SingleProcess


@dataclass(frozen=True)
class Selection:
    """What was chosen.

    Args:
        strategy: To train with.
        choice: All candidates.
        prediction: Of the training with that strategy.
    """

    strategy: Strategy
    choice: StrategyChoice
    prediction: TimePrediction


def select(
    job: FitSpec,
    ready: FitContext,
    elapsed: Callable[[], float],
    *,
    log_dir: str,
    probe_dir: str | None = None,
) -> Selection:
    """Chooses the strategy of a job that leaves it open.

    Args:
        job: With the strategy ``auto``.
        ready: The same job, ready to be trained sequentially.
        elapsed: Returns the seconds since the start of the Trainer.
        log_dir: Where the logs of other processes go.
        probe_dir: Where probes are kept for later runs; ``None``: nowhere.

    Raises:
        ConfigError: No candidate can run.
    """
    auto = job.strategy
    assert isinstance(auto, Auto)
    epochs = known_epochs(job.schedule, ready.feed.num_examples)
    store = ProfileCache(probe_dir)

    def measured(candidate: StrategyCandidate) -> StepProfile:
        of_candidate = dataclasses.replace(job, strategy=_strategy(auto, candidate.strategy))
        key = fingerprint(
            _what_a_probe_depends_on(of_candidate, ready, batch_sizes_to_profile(epochs))
        )
        if (kept := store.read(key)) is not None:
            return kept
        if candidate.strategy == BASELINE:
            probe = _probe(job, ready, SingleProcess())
        else:
            began = time.perf_counter()
            probe = run_in_processes(
                profile_in_process,
                of_candidate,
                of_candidate.strategy,
                log_dir,
                has_successor=True,
            ).result
            # What is not steps is start: of processes, TensorFlow, feed and model.
            around_s = time.perf_counter() - began - probe.seconds
            probe = dataclasses.replace(probe, start_s=probe.start_s + around_s)
        store.write(key, probe)
        # What was made for this probe is there for the training as well.
        return dataclasses.replace(probe, start_s=0.0) if candidate.strategy == BASELINE else probe

    choice = profile_and_select(
        possible(auto),
        epochs,
        Budget.from_strategy(auto),
        measured,
        elapsed,
        drop_remainder=job.context.feed.drop_remainder,
    )
    probe = choice.selected.probe
    assert probe is not None
    return Selection(
        _strategy(auto, choice.selected.strategy),
        choice,
        predict(probe, epochs, drop_remainder=job.context.feed.drop_remainder),
    )


def profile_in_process(job: FitSpec, task: ClusterTask | None = None) -> StepProfile:
    """Probes a job in this process, which may be one of several."""
    placement = open_context(job.strategy, task)
    with contextlib.closing(placement), open_fit_context(job, placement) as ready:
        return _probe(job, ready, placement.team)


def possible(strategy: Auto) -> list[StrategyCandidate]:
    """Lists what can be chosen: all that was named, else what has devices of its own.

    Logical devices on the cores of one processor add nothing that a sequential training does not
    use already, and asynchronous strategies may take more epochs: they take part where they are
    named.
    """
    named = [BASELINE, *(name for name in strategy.candidates if name != BASELINE)]
    if not strategy.candidates:
        named = [name for name in STRATEGIES if _is_worth_a_look(name, strategy)]
    return [_candidate(name, strategy) for name in named]


def _is_worth_a_look(name: str, strategy: Auto) -> bool:
    row = STRATEGIES[name]
    if row.launch_mode == "in_process":
        return True
    if row.launch_mode in ("workers", "parameter_servers"):
        return row.synchronous and strategy.cluster is not None
    if name == "tpu":
        return bool(tf.config.list_physical_devices("TPU"))
    return len(tf.config.list_physical_devices("GPU")) > 1


def _candidate(name: str, strategy: Auto) -> StrategyCandidate:
    row = STRATEGIES[name]
    accelerators = [d.name.removeprefix("/physical_device:") for d in _accelerators()]
    one = tuple(accelerators[:1]) or ("CPU:0",)
    if row.launch_mode == "in_process":
        return StrategyCandidate(name, 1, one)
    if row.launch_mode == "subprocess":
        devices = tuple(accelerators) or ("CPU:0",)
        replicas = len(devices) if accelerators else max(2, os.cpu_count() or 1)
        return StrategyCandidate(name, replicas, devices)
    if strategy.cluster is None:
        return StrategyCandidate(
            name, 1, one, status="cannot run", reason="no cluster is named: say cluster='local:2'"
        )
    workers = num_workers(strategy.cluster)
    return StrategyCandidate(name, workers, one * workers)


def _accelerators() -> list[Any]:
    return tf.config.list_physical_devices("TPU") or tf.config.list_physical_devices("GPU")


def _strategy(auto: Auto, name: str) -> Strategy:
    """Returns the strategy that a candidate stands for."""
    if name == BASELINE:
        return SingleDevice()
    clustered = STRATEGIES[name].launch_mode in ("workers", "parameter_servers")
    options = {"cluster": auto.cluster} if clustered else {}
    return Strategy.from_dict({"name": name, "lr_scaling": auto.lr_scaling, **options})


def _probe(job: FitSpec, ready: FitContext, team: ProcessGroup) -> StepProfile:
    feed = job.context.feed
    return profile_schedule(
        ready.steps,
        ready.feed,
        known_epochs(job.schedule, ready.feed.num_examples),
        drop_remainder=feed.drop_remainder,
        validation=ready.validation,
        validation_batch_size=feed.eval_batch_size,
        process_group=team,
    )


def _what_a_probe_depends_on(
    job: FitSpec, ready: FitContext, sizes: tuple[int, ...]
) -> dict[str, Any]:
    return {
        "code": job.code.fingerprint(),
        "hyperparameters": job.context.hyperparameters,
        "custom_config": job.context.custom_config,
        "features": job.context.feature_spec,
        "feed": dataclasses.asdict(job.context.feed),
        "loop": dataclasses.asdict(job.loop),
        "num_examples": ready.feed.num_examples,
        "num_validated": ready.validation.num_examples if ready.validation else 0,
        "batch_sizes": sizes,
        "strategy": job.strategy.to_dict(),
        "machine": [*_machine()],
        "tensorflow": tf.__version__,
    }


def _machine() -> Iterator[str]:
    yield platform.machine()
    yield str(os.cpu_count())
    with contextlib.suppress(OSError), open("/proc/cpuinfo", encoding="utf-8") as file:
        yield next((line.strip() for line in file if line.startswith("model name")), "")
    for device in _accelerators():
        yield str(tf.config.experimental.get_device_details(device).get("device_name"))
