"""A pipeline of nodes that take no time, for tests of what runs them.

``TINY_ROOT`` names its folder. A node fails while a file ``fail-NODE`` is there, and waits while a
file ``wait-NODE`` is; each appends a line to ``ran-NODE``.
"""

import os
import time
from pathlib import Path

from tfx import v1 as tfx
from tfx.dsl.component.experimental.decorators import component


def _work(node: str) -> None:
    root = Path(os.environ["TINY_ROOT"])
    with (root / f"ran-{node}").open("a") as file:
        file.write(f"{os.getpid()}\n")
    while (root / f"wait-{node}").exists():
        time.sleep(0.05)
    if (root / f"fail-{node}").exists():
        raise RuntimeError(f"{node} was asked to fail")


@component
def Gen(model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.Model]):
    _work("Gen")
    Path(model.uri).mkdir(parents=True, exist_ok=True)
    Path(model.uri, "weights").write_text("1")


@component
def Judge(
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    blessed: tfx.dsl.components.Parameter[int],
):
    _work("Judge")
    blessing.set_int_custom_property("blessed", blessed)


@component
def Sibling(
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    blessing: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.InfraBlessing],
):
    _work("Sibling")


@component
def Push(
    model: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.Model],
    blessing: tfx.dsl.components.InputArtifact[tfx.types.standard_artifacts.ModelBlessing],
    pushed_model: tfx.dsl.components.OutputArtifact[tfx.types.standard_artifacts.PushedModel],
):
    _work("Push")
    pushed_model.set_int_custom_property("pushed", blessing.get_int_custom_property("blessed"))


@component
def Tell():
    _work("Tell")


def create(blessed: int = 1) -> tfx.dsl.Pipeline:
    root = Path(os.environ["TINY_ROOT"])
    gen = Gen()
    model = gen.outputs["model"]
    judge = Judge(model=model, blessed=blessed)
    latest = tfx.dsl.Resolver(
        strategy_class=tfx.dsl.experimental.LatestArtifactStrategy,
        model=tfx.dsl.Channel(type=tfx.types.standard_artifacts.Model),
    ).with_id("latest")
    latest.add_upstream_node(gen)
    push = Push(model=latest.outputs["model"], blessing=judge.outputs["blessing"])
    with tfx.dsl.Cond(judge.outputs["blessing"].future()[0].custom_property("blessed") == 7):
        never = Sibling(model=model).with_id("Never")
    return tfx.dsl.Pipeline(
        pipeline_name="tiny",
        pipeline_root=str(root / "artifacts"),
        metadata_connection_config=tfx.orchestration.metadata.sqlite_metadata_connection_config(
            str(root / "metadata.sqlite")
        ),
        components=[gen, judge, Sibling(model=model), latest, push, never, Tell()],
        enable_cache=False,
    )


def create_unblessed() -> tfx.dsl.Pipeline:
    return create(blessed=0)
