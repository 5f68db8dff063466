r"""The export of FeederTrainer for wide tables against the export of TFX's tutorials.

\b
feeder  signatures for serving, for the Evaluator and for tensors; only the raw features that the
        model depends on are parsed; a Keras file for warm starts
stock   the tutorials' signatures for serving and for the Evaluator; every raw feature is parsed

The table is like the taxi trips': a third each of sparse numbers that are scaled, sparse strings
that are looked up in a vocabulary, and dense numbers that are put into buckets. The transform graph
is written without a look at any data. Half of the features reach the model.
"""

import itertools
import tempfile
from pathlib import Path
from typing import Any

import click
import harness
import keras
import tensorflow as tf
import tensorflow_transform as tft
from tensorflow_transform import impl_helper
from tensorflow_transform.tf_metadata import dataset_metadata, metadata_io, schema_utils

from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.parsing import ExampleParser
from tfx_feeder.components.feeder_trainer.model.builder import feature_adapter
from tfx_feeder.components.feeder_trainer.model.export import RawExamples, export_serving
from tfx_feeder.components.feeder_trainer.model.warm_start import save_for_warm_start

VARIANTS = ("feeder", "stock")
WIDTHS, QUICK_WIDTHS = (10, 100, 300), (5, 10)
LABEL = "label"
_WORDS = "a\nb\nc\n"


@click.command(help=__doc__)
@harness.options(repeats=3)
def main(repeats: int, quick: bool, only: str | None, work_dir: Path | None) -> None:
    widths = QUICK_WIDTHS if quick else WIDTHS
    if only:
        assert work_dir is not None
        harness.emit(_measure(only, work_dir, widths))
        return
    with tempfile.TemporaryDirectory() as folder:
        for width in widths:
            _write_transform(Path(folder), width)
        samples = harness.in_turn(__file__, VARIANTS, repeats, Path(folder), quick=quick)
    _report(samples, widths)


def _spec(width: int) -> dict[str, Any]:
    kinds = (
        tf.io.VarLenFeature(tf.float32),
        tf.io.VarLenFeature(tf.string),
        tf.io.FixedLenFeature([], tf.float32),
    )
    spec = {f"c{index}": kinds[index % len(kinds)] for index in range(width)}
    return spec | {LABEL: tf.io.FixedLenFeature([], tf.int64)}


def _write_transform(work_dir: Path, width: int) -> None:
    folder, words, spec = work_dir / str(width), str(work_dir / "words"), _spec(width)
    Path(words).write_text(_WORDS)

    def preprocess(inputs: dict[str, Any]) -> dict[str, Any]:
        return {f"{name}_xf": _preprocessed(value, words) for name, value in inputs.items()}

    types = {
        name: tf.SparseTensorSpec([None, None], feature.dtype)
        if isinstance(feature, tf.io.VarLenFeature)
        else tf.TensorSpec([None], feature.dtype)
        for name, feature in spec.items()
    }
    impl_helper.analyze_in_place(preprocess, False, spec, types, str(folder))
    metadata = dataset_metadata.DatasetMetadata(schema_utils.schema_from_feature_spec(spec))
    metadata_io.write_metadata(metadata, str(folder / tft.TFTransformOutput.RAW_METADATA_DIR))


def _preprocessed(value: Any, words: str) -> tf.Tensor:
    if isinstance(value, tf.Tensor):
        if value.dtype == tf.int64:
            return value
        return tft.apply_buckets(value, tf.constant([[0.0, 1.0, 2.0]]))
    column = tf.SparseTensor(value.indices, value.values, [value.dense_shape[0], 1])
    if value.dtype == tf.string:
        dense = tf.squeeze(tf.sparse.to_dense(column, ""), 1)
        return tft.apply_vocabulary(dense, tf.constant(words), num_oov_buckets=1)
    return (tf.squeeze(tf.sparse.to_dense(column), 1) - 1.0) / 2.0


def _measure(variant: str, work_dir: Path, widths: tuple[int, ...]) -> harness.Sample:
    sample: harness.Sample = {}
    # What the first export of a process takes in addition, such as imports, is left out.
    for width in (widths[0], *widths):
        graph = tft.TFTransformOutput(str(work_dir / str(width)))
        model = _model(graph, width)
        with harness.stopwatch() as times, tempfile.TemporaryDirectory() as folder:
            {"feeder": _export, "stock": _export_as_tutorial}[variant](model, graph, Path(folder))
        sample |= {f"{width} {figure}": seconds for figure, seconds in times.items()}
    return sample


def _model(graph: tft.TFTransformOutput, width: int) -> keras.Model:
    spec = graph.transformed_feature_spec()
    names = [f"c{index}_xf" for index in range(0, width, 2)]
    inputs = {name: keras.Input((1,), name=name, dtype=spec[name].dtype.name) for name in names}
    numbers = [keras.ops.cast(tensor, "float32") for tensor in inputs.values()]
    outputs = keras.layers.Dense(1, activation="sigmoid")(keras.ops.concatenate(numbers))
    model = keras.Model(inputs, outputs)
    model.compile("adam", "binary_crossentropy")
    return model


def _export(model: keras.Model, graph: tft.TFTransformOutput, folder: Path) -> None:
    options = FeedOptions(label_key=f"{LABEL}_xf")
    parser = ExampleParser(graph.transformed_feature_spec(), options, list(model.input))
    layer = graph.transform_features_layer()
    examples = RawExamples(
        graph.raw_feature_spec(), layer, parser, feature_adapter(model, parser.feature_names)
    )
    export_serving(model, examples, str(folder / "serving"))
    save_for_warm_start(model, folder / "keras")


def _export_as_tutorial(model: keras.Model, graph: tft.TFTransformOutput, folder: Path) -> None:
    layer = graph.transform_features_layer()
    spec = graph.raw_feature_spec()
    signature = [tf.TensorSpec([None], tf.string, name="examples")]
    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.track(layer)

    def transform_features(examples: tf.Tensor) -> dict[str, tf.Tensor]:
        return layer(tf.io.parse_example(examples, spec))

    def serve(examples: tf.Tensor) -> tf.Tensor:
        inputs = {name: feature for name, feature in spec.items() if name != LABEL}
        transformed = layer(tf.io.parse_example(examples, inputs))
        return model({name: transformed[name] for name in model.input}, training=False)

    archive.add_endpoint("serving_default", serve, signature)
    archive.add_endpoint("transform_features", transform_features, signature)
    archive.write_out(str(folder), verbose=False)


def _report(samples: harness.Samples, widths: tuple[int, ...]) -> None:
    rows = []
    for variant, width in itertools.product(VARIANTS, widths):
        figures = {f"{width} wall_s": ".1f", f"{width} cpu_s": ".1f"}
        cpu_ms = harness.median(samples[variant], f"{width} cpu_s") * 1000 / width
        rows.append(
            (f"{variant}, {width}", *harness.medians(samples[variant], figures), f"{cpu_ms:.0f}")
        )
    harness.show("Export", ("raw features", "s", "CPU s", "CPU ms/feature"), rows)
    for width in widths:
        cpu = harness.ratios(samples["feeder"], samples["stock"], f"{width} cpu_s")
        print(f"CPU seconds at {width} raw features, feeder to stock: {harness.describe(cpu)}")
    wall = harness.ratios(samples["feeder"], samples["stock"], f"{widths[-1]} wall_s")
    print(f"ratio {harness.describe(wall)}: export of {widths[-1]} raw features, feeder to stock")


if __name__ == "__main__":
    main()
