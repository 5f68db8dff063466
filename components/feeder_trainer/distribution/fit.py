"""Fits a model in this process: opens model, feeds and steps, and runs the training loop."""

import contextlib
import dataclasses
import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfx_feeder.common.errors import ConfigError, DataError
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import (
    DistributionContext,
    open_context,
)
from tfx_feeder.components.feeder_trainer.distribution.device_feed import DeviceFeed
from tfx_feeder.components.feeder_trainer.distribution.feed_service import shared_service
from tfx_feeder.components.feeder_trainer.distribution.options import (
    STALENESS,
    DistributedStrategy,
    MultiWorker,
    Strategy,
    lr_scale_factor,
)
from tfx_feeder.components.feeder_trainer.distribution.training_id import hash_of, training_id
from tfx_feeder.components.feeder_trainer.feed.base import Feed
from tfx_feeder.components.feeder_trainer.feed.feed import open_feed
from tfx_feeder.components.feeder_trainer.feed.mixture import Files
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.feed.rows import take_rows
from tfx_feeder.components.feeder_trainer.model.builder import (
    ModelContext,
    feature_adapter,
    input_names,
    make_model,
)
from tfx_feeder.components.feeder_trainer.model.state import plain_values, reset_random_state
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.feeder_trainer.model.warm_start import load_warm_start
from tfx_feeder.components.feeder_trainer.schedules.batch_on_plateau import IncreaseBatchOnPlateau
from tfx_feeder.components.feeder_trainer.schedules.batch_ramp import BatchSizeRamp
from tfx_feeder.components.feeder_trainer.schedules.lr_scaling import optimizer_mismatch
from tfx_feeder.components.feeder_trainer.schedules.plan import Plan
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy, make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.schedules.time_model import TimePrediction
from tfx_feeder.components.feeder_trainer.training.baseline import BaselineModel
from tfx_feeder.components.feeder_trainer.training.checkpoint_manager import CheckpointManager
from tfx_feeder.components.feeder_trainer.training.eta import EtaTracker
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup
from tfx_feeder.components.feeder_trainer.training.progress import log_warning
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import (
    EXAMPLES_TO_BUILD,
    StepOptions,
)
from tfx_feeder.schemas.training_history import History, StrategyRecord


@dataclass(frozen=True)
class FitSpec:
    """Picklable specification of a model fit.

    Args:
        code: User code: ``model_fn`` and the optional functions.
        context: Context for the user code; its ``feature_spec`` describes the files.
        schedule: Schedule of learning rates and batch sizes, or a policy.
        strategy: Distribution strategy; any except ``Auto``.
        train_files: Training files; grouped by source if ``Feed.mix`` weights the sources.
        eval_files: Validation files; may be empty.
        checkpoint_dir: Checkpoint folder if ``training`` names none; the same for all attempts of
            a training.
        start_from: Folder written by ``save_for_warm_start``; optional.
        strict_start: True if a warm start from another architecture is an error.
        baseline: Folder of the baseline model of ``training.early_stopping``; optional.
        training: Training loop options.
        prediction: Predicted duration; optional.
        began_at: Unix time at which the predicted duration starts.
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
    training: TrainingOptions = field(default_factory=TrainingOptions)
    prediction: TimePrediction | None = None
    began_at: float = 0.0

    def checkpoints(
        self, feed: Feed | None = None, *, read_only: bool = False
    ) -> CheckpointManager:
        """Returns the manager of the checkpoint folder.

        Args:
            feed: Feed of the training examples; ``None`` if it is not open.
            read_only: See ``CheckpointManager``.
        """
        parts = training_id(self)
        folder = self.checkpoint_dir
        if self.training.checkpoint_dir is not None:
            # Several trainings may have the same option.
            folder = os.path.join(self.training.checkpoint_dir, hash_of(parts))
        if feed is not None:
            parts["number of examples"] = str(feed.num_examples)
            if self.context.feed.service is None:  # A service has no order.
                # A cached split is shuffled as a whole, a stream in blocks.
                parts["order of examples"] = "stream" if feed.reads_files else "cache"
        return CheckpointManager(
            folder,
            training_id=parts,
            every_s=self.training.checkpoint_every_s,
            every_examples=self.training.checkpoint_every_examples,
            keep=self.training.keep_checkpoints,
            read_only=read_only,
        )


@dataclass(frozen=True)
class FitResult:
    """Picklable result of a model fit.

    Args:
        weights: Values of the model's variables, in order.
        attributes: Values of the ``tf.Variable`` attributes of the model and its parts, by path.
        element: Batch of one example, to build a subclassed model.
        history: Training history.
    """

    weights: Sequence[np.ndarray]
    attributes: Mapping[str, np.ndarray]
    element: tuple
    history: History


@dataclass(frozen=True)
class ModelBundle:
    """A model and the functions that make its inputs from serialized examples.

    Args:
        keras_model: Compiled model.
        parser: Parses serialized examples.
        to_model_inputs: Converts a dict of features to the inputs of the model.
    """

    keras_model: keras.Model
    parser: ExampleParser
    to_model_inputs: Callable[[Any], Any]


@dataclass(frozen=True)
class FitContext:
    """Open resources of a model fit.

    Args:
        distribution: Resources of the strategy.
        model: Model with built variables.
        steps: Compiled steps.
        feed: Feed of training examples.
        validation: Feed of validation examples; optional.
        plan: Training plan.
        element: Batch of one example.
    """

    distribution: DistributionContext
    model: ModelBundle
    steps: Any
    feed: Feed
    validation: Feed | None
    plan: Plan
    element: tuple


def build_model(spec: FitSpec) -> ModelBundle:
    """Calls the user's ``model_fn``; call it in the scope of the strategy, if there is one."""
    model = make_model(spec.code.load_model_fn(), spec.context)
    parser = ExampleParser(
        spec.context.feature_spec, spec.context.feed, _features_to_parse(model, spec.context)
    )
    return ModelBundle(model, parser, feature_adapter(model, parser.feature_names))


@contextlib.contextmanager
def open_fit_context(spec: FitSpec, task: ClusterTask | None = None) -> Iterator[FitContext]:
    """Opens strategy, model and feeds, and closes them at the end.

    Args:
        spec: Specification of the fit; the same in every process.
        task: Cluster task of this process; ``None`` outside a cluster.

    Yields:
        The open ``FitContext``.

    Raises:
        ConfigError: Schedule, feed or model do not fit the data or the strategy.
        DataError: The files cannot be read.
    """
    options, training = spec.context.feed, spec.training
    distribution = open_context(spec.strategy, task)
    with contextlib.ExitStack() as stack:
        stack.enter_context(contextlib.closing(distribution))
        if training.deterministic:
            tf.config.experimental.enable_op_determinism()
        stack.enter_context(distribution.scope())
        reset_random_state(options.seed)
        model = build_model(spec)
        shard = distribution.shard
        options = stack.enter_context(shared_service(options, distribution.process_group, task))

        def opened(files: Files, *, shuffle: bool, **more: Any) -> Feed:
            feed = open_feed(files, model.parser, options, shuffle=shuffle, shard=shard, **more)
            if distribution.feed_device is not None:
                feed = DeviceFeed(feed, distribution.feed_device)
            return stack.enter_context(contextlib.closing(feed))

        augment_fn = spec.code.load_optional("augment_fn")
        feed = opened(spec.train_files, shuffle=True, augment_fn=augment_fn)
        validation = opened(spec.eval_files, shuffle=False) if spec.eval_files else None
        _check_same_examples(distribution.process_group, feed, validation)
        plan = make_plan(spec.schedule, feed.num_examples)
        steps = distribution.steps(
            model.keras_model,
            model.to_model_inputs,
            StepOptions(
                class_weight=training.class_weight,
                max_micro_batch_size=training.max_micro_batch_size,
                noise_scale=plan.needs_noise_scale,
                deterministic=training.deterministic,
            ),
        )
        # The same number of examples for each shard, so that no process receives none.
        sample = feed.sample(EXAMPLES_TO_BUILD * shard.count)
        steps.build(sample)
        element = take_rows(sample, 0, 1)
        yield FitContext(distribution, model, steps, feed, validation, plan, element)


def _check_same_examples(group: ProcessGroup, *feeds: Feed | None) -> None:
    """Checks that this process reads as many examples as the chief.

    Otherwise the processes would take different rows, or a different number, of batches.
    """
    own = [feed.num_examples for feed in feeds if feed is not None]
    if (expected := [int(number) for number in group.broadcast(own)]) != own:
        raise DataError(
            f"This process reads {own} examples to train and validate on, the chief {expected}. "
            "All machines of a cluster must see the same files."
        )


def fit(spec: FitSpec, task: ClusterTask | None = None) -> FitResult:
    """Fits the model in this process, which may be one of several.

    Args:
        spec: Specification of the fit; the same in every process.
        task: Cluster task of this process; ``None`` outside a cluster.

    Raises:
        ConfigError: Schedule, feed or model do not fit the data or the strategy.
        DataError: The files cannot be read.
    """
    with open_fit_context(spec, task) as context:
        history = run(spec, context)
        model = context.model.keras_model
        return FitResult(
            [keras.ops.convert_to_numpy(v) for v in model.variables],
            plain_values(model),
            context.element,
            history,
        )


def run(spec: FitSpec, context: FitContext) -> History:
    """Runs the training loop and returns the training history.

    Args:
        spec: Specification of the fit.
        context: Context opened for the specification.

    Raises:
        ConfigError: The base model or a checkpoint does not fit the model.
    """
    model, plan, options = context.model.keras_model, context.plan, spec.context.feed
    process_group = context.distribution.process_group
    replicas = context.distribution.replicas
    recorder = Recorder(replicas)
    strategy = spec.strategy
    lr_scaling = strategy.lr_scaling if isinstance(strategy, DistributedStrategy) else "none"
    factor = lr_scale_factor(lr_scaling, replicas, context.distribution.staleness)
    if factor != 1:
        scale = f"{replicas} replicas"
        if lr_scaling == STALENESS:
            scale = f"an expected staleness of {context.distribution.staleness:.0f} updates"
        recorder.event(
            "learning_rate_rule",
            f"The schedule's learning rates are multiplied by {factor:.4g}: "
            f"{lr_scaling} scaling with {scale}.",
        )
    _check_optimizer(model, spec.schedule, recorder)
    callbacks_fn = spec.code.load_optional("callbacks_fn") if process_group.is_chief else None
    callbacks = callbacks_fn(spec.context) if callbacks_fn else ()
    _check_callbacks(strategy, callbacks)
    TrainingLoop(
        context.steps,
        context.feed,
        plan,
        recorder,
        validation=context.validation,
        validation_batch_size=options.eval_batch_size,
        callbacks=callbacks,
        drop_remainder=options.drop_remainder,
        steps_per_execution=spec.training.steps_per_execution,
        probe=spec.training.probe,
        checkpoints=spec.checkpoints(context.feed, read_only=not process_group.is_chief),
        start=lambda: _warm_start(model, spec, recorder),
        process_group=process_group,
        lr_scale_factor=factor,
        eta=_eta(spec, recorder),
        baseline=_baseline(spec, context, recorder),
    ).run()
    if history_note := context.steps.history_note():
        recorder.event("exchange", history_note)
    return recorder.build(
        schedule=spec.schedule.to_dict(),
        strategy=strategy.name,
        feed={
            **dataclasses.asdict(options),
            "cache_chosen": context.feed.description,
            "rejections": dict(context.feed.rejections),
        },
        num_examples=context.feed.num_examples,
        code_fingerprint=spec.code.fingerprint(),
        policy=plan.policy,
        policy_state=plan.state(),
        placement=StrategyRecord(strategy.to_dict(), replicas, lr_scaling),
    )


def _check_callbacks(strategy: Strategy, callbacks: Sequence[keras.callbacks.Callback]) -> None:
    """Refuses callbacks that save the model on the chief alone.

    Keras creates variables whenever it saves a model, and with a strategy over several workers all
    of them have to create a variable together.
    """
    if isinstance(strategy, MultiWorker):
        for callback in callbacks:
            if isinstance(callback, keras.callbacks.ModelCheckpoint):
                raise ConfigError(
                    "callbacks_fn",
                    received=f"{type(callback).__name__}, with strategy {strategy.name}",
                    expected="callbacks that do not save the model",
                    fix="Remove it: checkpoints are saved without it. The weights of the best "
                    "epoch are those of EarlyStopping(restore_best_weights=True).",
                )


def _check_optimizer(model: keras.Model, schedule: Schedule | Policy, recorder: Recorder) -> None:
    """Warns if a policy scales the learning rate for another kind of optimizer."""
    if not isinstance(schedule, (BatchSizeRamp, IncreaseBatchOnPlateau)):
        return
    optimizer = getattr(model.optimizer, "inner_optimizer", model.optimizer)
    classes = [each.__name__ for each in type(optimizer).__mro__]
    if warning := optimizer_mismatch(schedule.optimizer, classes):
        recorder.event("optimizer", warning)
        log_warning(warning)


def _eta(spec: FitSpec, recorder: Recorder) -> Callable[[int], str | None] | None:
    """Returns a function that reports, after some epochs, a delay against the prediction."""
    prediction = spec.prediction
    if prediction is None:
        return None
    eta = EtaTracker(prediction)
    # The recorder counts the attempts before a restart, but not the start of the first one.
    return lambda epochs: eta.update(
        max(time.time() - spec.began_at, recorder.seconds), prediction.fraction_elapsed(epochs)
    )


def _baseline(spec: FitSpec, context: FitContext, recorder: Recorder) -> BaselineModel | None:
    options = spec.training.early_stopping
    if options is None or spec.baseline is None or context.validation is None:
        return None
    return BaselineModel(context.model.keras_model, spec.baseline, options, recorder)


def _features_to_parse(model: keras.Model, context: ModelContext) -> list[str] | None:
    """Returns the features that the model's inputs name; ``None`` if they do not name features."""
    names = input_names(model)
    if names is None or not set(names) <= set(context.feature_spec):
        return None  # One unnamed input, or a model that takes a dict.
    return names


def _warm_start(model: keras.Model, spec: FitSpec, recorder: Recorder) -> None:
    if spec.start_from is None:
        return
    obstacle = load_warm_start(model, spec.start_from)
    if obstacle is None:
        recorder.event("warm_start", "The weights of the base model were loaded.")
    elif spec.strict_start:
        raise ConfigError(
            "base_model",
            received=spec.start_from,
            expected=f"a model with the same variables, but {obstacle}",
            fix='Remove base_model, or set warm_start="compatible" to train from scratch in this '
            "case.",
        )
    else:
        recorder.event("cold_start", f"The base model was not used, because {obstacle}.")
