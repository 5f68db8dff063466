"""A pipeline of stock components, as TFX's penguin example has them; run as a script.

The first run pushes its model. The second is trained on mixed up labels and not blessed. In the
third the user's code raises.
"""

import sys
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
from tfx import v1 as tfx

from tfx_feeder.pipeline.configs import BEAM_ARGS

FEATURES = ("culmen_length_mm", "culmen_depth_mm", "flipper_length_mm", "body_mass_g")
LABEL = "species"
SPECIES, ROWS = 3, 300
NAME = "penguin"


def run_fn(fn_args: tfx.components.FnArgs) -> None:
    """Trains with fit(), as a user of the stock Trainer does."""
    if fn_args.custom_config["fails"]:
        raise RuntimeError("The penguins [red]walked</> away.")
    keras.utils.set_random_seed(1)
    inputs = {name: keras.Input((1,), name=name) for name in FEATURES}
    hidden = keras.layers.Dense(8, activation="relu")(
        keras.layers.Concatenate()([*inputs.values()])
    )
    outputs = keras.layers.Dense(SPECIES, activation="softmax")(hidden)
    model = keras.Model(inputs, outputs)
    model.compile(keras.optimizers.Adam(0.02), "sparse_categorical_crossentropy")
    spec = {name: tf.io.FixedLenFeature([1], tf.float32) for name in FEATURES}
    labelled = spec | {LABEL: tf.io.FixedLenFeature([1], tf.int64)}

    def parse(records: tf.Tensor) -> tuple[dict[str, tf.Tensor], tf.Tensor]:
        features = tf.io.parse_example(records, labelled)
        return features, features.pop(LABEL)

    files = tf.io.gfile.glob(fn_args.train_files)
    records = tf.data.TFRecordDataset(files, compression_type="GZIP")
    model.fit(records.batch(20).map(parse), epochs=40, verbose=0)
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda examples: model(tf.io.parse_example(examples, spec)),
        [tf.TensorSpec([None], tf.string, name="examples")],
    )
    archive.write_out(fn_args.serving_model_dir)


def create_pipeline(root: Path, *, fails: bool) -> tfx.dsl.Pipeline:
    """Wires stock components."""
    example_gen = tfx.components.CsvExampleGen(input_base=str(root / "data"))
    examples = example_gen.outputs["examples"]
    statistics_gen = tfx.components.StatisticsGen(examples=examples)
    schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
    trainer = tfx.components.Trainer(
        run_fn="stock_penguin.run_fn",
        examples=examples,
        schema=schema_gen.outputs["schema"],
        train_args=tfx.proto.TrainArgs(num_steps=1),
        eval_args=tfx.proto.EvalArgs(num_steps=1),
        custom_config={"fails": fails},
    )
    model = trainer.outputs["model"]
    baseline = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
        model_blessing=tfx.dsl.Channel(type=tfx.types.standard_artifacts.ModelBlessing),
    ).with_id("latest_blessed_model_resolver")
    evaluator = tfx.components.Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline.outputs["model"],
        eval_config=_eval_config(),
    )
    pusher = tfx.components.Pusher(
        model=model,
        model_blessing=evaluator.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(root / "serving"))
        ),
    )
    return tfx.dsl.Pipeline(
        pipeline_name=NAME,
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        components=[
            example_gen,
            statistics_gen,
            schema_gen,
            trainer,
            baseline,
            evaluator,
            pusher,
        ],
        beam_pipeline_args=list(BEAM_ARGS),
        enable_cache=True,
    )


def write_data(root: Path, *, mixed_up: bool) -> None:
    """Writes clouds of penguins, one a species, with their own label or with any."""
    random = np.random.default_rng(0)
    labels = np.arange(ROWS) % SPECIES
    features = labels[:, None] + random.normal(0, 0.1, (ROWS, len(FEATURES)))
    if mixed_up:
        labels = random.permutation(labels)
    rows = [",".join(map(str, (*row, label))) for row, label in zip(features, labels, strict=True)]
    (root / "data").mkdir(exist_ok=True)
    (root / "data" / "penguins.csv").write_text("\n".join([",".join((*FEATURES, LABEL)), *rows]))


def _eval_config() -> "tfx.proto.EvalConfig":
    import tensorflow_model_analysis as tfma

    lower = {"value": 0.8}
    accuracy = {
        "class_name": "SparseCategoricalAccuracy",
        "config": '{"name": "accuracy"}',
        "threshold": {"value_threshold": {"lower_bound": lower}},
    }
    return tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key=LABEL)],
        slicing_specs=[tfma.SlicingSpec()],
        metrics_specs=[tfma.MetricsSpec(metrics=[tfma.MetricConfig(**accuracy)])],
    )


if __name__ == "__main__":
    folder = Path(sys.argv[1])
    write_data(folder, mixed_up=False)
    tfx.orchestration.LocalDagRunner().run(create_pipeline(folder, fails=False))
    write_data(folder, mixed_up=True)
    tfx.orchestration.LocalDagRunner().run(create_pipeline(folder, fails=False))
    try:
        tfx.orchestration.LocalDagRunner().run(create_pipeline(folder, fails=True))
    except RuntimeError as error:
        print(f"failed: {error}")
