"""Competitor of the reference pipeline: the same work with stock TFX components only."""

import json
from pathlib import Path

import tensorflow_model_analysis as tfma
from tensorflow_model_analysis.proto import config_pb2
from tfx import v1 as tfx
from tfx.components import Transform

from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.pipeline.datasets import Dataset
from tfx_feeder.pipeline.eval_config import LABEL, METRIC, SIGNATURE, overall_margin
from tfx_feeder.schemas.evaluation import ALL_EXAMPLES


def create_pipeline(
    data: Dataset,
    examples: Path,
    root: Path,
    schedule: Schedule,
    *,
    seed: int,
    beam_args: list[str],
    transform_statistics: bool,
) -> tfx.dsl.Pipeline:
    """Wires the components.

    Args:
        data: Schema, slices and thresholds are those of the reference pipeline.
        examples: Folder of Examples, with a folder for each split, as TFX writes them.
        root: Folder of everything that is written.
        schedule: Trained phase by phase.
        seed: Of the initial weights and the order of the examples.
        beam_args: For every Beam component.
        transform_statistics: Let Transform compute statistics before and after, its default.
    """
    splits = [
        tfx.proto.Input.Split(name=name, pattern=f"Split-{name}/*") for name in ("train", "eval")
    ]
    example_gen = tfx.components.ImportExampleGen(
        input_base=str(examples), input_config=tfx.proto.Input(splits=splits)
    )
    imported = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=imported)
    schema_gen = tfx.components.ImportSchemaGen(schema_file=str(data.schema / "schema.pbtxt"))
    schema = schema_gen.outputs["schema"]
    validator = tfx.components.ExampleValidator(
        statistics=statistics_gen.outputs["statistics"], schema=schema
    )
    transform = Transform(
        examples=imported,
        schema=schema,
        preprocessing_fn="stock_training.preprocessing_fn",
        disable_statistics=not transform_statistics,
    )
    trainer = tfx.components.Trainer(
        run_fn="stock_training.run_fn",
        examples=transform.outputs["transformed_examples"],
        transform_graph=transform.outputs["transform_graph"],
        schema=schema,
        custom_config={"schedule": json.dumps(schedule.to_dict()), "seed": seed},
    )
    model = trainer.outputs["model"]
    baseline = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("baseline")
    evaluator = tfx.components.Evaluator(
        examples=imported,
        model=model,
        baseline_model=baseline.outputs["model"],
        eval_config=_eval_config(data),
        example_splits=["eval"],
    )
    pusher = tfx.components.Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(root / "serving"))
        ),
    )
    metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(
        str(root / "metadata.sqlite")
    )
    return tfx.dsl.Pipeline(
        pipeline_name=data.name,
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=metadata,
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            validator,
            transform,
            trainer,
            baseline,
            evaluator,
            pusher,
        ],
        beam_pipeline_args=beam_args,
    )


def _eval_config(data: Dataset) -> tfma.EvalConfig:
    """Returns the floors and the margin as bare thresholds, the only ones that TFMA has."""
    floors = {floor.slices == ALL_EXAMPLES: floor.value for floor in data.gate.floors}
    overall = tfma.SlicingSpec()
    slices = [tfma.SlicingSpec(feature_keys=[key]) for key in data.slice_keys]
    change = tfma.GenericChangeThreshold(
        direction=tfma.MetricDirection.HIGHER_IS_BETTER,
        absolute={"value": -(overall_margin(data.gate) or 0.0)},
    )
    thresholds = [
        config_pb2.PerSliceMetricThreshold(
            slicing_specs=specs,
            threshold=tfma.MetricThreshold(
                value_threshold=tfma.GenericValueThreshold(lower_bound={"value": floors[whole]}),
                change_threshold=change if whole else None,
            ),
        )
        for whole, specs in ((True, [overall]), (False, slices))
    ]
    metrics = [
        tfma.MetricConfig(class_name="ExampleCount"),
        tfma.MetricConfig(
            class_name="SparseCategoricalAccuracy",
            config=json.dumps({"name": METRIC}),
            per_slice_thresholds=thresholds,
        ),
    ]
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name=SIGNATURE, label_key=LABEL)],
        slicing_specs=[overall, *slices],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )
