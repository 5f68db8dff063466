"""Small pipelines that push without training, with stock components and with this suite's."""

from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component

from tfx_feeder.components import ModelCardGenerator
from tfx_feeder.components.pusher.component import Pusher

_artifacts = tfx.types.standard_artifacts


@component
def Generate(
    examples: tfx.dsl.components.OutputArtifact[_artifacts.Examples],
    span: tfx.dsl.components.Parameter[int],
):
    Path(examples.uri).mkdir(parents=True, exist_ok=True)
    examples.set_int_custom_property("span", span)


@component
def Train(
    examples: tfx.dsl.components.InputArtifact[_artifacts.Examples],
    model: tfx.dsl.components.OutputArtifact[_artifacts.Model],
):
    serving = Path(model.uri, "Format-Serving")
    (serving / "variables").mkdir(parents=True)
    (serving / "saved_model.pb").write_text(f"graph of {examples.uri}")
    (serving / "variables" / "data").write_text(f"weights of {examples.uri}")


@component
def Evaluate(
    model: tfx.dsl.components.InputArtifact[_artifacts.Model],
    blessing: tfx.dsl.components.OutputArtifact[_artifacts.ModelBlessing],
    blessed: tfx.dsl.components.Parameter[int],
):
    Path(blessing.uri).mkdir(parents=True, exist_ok=True)
    blessing.set_int_custom_property("blessed", blessed)
    blessing.set_int_custom_property("current_model_id", model.id)


@component
def PushElsewhere(
    model: tfx.dsl.components.InputArtifact[_artifacts.Model],
    pushed_model: tfx.dsl.components.OutputArtifact[_artifacts.PushedModel],
):
    pushed_model.set_int_custom_property("pushed", 1)
    pushed_model.set_string_custom_property("pushed_destination", "projects/p/versions/v1")


def create(
    root: Path, span: int, *, blessed: int = 1, gated: bool = True, ours: bool = True
) -> tfx.dsl.Pipeline:
    """Returns the pipeline.

    Args:
        root: Folder for all outputs.
        span: Span of the Examples.
        blessed: Blessing of the model: 1 or 0.
        gated: If True, the Pusher reads the blessing.
        ours: If True, uses this suite's Pusher and a model card; otherwise the Pusher of TFX.
    """
    generate = Generate(span=span)
    train = Train(examples=generate.outputs["examples"])
    evaluate = Evaluate(model=train.outputs["model"], blessed=blessed)
    pusher = (Pusher if ours else tfx.components.Pusher)(
        model=train.outputs["model"],
        model_blessing=evaluate.outputs["blessing"] if gated else None,
        push_destination=tfx.proto.PushDestination(
            filesystem=tfx.proto.PushDestination.Filesystem(base_directory=str(root / "serving"))
        ),
    )
    card = ModelCardGenerator(
        pushed_model=pusher.outputs["pushed_model"],
        model=train.outputs["model"],
        model_blessing=evaluate.outputs["blessing"],
        examples=generate.outputs["examples"],
        intended_slices=["form"],
    ).with_id("ModelCard")
    return _pipeline(root, [generate, train, evaluate, pusher, *([card] if ours else [])])


def create_elsewhere(root: Path) -> tfx.dsl.Pipeline:
    """Returns a pipeline with a custom Pusher."""
    generate = Generate(span=1)
    train = Train(examples=generate.outputs["examples"])
    evaluate = Evaluate(model=train.outputs["model"], blessed=1)
    return _pipeline(root, [generate, train, evaluate, PushElsewhere(model=train.outputs["model"])])


def _pipeline(root: Path, components: list) -> tfx.dsl.Pipeline:
    return tfx.dsl.Pipeline(
        pipeline_name="small",
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        components=components,
        enable_cache=False,
    )
