"""Selects the strategy of a training: lists the candidates and profiles them.

``decision.py`` makes the decision from the profiles.
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
from tfx_feeder.components.feeder_trainer.distribution.fit import (
    FitContext,
    FitSpec,
    open_fit_context,
)
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import (
    lack_of_gpus,
    num_workers,
    run_in_processes,
)
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Auto,
    ParameterServer,
    SingleDevice,
    Strategy,
)
from tfx_feeder.components.feeder_trainer.distribution.strategy_info import STRATEGIES
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
    """Selected strategy.

    Args:
        strategy: Strategy to train with.
        choice: Result of the selection, with all candidates.
        prediction: Predicted duration of the training with the strategy.
    """

    strategy: Strategy
    choice: StrategyChoice
    prediction: TimePrediction


def select(
    spec: FitSpec,
    context: FitContext,
    elapsed: Callable[[], float],
    *,
    log_dir: str,
    profile_dir: str | None = None,
    in_process: bool = True,
) -> Selection:
    """Selects the strategy of a training with the strategy ``Auto``.

    Args:
        spec: Specification of the fit; its strategy is ``Auto``.
        context: Context opened for the same specification with ``SingleDevice``.
        elapsed: Function that returns the seconds since the start of the Trainer.
        log_dir: Folder of the logs of other processes.
        profile_dir: Folder of the profiles that later runs reuse; ``None`` to keep none.
        in_process: True if single-device training runs in this process.

    Raises:
        ConfigError: No candidate can run.
    """
    auto = spec.strategy
    assert isinstance(auto, Auto)
    epochs = known_epochs(spec.schedule, context.feed.num_examples)
    sizes = batch_sizes_to_profile(epochs)
    cache = ProfileCache(profile_dir)

    def profile(candidate: StrategyCandidate) -> StepProfile:
        candidate_spec = dataclasses.replace(spec, strategy=_strategy(auto, candidate.strategy))
        key = fingerprint(_profile_inputs(candidate_spec, context, sizes))
        if (cached := cache.read(key)) is not None:
            return cached
        reuses_context = in_process and candidate.strategy == BASELINE
        if reuses_context:
            result = _profile(spec, context, SingleProcess())
        else:
            began = time.perf_counter()
            result = run_in_processes(
                profile_in_process,
                candidate_spec,
                candidate_spec.strategy,
                log_dir,
                has_successor=True,
            ).result
            # The remaining time is the startup of processes, TensorFlow, feed and model.
            startup_s = time.perf_counter() - began - result.seconds
            result = dataclasses.replace(result, start_s=result.start_s + startup_s)
        cache.write(key, result)
        # The training reuses the context of this profile, so it has no startup.
        return dataclasses.replace(result, start_s=0.0) if reuses_context else result

    choice = profile_and_select(
        list_candidates(auto),
        epochs,
        Budget.from_strategy(auto),
        profile,
        elapsed,
        drop_remainder=spec.context.feed.drop_remainder,
    )
    selected = choice.selected
    assert selected.profile is not None
    return Selection(
        _strategy(auto, selected.strategy),
        choice,
        predict(selected.profile, epochs, drop_remainder=spec.context.feed.drop_remainder),
    )


def profile_in_process(spec: FitSpec, task: ClusterTask | None = None) -> StepProfile:
    """Profiles the steps of a fit in this process, which may be one of several.

    Args:
        spec: Specification of the fit; the same in every process.
        task: Cluster task of this process; ``None`` outside a cluster.
    """
    with open_fit_context(spec, task) as context:
        return _profile(spec, context, context.distribution.process_group)


def list_candidates(strategy: Auto) -> list[StrategyCandidate]:
    """Returns the named candidates, or, if none is named, all strategies with additional devices.

    Two kinds of strategies are candidates only if they are named: those over logical devices,
    because single-device training already uses all cores of a CPU, and asynchronous ones, because
    they may need more epochs.
    """
    names = [BASELINE, *(name for name in strategy.candidates if name != BASELINE)]
    if not strategy.candidates:
        names = [name for name in STRATEGIES if _is_default_candidate(name, strategy)]
    return [_candidate(name, strategy) for name in names]


def _is_default_candidate(name: str, strategy: Auto) -> bool:
    info = STRATEGIES[name]
    if info.launch_mode == "in_process":
        return True
    if info.launch_mode in ("workers", "parameter_servers"):
        return info.synchronous and strategy.cluster is not None
    if name == "tpu":
        return bool(tf.config.list_physical_devices("TPU"))
    return len(tf.config.list_physical_devices("GPU")) > 1


def _candidate(name: str, strategy: Auto) -> StrategyCandidate:
    info = STRATEGIES[name]
    accelerators = [d.name.removeprefix("/physical_device:") for d in _accelerators()]
    one = tuple(accelerators[:1]) or ("CPU:0",)
    if info.launch_mode == "in_process":
        return StrategyCandidate(name, 1, one)
    if info.launch_mode == "subprocess":
        devices = tuple(accelerators) or ("CPU:0",)
        replicas = len(devices) if accelerators else max(2, os.cpu_count() or 1)
        return StrategyCandidate(name, replicas, devices)
    if strategy.cluster is None:
        reason = "no cluster is set: use cluster='local:2'"
        return StrategyCandidate(name, 1, one, status="cannot run", reason=reason)
    workers = num_workers(strategy.cluster)
    devices, lack = one * workers, None
    if strategy.cluster != "env":
        lack = lack_of_gpus(workers, len(tf.config.list_physical_devices("GPU")))
    if lack is not None:
        return StrategyCandidate(name, workers, devices, status="cannot run", reason=lack)
    return StrategyCandidate(name, workers, devices)


def _accelerators() -> list[Any]:
    return tf.config.list_physical_devices("TPU") or tf.config.list_physical_devices("GPU")


def _strategy(auto: Auto, name: str) -> Strategy:
    """Returns the strategy of a candidate."""
    if name == BASELINE:
        return SingleDevice()
    clustered = STRATEGIES[name].launch_mode in ("workers", "parameter_servers")
    options = {"cluster": auto.cluster} if clustered else {}
    if name != ParameterServer.name:  # Which has no replicas that divide a batch.
        options["lr_scaling"] = auto.lr_scaling
    return Strategy.from_dict({"name": name, **options})


def _profile(spec: FitSpec, context: FitContext, process_group: ProcessGroup) -> StepProfile:
    feed = spec.context.feed
    return profile_schedule(
        context.steps,
        context.feed,
        known_epochs(spec.schedule, context.feed.num_examples),
        drop_remainder=feed.drop_remainder,
        validation=context.validation,
        validation_batch_size=feed.eval_batch_size,
        process_group=process_group,
    )


def _profile_inputs(spec: FitSpec, context: FitContext, sizes: tuple[int, ...]) -> dict[str, Any]:
    """Returns everything that affects a profile."""
    return {
        "code": spec.code.fingerprint(),
        "hyperparameters": spec.context.hyperparameters,
        "custom_config": spec.context.custom_config,
        "features": spec.context.feature_spec,
        "feed": dataclasses.asdict(spec.context.feed),
        "loop": dataclasses.asdict(spec.training),
        "num_examples": context.feed.num_examples,
        "num_validated": context.validation.num_examples if context.validation else 0,
        "batch_sizes": sizes,
        "strategy": spec.strategy.to_dict(),
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
