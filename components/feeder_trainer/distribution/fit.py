"""Fitting a model in this process: feed, plan, steps and loop put together."""

import contextlib
import dataclasses
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import (
    DistributionContext,
    open_context,
)
from tfx_feeder.components.feeder_trainer.distribution.options import (
    DistributedStrategy,
    Strategy,
    lr_scale_factor,
)
from tfx_feeder.components.feeder_trainer.feed.base import Feed
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.mixture import Files
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import (
    ModelContext,
    feature_adapter,
    input_names,
    make_model,
)
from tfx_feeder.components.feeder_trainer.model.export import load_warm_start
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.schedules.plan import Plan
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy, make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.schedules.time_model import TimePrediction
from tfx_feeder.components.feeder_trainer.training.baseline import BaselineModel
from tfx_feeder.components.feeder_trainer.training.checkpoint import CheckpointManager
from tfx_feeder.components.feeder_trainer.training.eta import EtaTracker
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import StepOptions
from tfx_feeder.schemas.training_history import History, StrategyRecord


@dataclass(frozen=True)
class FitSpec:
    """Picklable specification of a model fit.

    Args:
        code: The user's functions.
        context: Passed to them; its ``feature_spec`` is that of the files.
        schedule: Learning rates, batch sizes and lengths, or the policy that decides them.
        strategy: Distribution strategy; any but ``Auto``.
        train_files: Files to train on; by source where ``Feed.mix`` weighs them.
        eval_files: Files to validate on; may be empty.
        checkpoint_dir: Where the checkpoints go, unless ``loop`` names a folder; the same for
            every attempt at this training.
        start_from: Folder that ``save_for_warm_start`` wrote; optional.
        strict_start: Whether a start from another architecture is an error.
        baseline: Folder of the model that ``loop.early_stopping`` compares with; optional.
        loop: Training loop options.
        prediction: How long it was predicted to take; optional.
        began_at: Unix time from which the prediction counts.
    """

    code: UserCode
    context: ModelContext
    schedule: Schedule | Policy
    strategy: Strategy
    train_files: Files
    eval_files: Sequence[str]
    checkpoint_dir: str
    start_from: str | None = None
    strict_start: bool = True
    baseline: str | None = None
    loop: TrainingOptions = field(default_factory=TrainingOptions)
    prediction: TimePrediction | None = None
    began_at: float = 0.0

    def checkpoints(self, *, read_only: bool = False) -> CheckpointManager:
        """Returns the folder of the checkpoints."""
        return CheckpointManager(
            self.loop.checkpoint_dir or self.checkpoint_dir,
            every_s=self.loop.checkpoint_every_s,
            every_examples=self.loop.checkpoint_every_examples,
            keep=self.loop.keep_checkpoints,
            read_only=read_only,
        )


@dataclass(frozen=True)
class FitResult:
    """A fitted model as it goes from process to process.

    Args:
        weights: Its variables, in their order.
        element: A batch of one example, to build a subclassed model from.
        history: The record.
    """

    weights: Sequence[np.ndarray]
    element: tuple
    history: History


@dataclass(frozen=True)
class ModelBundle:
    """A model, and what stands between it and the files.

    Args:
        keras_model: Compiled.
        parser: Makes tensors of serialized examples.
        adapt: Turns a dict of features into what the model is called with.
    """

    keras_model: keras.Model
    parser: ExampleParser
    adapt: Callable[[Any], Any]


@dataclass(frozen=True)
class FitContext:
    """All that takes part in a training, ready to run.

    Args:
        model: Its variables are built.
        steps: The compiled steps.
        feed: Training examples.
        validation: Examples to validate on; optional.
        plan: What to train.
        element: A batch of one example.
    """

    model: ModelBundle
    steps: Any
    feed: Feed
    validation: Feed | None
    plan: Plan
    element: tuple


def build_model(job: FitSpec) -> ModelBundle:
    """Calls the user's ``model_fn``; in the scope of the strategy, if there is one."""
    model = make_model(job.code.load_model_fn(), job.context)
    parser = ExampleParser(job.context.feature_spec, job.context.feed, _wanted(model, job.context))
    return ModelBundle(model, parser, feature_adapter(model, parser.feature_names))


@contextlib.contextmanager
def open_fit_context(job: FitSpec, placement: DistributionContext) -> Any:
    """Makes the model and opens the feeds; closes them in the end.

    Yields:
        A ``FitContext``.
    """
    options = job.context.feed
    keras.utils.set_random_seed(options.seed)
    if job.loop.deterministic:
        tf.config.experimental.enable_op_determinism()
    with contextlib.ExitStack() as stack:
        stack.enter_context(placement.scope())
        model = build_model(job)

        def opened(files: Files, *, shuffle: bool, **more: Any) -> Feed:
            feed = open_feed(
                files, model.parser, options, shuffle=shuffle, shard=placement.share, **more
            )
            return stack.enter_context(contextlib.closing(feed))

        augment_fn = job.code.load_optional("augment_fn")
        feed = opened(job.train_files, shuffle=True, augment_fn=augment_fn)
        validation = opened(job.eval_files, shuffle=False) if job.eval_files else None
        plan = make_plan(job.schedule, feed.num_examples)
        steps = placement.steps(
            model.keras_model,
            model.adapt,
            StepOptions(
                class_weight=job.loop.class_weight,
                max_micro_batch_size=job.loop.max_micro_batch_size,
                noise_scale=plan.needs_noise_scale,
                deterministic=job.loop.deterministic,
            ),
        )
        # The first example as any member of a team would see it alone.
        element = next(iter(feed.batches([range(placement.share.count)], placement.share.count)))
        steps.build(element)
        yield FitContext(model, steps, feed, validation, plan, element)


def fit(job: FitSpec, task: ClusterTask | None = None) -> FitResult:
    """Fits the model in this process, which may be one of several.

    Args:
        job: What to do; the same for every process.
        task: The place of this process in a cluster.

    Raises:
        ConfigError: Schedule, feed or model do not fit the data or the strategy.
        DataError: The files cannot be read.
    """
    placement = open_context(job.strategy, task)
    with contextlib.closing(placement), open_fit_context(job, placement) as ready:
        history = run(job, placement, ready)
        return FitResult(
            [keras.ops.convert_to_numpy(v) for v in ready.model.keras_model.variables],
            ready.element,
            history,
        )


def run(job: FitSpec, placement: DistributionContext, ready: FitContext) -> History:
    """Runs the training loop to its end and returns the record."""
    model, plan, options = ready.model.keras_model, ready.plan, job.context.feed
    recorder = Recorder(placement.replicas)
    strategy = job.strategy
    lr_scaling = strategy.lr_scaling if isinstance(strategy, DistributedStrategy) else "none"
    factor = lr_scale_factor(lr_scaling, placement.replicas)
    if factor != 1:
        recorder.event(
            "learning_rate_rule",
            f"The schedule's learning rates are multiplied by {factor:.4g}: "
            f"{lr_scaling} in {placement.replicas} replicas.",
        )
    if job.start_from is not None:
        _warm_start(model, job, recorder)
    callbacks_fn = job.code.load_optional("callbacks_fn") if placement.team.is_chief else None
    TrainingLoop(
        ready.steps,
        ready.feed,
        plan,
        recorder,
        validation=ready.validation,
        validation_batch_size=options.eval_batch_size,
        callbacks=callbacks_fn(job.context) if callbacks_fn else (),
        drop_remainder=options.drop_remainder,
        steps_per_execution=job.loop.steps_per_execution,
        probe=job.loop.probe,
        checkpoints=job.checkpoints(read_only=not placement.team.is_chief),
        process_group=placement.team,
        lr_scale_factor=factor,
        eta=_eta(job),
        baseline=_baseline(job, ready, recorder),
    ).run()
    if history_note := ready.steps.history_note():
        recorder.event("exchange", history_note)
    return recorder.build(
        schedule=job.schedule.to_dict(),
        strategy=strategy.name,
        feed={
            **dataclasses.asdict(options),
            "cache_chosen": ready.feed.description,
            "rejections": dict(ready.feed.rejections),
        },
        num_examples=ready.feed.num_examples,
        code_fingerprint=job.code.fingerprint(),
        policy=plan.policy,
        policy_state=plan.state(),
        placement=StrategyRecord(strategy.to_dict(), placement.replicas, lr_scaling),
    )


def _eta(job: FitSpec) -> Callable[[int], str | None] | None:
    """Returns what says, after some epochs, whether the training is behind its prediction."""
    prediction = job.prediction
    if prediction is None:
        return None
    eta = EtaTracker(prediction)
    return lambda epochs: eta.update(
        time.time() - job.began_at, prediction.fraction_elapsed(epochs)
    )


def _baseline(job: FitSpec, ready: FitContext, recorder: Recorder) -> BaselineModel | None:
    options = job.loop.early_stopping
    if options is None or job.baseline is None or ready.validation is None:
        return None
    return BaselineModel(ready.model.keras_model, job.baseline, options, recorder)


def _wanted(model: keras.Model, context: ModelContext) -> list[str] | None:
    """Returns the features to parse: the model's inputs, where they can be told by name."""
    names = input_names(model)
    if names is None or not set(names) <= set(context.feature_spec):
        return None  # One unnamed input, or a model that takes a dict.
    return names


def _warm_start(model: keras.Model, job: FitSpec, recorder: Recorder) -> None:
    assert job.start_from is not None
    obstacle = load_warm_start(model, job.start_from)
    if obstacle is None:
        recorder.event("warm_start", "The weights of the base model were loaded.")
    elif job.strict_start:
        raise ConfigError(
            "base_model",
            received=job.start_from,
            expected=f"a model with the same variables, but {obstacle}",
            fix='Unwire base_model, or say warm_start="compatible" to start afresh in this case.',
        )
    else:
        recorder.event("cold_start", f"The base model was not used, because {obstacle}.")
