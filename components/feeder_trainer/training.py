"""One training from files to exported model, without TFX."""

import contextlib
import dataclasses
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import keras
import tensorflow as tf

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.checkpoint import CheckpointFolder
from tfx_feeder.components.feeder_trainer.export import (
    export_serving,
    needed_features,
    save_for_warm_start,
    start_from,
)
from tfx_feeder.components.feeder_trainer.feed import open_feed
from tfx_feeder.components.feeder_trainer.feeding.parsing import BatchParser
from tfx_feeder.components.feeder_trainer.feeding.sources import Files
from tfx_feeder.components.feeder_trainer.history import Recorder
from tfx_feeder.components.feeder_trainer.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.loop_options import Loop
from tfx_feeder.components.feeder_trainer.model_source import (
    ModelContext,
    feature_adapter,
    input_names,
    make_model,
)
from tfx_feeder.components.feeder_trainer.plan import Policy, make_plan
from tfx_feeder.components.feeder_trainer.schedule import Schedule
from tfx_feeder.components.feeder_trainer.step import CompiledSteps
from tfx_feeder.components.feeder_trainer.strategies import Strategy
from tfx_feeder.components.feeder_trainer.tensorboard import write_scalars
from tfx_feeder.components.feeder_trainer.user_code import UserCode
from tfx_feeder.schemas.training_history import History


@dataclass(frozen=True)
class TrainingJob:
    """What one training needs to know.

    Args:
        code: The user's functions.
        context: Passed to them; its ``feature_spec`` is that of the files.
        schedule: Learning rates, batch sizes and lengths, or the policy that decides them.
        strategy: Where to train.
        train_files: Files to train on; by source where ``Feed.mix`` weighs them.
        eval_files: TFRecord files to validate on; may be empty.
        raw_feature_spec: Features of the raw Examples that the served model takes.
        transform: Turns parsed raw features into training features; ``None`` if they are the same.
        start_from: Folder that ``save_for_warm_start`` wrote; optional.
        strict_start: Whether a start from another architecture is an error.
        serving_dir: Where the SavedModel goes.
        keras_dir: Where the Keras file goes.
        log_dir: Where the TensorBoard logs go.
        checkpoint_dir: Where the checkpoints go, unless ``loop`` names a folder; the same for
            every attempt at this training, and removed at its end.
        loop: How to run.
    """

    code: UserCode
    context: ModelContext
    schedule: Schedule | Policy
    strategy: Strategy
    train_files: Files
    eval_files: Sequence[str]
    raw_feature_spec: Mapping[str, Any]
    transform: Callable[[dict[str, Any]], dict[str, Any]] | None
    start_from: str | None
    strict_start: bool
    serving_dir: str
    keras_dir: str
    log_dir: str
    checkpoint_dir: str
    loop: Loop = field(default_factory=Loop)


def train(job: TrainingJob) -> History:
    """Trains, exports, and returns the record.

    Raises:
        ConfigError: Schedule, feed or model do not fit the data.
        DataError: The files cannot be read.
    """
    recorder = Recorder()
    options = job.context.feed
    keras.utils.set_random_seed(options.seed)
    if job.loop.deterministic:
        tf.config.experimental.enable_op_determinism()
    model = make_model(job.code.load_model_fn(), job.context)
    parser = BatchParser(job.context.feature_spec, options, _wanted(model, job.context))
    adapt = feature_adapter(model, parser.feature_names)
    checkpoints = _checkpoint_folder(job)
    with contextlib.ExitStack() as feeds:
        augment_fn = job.code.load_optional("augment_fn")
        feed = feeds.enter_context(
            contextlib.closing(
                open_feed(job.train_files, parser, options, shuffle=True, augment_fn=augment_fn)
            )
        )
        validation = None
        if job.eval_files:
            validation = feeds.enter_context(
                contextlib.closing(open_feed(job.eval_files, parser, options, shuffle=False))
            )
        plan = make_plan(job.schedule, feed.num_examples)
        steps = CompiledSteps(
            model,
            adapt,
            class_weight=job.loop.class_weight,
            max_micro_batch_size=job.loop.max_micro_batch_size,
            noise_scale=plan.wants_noise_scale,
            deterministic=job.loop.deterministic,
        )
        steps.build_from(next(iter(feed.batches([range(1)], 1))))
        if job.start_from is not None:
            _warm_start(model, job, recorder)
        callbacks_fn = job.code.load_optional("callbacks_fn")
        TrainingLoop(
            steps,
            feed,
            plan,
            recorder,
            validation=validation,
            validation_batch_size=options.eval_batch_size,
            callbacks=callbacks_fn(job.context) if callbacks_fn else (),
            drop_remainder=options.drop_remainder,
            steps_per_execution=job.loop.steps_per_execution,
            probe=job.loop.probe,
            checkpoints=checkpoints,
        ).run()

    history = recorder.finish(
        schedule=job.schedule.to_dict(),
        strategy=job.strategy.name,
        feed={
            **dataclasses.asdict(options),
            "cache_chosen": feed.description,
            "rejections": dict(feed.rejections),
        },
        num_examples=feed.num_examples,
        code_fingerprint=job.code.fingerprint(),
        policy=plan.policy,
        policy_state=plan.state(),
    )
    write_scalars(history, job.log_dir)
    export_serving(
        model,
        _raw_examples_to_inputs(job, parser, adapt),
        job.serving_dir,
        track=() if job.transform is None else (job.transform,),
    )
    save_for_warm_start(model, job.keras_dir)
    checkpoints.remove()
    return history


def _checkpoint_folder(job: TrainingJob) -> CheckpointFolder:
    return CheckpointFolder(
        job.loop.checkpoint_dir or job.checkpoint_dir,
        every_s=job.loop.checkpoint_every_s,
        every_examples=job.loop.checkpoint_every_examples,
        keep=job.loop.keep_checkpoints,
    )


def _wanted(model: keras.Model, context: ModelContext) -> list[str] | None:
    """Returns the features to parse: the model's inputs, where they can be told by name."""
    names = input_names(model)
    if names is None or not set(names) <= set(context.feature_spec):
        return None  # One unnamed input, or a model that takes a dict.
    return names


def _warm_start(model: keras.Model, job: TrainingJob, recorder: Recorder) -> None:
    assert job.start_from is not None
    obstacle = start_from(model, job.start_from)
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


def _raw_examples_to_inputs(
    job: TrainingJob, parser: BatchParser, adapt: Callable[[Any], Any]
) -> Callable[[tf.Tensor], Any]:
    special = {*job.context.feed.label_keys, job.context.feed.weight_key}
    spec = {key: value for key, value in job.raw_feature_spec.items() if key not in special}
    transform = job.transform or dict
    spec = needed_features(spec, transform, parser.feature_names)

    def to_inputs(serialized: tf.Tensor) -> Any:
        features = transform(tf.io.parse_example(serialized, spec))
        return adapt(parser.decode({key: features[key] for key in parser.feature_names}))

    return to_inputs
