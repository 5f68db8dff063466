"""Stock Evaluator, EvalGate, stock Pusher and stock resolver in a real pipeline."""

import json
from pathlib import Path
from typing import Any

import pytest

from tfx_feeder.components.eval_gate.gate import Floor, Gate, Margin

pytestmark = pytest.mark.slow

EXAMPLES, FORMS, CLASSES = 600, 12, 3
LOST = range(11)  # Examples of form 3 that the worse model answers wrong.
GATE = Gate(floors=(Floor(0.8),), margins=(Margin(0.02), Margin(0, "form *")))


def _write_examples(folder: Path) -> None:
    import tensorflow as tf

    (folder / "Split-eval").mkdir(parents=True)
    with tf.io.TFRecordWriter(str(folder / "Split-eval" / "examples.gz"), "GZIP") as writer:
        for i in range(EXAMPLES):
            form, label = i % FORMS, i % CLASSES
            wrong = form != 3 and i % 10 == 0
            good = (label + wrong) % CLASSES
            bad = (label + 1) % CLASSES if form == 3 and i // FORMS in LOST else good
            columns = {"label": label, "form": form, "good": good, "bad": bad}
            features = {
                name: tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
                for name, value in columns.items()
            }
            example = tf.train.Example(features=tf.train.Features(feature=features))
            writer.write(example.SerializeToString())


def _write_model(folder: Path, column: str) -> None:
    """Writes a model whose answers are a column of the examples."""
    import tensorflow as tf

    @tf.function(input_signature=[tf.TensorSpec([None], tf.string)])
    def serve(examples: Any) -> dict[str, Any]:
        spec = {column: tf.io.FixedLenFeature([], tf.int64)}
        answers = tf.io.parse_example(examples, spec)[column]
        return {"probabilities": tf.one_hot(answers, CLASSES)}

    module = tf.Module()
    module.serve = serve
    path = str(folder / "Format-Serving")
    tf.saved_model.save(module, path, signatures={"serving_default": serve})


def _run(root: Path, column: str) -> None:
    import tensorflow_model_analysis as tfma
    from tfx import v1 as tfx

    from tfx_feeder.components import EvalGate
    from tfx_feeder.components.eval_gate.tfma_metrics import paired_answers

    kinds = tfx.types.standard_artifacts
    examples = tfx.dsl.Importer(
        source_uri=str(root / "examples"),
        artifact_type=kinds.Examples,
        properties={"split_names": '["eval"]'},
    ).with_id("examples")
    model = tfx.dsl.Importer(source_uri=str(root / column), artifact_type=kinds.Model).with_id(
        "model"
    )
    latest = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestBlessedModelStrategy,
        model=tfx.dsl.Channel(type=kinds.Model),
        blessing=tfx.dsl.Channel(type=kinds.ModelBlessing),
    ).with_id("latest_blessed")
    config = tfma.EvalConfig(
        model_specs=[tfma.ModelSpec(signature_name="serving_default", label_key="label")],
        slicing_specs=[tfma.SlicingSpec(), tfma.SlicingSpec(feature_keys=["form"])],
        metrics_specs=[
            tfma.MetricsSpec(
                metrics=[
                    tfma.MetricConfig(class_name="ExampleCount"),
                    tfma.MetricConfig(
                        class_name="SparseCategoricalAccuracy",
                        config=json.dumps({"name": "accuracy"}),
                    ),
                    paired_answers(),
                ]
            )
        ],
    )
    evaluator = tfx.components.Evaluator(
        examples=examples.outputs["result"],
        model=model.outputs["result"],
        baseline_model=latest.outputs["model"],
        eval_config=config,
    )
    gate = EvalGate(
        evaluation=evaluator.outputs["evaluation"],
        model=model.outputs["result"],
        baseline_model=latest.outputs["model"],
        gate=GATE,
        eval_config=config,
    )
    pusher = tfx.components.Pusher(
        model=model.outputs["result"],
        model_blessing=gate.outputs["blessing"],
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(root / "serving"))
        ),
    )
    pipeline = tfx.dsl.Pipeline(
        pipeline_name="gate",
        pipeline_root=str(root / "artifacts"),
        components=[examples, model, latest, evaluator, gate, pusher],
        metadata_connection_config=(
            tfx.orchestration.metadata.sqlite_metadata_connection_config(str(root / "mlmd.sqlite"))
        ),
        enable_cache=True,
    )
    tfx.orchestration.LocalDagRunner().run(pipeline)


def _latest(root: Path, output: str) -> Path:
    return max((root / "artifacts").glob(f"{output}/*"), key=lambda path: int(path.name))


def test_a_model_that_lost_on_one_form_is_not_pushed(tmp_path: Path) -> None:
    from tfx_feeder.schemas import gate_report
    from tfx_feeder.schemas.model_comparison import read_comparison

    _write_examples(tmp_path / "examples")
    for column in ("good", "bad"):
        _write_model(tmp_path / column, column)

    _run(tmp_path, "good")
    first = gate_report.read(_latest(tmp_path, "EvalGate/gate_report"))
    assert first.blessed
    assert first.baseline == "none"
    assert len(list((tmp_path / "serving").iterdir())) == 1

    _run(tmp_path, "bad")
    second = gate_report.read(_latest(tmp_path, "EvalGate/gate_report"))
    assert not second.blessed
    assert second.baseline == "compared"
    assert [line.slice for line in second.deciding] == ["form 3"]
    assert second.reason.startswith("accuracy on form 3 of 50 examples: 0.7800 against 1.0000")
    assert "\n" not in second.reason
    assert len(list((tmp_path / "serving").iterdir())) == 1
    assert (_latest(tmp_path, "EvalGate/blessing") / "NOT_BLESSED").is_file()
    # A stock threshold of the same level over all examples would have blessed it.
    everything = read_comparison(_latest(tmp_path, "Evaluator/evaluation"))[0]
    difference = everything.candidate["accuracy"] - everything.baseline["accuracy"]
    assert -0.02 < difference < -0.015
