"""Reference pipeline: from images to an evaluated and pushed model."""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

from functools import partial
from pathlib import Path
from typing import Any

from tfx import v1 as tfx
from tfx.components import Transform
from tfx.types.channel_utils import union

from tfx_feeder.components import (
    EvalGate,
    FeederTrainer,
    ImageExampleGen,
    ModelCardGenerator,
    SliceGen,
)
from tfx_feeder.components.evaluator.component import Evaluator
from tfx_feeder.components.feeder_trainer.model.user_module import UserCode
from tfx_feeder.components.pusher.component import Pusher
from tfx_feeder.components.resolvers.strategies import (
    LatestBlessedModelBefore,
    StatisticsOfTrainingData,
)
from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.datasets import SPAN_PATTERN
from tfx_feeder.pipeline.eval_config import eval_config, slice_gen_options
from tfx_feeder.pipeline.run_plan import SpanWeight

_BUCKETS = 100
"""Hash buckets of the evaluation split; the training split has twice as many, the TFX default."""
_REST = "rest"
_WITHOUT_REST = tfx.proto.SplitsConfig(analyze=["train"], transform=["train", "eval"])


def create_pipeline(
    config: PipelineConfig, *, root: str | None = None, stock_resolvers: bool = False
) -> tfx.dsl.Pipeline:
    """Creates the pipeline.

    Args:
        config: Settings of the run.
        root: URI under which the nodes access ``config.root``; by default, the same folder.
        stock_resolvers: If True, resolve models by TFX's own strategy, for runners that support
            no other. SliceGen then compares with no earlier data.

    Raises:
        ConfigError: A setting is invalid.
        DataError: The images cannot be used.
    """

    def place(path: Path) -> str:
        if root is None or not path.is_relative_to(config.root):
            return str(path)
        return f"{root.rstrip('/')}/{path.relative_to(config.root)}"

    images = place(config.data.folder)
    example_gen = _example_gen(config, images, config.span)
    examples = example_gen.outputs["examples"]
    earlier_gens = [_earlier_gen(config, images, part) for part in config.plan.earlier]
    # Only the newest span is validated and used for evaluation.
    all_examples = examples
    if earlier_gens:
        all_examples = union([gen.outputs["examples"] for gen in (*earlier_gens, example_gen)])
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    statistics = statistics_gen.outputs["statistics"]
    if config.data.schema:
        schema_gen = tfx.components.ImportSchemaGen(
            schema_file=place(config.data.schema / "schema.pbtxt")
        )
    else:
        schema_gen = tfx.components.SchemaGen(statistics=statistics, infer_feature_shape=True)
    schema = schema_gen.outputs["schema"]
    example_validator = tfx.components.ExampleValidator(statistics=statistics, schema=schema)
    transform = Transform(
        examples=all_examples,
        schema=schema,
        preprocessing_fn=config.preprocessing_fn,
        custom_config={
            "height": config.image.height,
            "width": config.image.width,
            "channels": config.image.channels,
            # The cache does not see code behind an importable path, so it is keyed by this hash.
            "code_fingerprint": UserCode(model_fn=config.preprocessing_fn).fingerprint(),
        },
        splits_config=_WITHOUT_REST if config.plan.earlier else None,
        disable_statistics=True,
    )
    resolver = partial(_blessed_model, stock=stock_resolvers)
    base_model = resolver(transform.outputs["transformed_examples"]).with_id("base_model")
    trainer = FeederTrainer(
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        base_model=base_model.outputs["model"] if config.plan.needs_blessed else None,
        warm_start="compatible" if config.plan.warm_start else "off",
        model_fn=config.model_fn,
        schedule=config.schedule,
        strategy=config.strategy,
        feed=config.feed,
        training=config.plan.training(config.training, config.data.gate),
        custom_config=config.custom_config,
    )
    model = trainer.outputs["model"]
    baseline = resolver(model).with_id("baseline")
    earlier_statistics = (
        None if stock_resolvers else _statistics_of(model=baseline.outputs["model"])
    )
    slice_gen = SliceGen(
        examples=examples,
        schema=schema,
        statistics=statistics,
        baseline_statistics=earlier_statistics.outputs["statistics"]
        if earlier_statistics
        else None,
        model=baseline.outputs["model"],
        options=slice_gen_options(config.data.slice_keys, len(config.data.classes)),
    )
    metrics = eval_config(len(config.data.classes))
    # With a schema, the Evaluator would not read the names of the slices.
    evaluator = Evaluator(
        examples=slice_gen.outputs["annotated_examples"],
        model=model,
        baseline_model=baseline.outputs["model"],
        eval_config=metrics,
        example_splits=["eval"],
    )
    eval_gate = EvalGate(
        evaluation=evaluator.outputs["evaluation"],
        model=model,
        baseline_model=baseline.outputs["model"],
        slices=slice_gen.outputs["slices"],
        gate=config.data.gate,
        eval_config=metrics,
    )
    pusher = Pusher(
        model=model,
        model_blessing=eval_gate.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(
                base_directory=place(config.workspace.serving)
            )
        ),
    )
    model_card = ModelCardGenerator(
        pushed_model=pusher.outputs["pushed_model"],
        model=model,
        model_blessing=eval_gate.outputs["blessing"],
        evaluation=evaluator.outputs["evaluation"],
        gate_report=eval_gate.outputs["gate_report"],
        training_history=trainer.outputs["training_history"],
        examples=all_examples,
        schema=schema,
        transform_graph=transform.outputs["transform_graph"],
        intended_slices=config.data.slice_keys,
    ).with_id("ModelCard")
    return tfx.dsl.Pipeline(
        pipeline_name=config.name,
        pipeline_root=place(config.workspace.artifacts),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(config.workspace.metadata)
        ),
        components=[
            *earlier_gens,
            example_gen,
            statistics_gen,
            schema_gen,
            example_validator,
            transform,
            *([base_model] if config.plan.needs_blessed else []),
            trainer,
            baseline,
            *([earlier_statistics] if earlier_statistics else []),
            slice_gen,
            evaluator,
            eval_gate,
            pusher,
            model_card,
        ],
        beam_pipeline_args=list(config.beam_args),
        enable_cache=config.enable_cache,
    )


def _earlier_gen(config: PipelineConfig, images: str, part: SpanWeight) -> ImageExampleGen:
    """Reads an earlier span; examples beyond its fraction go to a separate split."""
    rest = round(_BUCKETS * (1 / part.fraction - 1))
    buckets = {"train": 2 * _BUCKETS, "eval": _BUCKETS, _REST: 3 * rest}
    output_config = tfx.proto.Output(
        split_config=tfx.proto.SplitConfig(
            splits=[
                tfx.proto.SplitConfig.Split(name=name, hash_buckets=number)
                for name, number in buckets.items()
                if number
            ]
        )
    )
    gen = _example_gen(config, images, part.span, output_config if rest else None)
    return gen.with_id(f"{gen.id}_{part.span}")


def _example_gen(
    config: PipelineConfig,
    images: str,
    span: int | None,
    output_config: tfx.proto.Output | None = None,
) -> ImageExampleGen:
    data = config.data
    patterns = {"all": SPAN_PATTERN} if data.spans else data.patterns
    splits = [
        tfx.proto.Input.Split(name=name, pattern=pattern) for name, pattern in patterns.items()
    ]
    range_config = None
    if span is not None:
        static_range = tfx.proto.StaticRange(start_span_number=span, end_span_number=span)
        range_config = tfx.proto.RangeConfig(static_range=static_range)
    return ImageExampleGen(
        input_base=images,
        input_config=tfx.proto.Input(splits=splits) if splits else None,
        output_config=output_config,
        range_config=range_config,
        classes=data.classes,
        max_rejected_fraction=config.max_rejected_fraction,
    )


def _blessed_model(before: tfx.types.BaseChannel, *, stock: bool) -> tfx.dsl.Resolver:
    latest = tfx.dsl.experimental.LatestBlessedModelStrategy
    bound: dict[str, Any] = {} if stock else {"before": before}
    return tfx.dsl.Resolver(
        strategy_class=latest if stock else LatestBlessedModelBefore,
        **bound,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    )


def _statistics_of(model: tfx.types.BaseChannel) -> tfx.dsl.Resolver:
    return tfx.dsl.Resolver(
        strategy_class=StatisticsOfTrainingData,
        model=model,
        statistics=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ExampleStatistics),
    ).with_id("baseline_statistics")
