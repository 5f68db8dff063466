r"""SliceGen, Evaluator and EvalGate against the stock Evaluator alone, on Fashion-MNIST.

\b
stock      the Evaluator with a slicing specification by hand: eight slices, candidate and baseline
one model  the same without a baseline: what the second model costs in one pass
declared   SliceGen with the eight slices declared, Evaluator on its one feature, EvalGate
search     the same, with properties of the images and the search for weak slices

Data sets are made by taking images of the 70,000 again or leaving some out. The ratio compares the
CPU seconds of declared and stock on the largest, each without its own on the smallest: the fixed
start of components, of Beam and of TensorFlow.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import click
import harness

VARIANTS = ("stock", "one model", "declared", "search")
SIZES, QUICK_SIZES = (1_000, 10_000, 60_000), (100, 200)
GROUPS = 8
_IMAGE, _LABEL, _GROUP = "image", "label", "group"
_NODES = ("SliceGen", "Evaluator", "EvalGate")


@click.command(help=__doc__)
@harness.options(repeats=3)
@click.option("--data", default="fashion_mnist", show_default=True, help="Or digits.")
def main(data: str, repeats: int, quick: bool, only: str | None, work_dir: Path | None) -> None:
    sizes = QUICK_SIZES if quick else SIZES
    if only:
        assert work_dir is not None
        variant, _, size = only.rpartition(" ")
        harness.emit(_measure(variant, work_dir, int(size)))
        return
    with tempfile.TemporaryDirectory() as folder:
        _prepare(Path(folder), data, sizes)
        variants = [f"{variant} {size}" for size in sizes for variant in VARIANTS]
        samples = harness.in_turn(__file__, variants, repeats, Path(folder), quick=quick)
    _report(samples, sizes)


def _report(samples: harness.Samples, sizes: tuple[int, ...]) -> None:
    rows = []
    for variant in VARIANTS:
        for size in sizes:
            taken = samples[f"{variant} {size}"]
            nodes = [f"{harness.median(taken, node):.1f}" for node in _NODES]
            both = harness.medians(taken, {"cpu": ".1f", "wall": ".1f"})
            rows.append((f"{variant}, {size:,}", *nodes, *both))
    columns = ("CPU seconds", *_NODES, "together", "wall")
    harness.show("Where the time goes", columns, rows)
    first, *_, last = sizes
    declared, stock = (
        [
            large["cpu"] - small["cpu"]
            for small, large in zip(
                samples[f"{variant} {first}"], samples[f"{variant} {last}"], strict=True
            )
        ]
        for variant in ("declared", "stock")
    )
    for size in sizes:
        ratios = harness.ratios(samples[f"declared {size}"], samples[f"stock {size}"], "cpu")
        print(f"{size:,} images, with the fixed start: {harness.describe(ratios)}")
    ratios = [ours / theirs for ours, theirs in zip(declared, stock, strict=True)]
    print(f"ratio {harness.describe(ratios)}: CPU of declared to stock, {first:,} to {last:,}")


def _measure(variant: str, folder: Path, size: int) -> dict[str, float]:
    import timed_nodes

    with tempfile.TemporaryDirectory() as root:
        times = timed_nodes.run_timed(_pipeline(variant, folder, size, Path(root)))
    nodes = {node: times.get(node, {"cpu": 0.0, "wall": 0.0}) for node in _NODES}
    return {
        **{node: figures["cpu"] for node, figures in nodes.items()},
        "cpu": sum(figures["cpu"] for figures in nodes.values()),
        "wall": sum(figures["wall"] for figures in nodes.values()),
    }


def _pipeline(variant: str, folder: Path, size: int, root: Path) -> Any:
    from tfx import v1 as tfx

    from tfx_feeder.components import EvalGate, SliceGen
    from tfx_feeder.components.eval_gate.gate import Gate, Margin
    from tfx_feeder.components.slice_gen.options import LossOptions, SliceGenOptions
    from tfx_feeder.pipeline.configs import BEAM_ARGS
    from tfx_feeder.schemas.slices import SLICES_FEATURE

    kinds = tfx.types.standard_artifacts

    def imported(name: str, path: Path, kind: Any, **properties: str) -> Any:
        importer = tfx.dsl.Importer(
            source_uri=str(path), artifact_type=kind, properties=properties or None
        )
        components.append(importer.with_id(name))
        return importer.outputs["result"]

    components: list[Any] = []
    examples = imported(
        "examples", folder / str(size), kinds.Examples, split_names=json.dumps(["eval"])
    )
    model = imported("model", folder / "candidate", kinds.Model)
    baseline = None if variant == "one model" else imported("base", folder / "base", kinds.Model)
    slices, feature = None, _GROUP
    if variant in ("declared", "search"):
        statistics_gen = tfx.components.StatisticsGen(examples=examples)
        schema_gen = tfx.components.SchemaGen(statistics=statistics_gen.outputs["statistics"])
        search = variant == "search"
        slice_gen = SliceGen(
            examples=examples,
            schema=schema_gen.outputs["schema"],
            statistics=statistics_gen.outputs["statistics"],
            model=baseline if search else None,
            options=SliceGenOptions(
                slices=(_GROUP,),
                image_feature=_IMAGE if search else None,
                loss=LossOptions(_LABEL) if search else None,
            ),
        )
        examples, slices = (slice_gen.outputs[n] for n in ("annotated_examples", "slices"))
        feature = SLICES_FEATURE
        components += [statistics_gen, schema_gen, slice_gen]
    evaluator = tfx.components.Evaluator(
        examples=examples,
        model=model,
        baseline_model=baseline,
        eval_config=_eval_config(feature, paired=slices is not None),
    )
    components.append(evaluator)
    if slices is not None:
        gate = EvalGate(
            evaluation=evaluator.outputs["evaluation"],
            model=model,
            baseline_model=baseline,
            slices=slices,
            gate=Gate(margins=(Margin(0.02), Margin(0.02, "*"))),
        )
        components.append(gate)
    metadata = tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "mlmd.db"))
    return tfx.dsl.Pipeline(
        pipeline_name="evaluation",
        pipeline_root=str(root),
        metadata_connection_config=metadata,
        components=components,
        beam_pipeline_args=list(BEAM_ARGS),
    )


def _eval_config(feature: str, *, paired: bool) -> Any:
    import tensorflow_model_analysis as tfma
    from tensorflow_model_analysis.proto import config_pb2

    from tfx_feeder.components.eval_gate.tfma_metrics import paired_answers

    accuracy = tfma.MetricConfig(
        class_name="SparseCategoricalAccuracy", config=json.dumps({"name": "accuracy"})
    )
    metrics = [tfma.MetricConfig(class_name="ExampleCount"), accuracy]
    if paired:
        metrics.append(paired_answers())
    return config_pb2.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key=_LABEL)],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=[feature])],
        metrics_specs=[tfma.MetricsSpec(metrics=metrics)],
    )


def _prepare(folder: Path, data: str, sizes: tuple[int, ...]) -> None:
    """Writes Examples of each size, and two models that were trained on other examples."""
    import reference
    import tensorflow as tf

    arrays = reference.load(data)
    images, labels = arrays["eval"]
    contents = [tf.io.encode_png(image).numpy() for image in images]
    for size in sizes:
        split = folder / str(size) / "Split-eval"
        split.mkdir(parents=True)
        with tf.io.TFRecordWriter(str(split / "examples.gz"), "GZIP") as writer:
            for i in range(size):
                k = i % len(contents)
                writer.write(reference.example(contents[k], label=int(labels[k]), group=i % GROUPS))
    train, train_labels = (array[:10_000] for array in arrays["train"])
    for seed, name in enumerate(("candidate", "base")):
        model = reference.create_model(seed)
        reference.compile_again(model, 0.01)
        model.fit(train, train_labels, batch_size=64, verbose=0)
        _save(model, folder / name / "Format-Serving")


def _save(model: Any, path: Path) -> None:
    import keras
    import tensorflow as tf

    archive = keras.export.ExportArchive()
    archive.track(model)
    archive.add_endpoint(
        "serving_default",
        lambda serialized: model(_decoded(serialized)),
        [tf.TensorSpec([None], tf.string, name="examples")],
    )
    archive.write_out(str(path), verbose=False)


def _decoded(serialized: Any) -> Any:
    import reference
    import tensorflow as tf

    spec = {_IMAGE: tf.io.FixedLenFeature([], tf.string)}
    contents = tf.io.parse_example(serialized, spec)[_IMAGE]
    images = tf.map_fn(
        lambda content: tf.io.decode_png(content, channels=3),
        contents,
        fn_output_signature=tf.uint8,
    )
    return tf.ensure_shape(images, (None, *reference.SHAPE))


if __name__ == "__main__":
    main()
