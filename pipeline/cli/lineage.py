"""The command ``tfx-feeder lineage``: lineage of an artifact as a tree."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import click
from rich.console import RenderableType
from rich.markup import escape
from rich.tree import Tree

from tfx_feeder.pipeline.cli.console import print_json, show
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.describe import (
    ArtifactSummary,
    external_sources,
    state_label,
    summarize,
)
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_artifact, find_model, is_id
from tfx_feeder.pipeline.metadata.models import MODEL
from tfx_feeder.pipeline.metadata.types import CACHED, COMPLETE, Artifact, Execution, Graph

_CHAINS = (MODEL, "TransformCache")
"""Artifact types that a run may take from the previous run, which forms a chain of runs."""


@dataclass(frozen=True, slots=True)
class LineageStep:
    """An execution in the lineage of an artifact.

    Args:
        id: Id of the execution.
        node: Name of the node in the pipeline.
        pipeline: Name of the pipeline.
        run_id: Id of the run.
        state: State of the execution, such as ``COMPLETE`` or ``FAILED``.
        sources: Files and code read from outside the store, as pairs of a description and a path.
        inputs: Ids of input artifacts, by input key.
        outputs: Ids of output artifacts, by output key.
    """

    id: int
    node: str
    pipeline: str
    run_id: str
    state: str
    sources: tuple[tuple[str, str], ...]
    inputs: Mapping[str, tuple[int, ...]]
    outputs: Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class LineageOf:
    """Ancestors or descendants of an artifact.

    Args:
        artifact: Artifact at the root of the tree.
        down: If True, the descendants; otherwise the ancestors.
        full: If True, the tree continues into artifacts that a run took from an earlier run.
        items: Artifacts, by id.
        steps: Executions, by id.
        makers: Id of the execution that produced an artifact, by artifact id.
        users: Ids of the executions that read an artifact, by artifact id.
    """

    artifact: ArtifactSummary
    down: bool
    full: bool
    items: Mapping[int, ArtifactSummary]
    steps: Mapping[int, LineageStep]
    makers: Mapping[int, int]
    users: Mapping[int, tuple[int, ...]]


def read_lineage(
    lineage: Lineage, artifact: Artifact, *, down: bool = False, full: bool = False
) -> LineageOf:
    """Reads the lineage of an artifact.

    Args:
        lineage: Lineage of the store.
        artifact: Artifact at the root of the tree.
        down: If True, reads descendants; otherwise ancestors.
        full: If True, continues into artifacts that a run took from an earlier run, such as the
            base model of a training.
    """
    stop_at = () if full else _CHAINS
    walk = lineage.downstream if down else lineage.upstream
    graph = walk([artifact.id], stop_at=stop_at)
    steps = {execution.id: _step(execution) for execution in graph.executions.values()}
    makers = dict(graph.producer_ids)
    maker = lineage.upstream([artifact.id], stop_at=_CHAINS).producer(artifact.id) if down else None
    if maker:
        steps[maker.id], makers[artifact.id] = _step(maker), maker.id
    return LineageOf(
        artifact=summarize(artifact),
        down=down,
        full=full,
        items={artifact_id: summarize(a) for artifact_id, a in graph.artifacts.items()},
        steps=steps,
        makers=makers,
        users=_users(graph),
    )


def lineage_trees(found: LineageOf) -> Iterator[RenderableType]:
    """Yields the tree of an artifact, then one tree per artifact at which a full tree was cut."""
    drawing = _Drawing(found)
    waiting = [found.artifact.id]
    drawn: set[int] = set()
    while waiting:
        artifact_id = waiting.pop(0)
        if artifact_id not in drawn:
            drawn.add(artifact_id)
            yield drawing.tree(artifact_id)
            waiting += drawing.cut
            drawing.cut.clear()


@click.command()
@click.argument("what", metavar="MODEL|ARTIFACT")
@click.option("--down", is_flag=True, help="Show descendants instead of inputs.")
@click.option("--full", is_flag=True, help="Continue into the lineage of base models.")
@store_options
def lineage(lineage: Lineage, as_json: bool, what: str, down: bool, full: bool) -> None:
    """Show the inputs of a model or another artifact, back to the input files.

    MODEL is a model id, a pushed version, the id of the run that trained it, latest, blessed or
    live. ARTIFACT is an id or a URI.
    """
    found = read_lineage(lineage, _find(lineage, what), down=down, full=full)
    if as_json:
        print_json(found)
    else:
        show(*lineage_trees(found))


class _Drawing:
    """Draws trees; a node already shown in a tree, or in another tree, appears as a reference."""

    def __init__(self, found: LineageOf) -> None:
        self._found = found
        self._shown: set[int] = set()
        self.cut: list[int] = []

    def tree(self, artifact_id: int) -> Tree:
        found = self._found
        maker = found.steps.get(found.makers.get(artifact_id, 0))
        self._shown, self._run = set(), ""
        tree = Tree(self._title(artifact_id), guide_style="dim", highlight=False)
        self._run = maker.run_id if maker else ""
        if found.down:
            self._add_users(tree, artifact_id, path=())
        elif maker:
            self._add_origins(tree, maker, path=())
        return tree

    def _title(self, artifact_id: int) -> str:
        entry = self._found.items[artifact_id]
        return f"[bold]{entry.label}[/]{self._made_by(artifact_id)}\n[dim]{escape(entry.uri)}[/]"

    def _add_origins(self, branch: Tree, step: LineageStep, path: tuple[str, ...]) -> None:
        """Adds the inputs of an execution to the branch of its output."""
        self._shown.add(step.id)
        for word, source in step.sources:
            branch.add(f"{escape(word)}: {escape(source)}")
        for key, artifact_id in _each(step.inputs):
            maker = self._found.steps.get(self._found.makers.get(artifact_id, 0))
            label = f"{escape(key)}: {self._found.items[artifact_id].label}"
            label += self._made_by(artifact_id)
            if maker is None or self._is_cut(artifact_id, maker, (*path, _place(step))):
                branch.add(f"{label}{self._pointer(artifact_id)}")
            elif maker.id in self._shown:
                branch.add(f"{label}{' [dim](above)[/]' if maker.inputs or maker.sources else ''}")
            else:
                self._add_origins(branch.add(label), maker, (*path, _place(step)))

    def _add_users(self, branch: Tree, artifact_id: int, path: tuple[str, ...]) -> None:
        """Adds the executions that read an artifact, and their outputs, to its branch."""
        for step in (self._found.steps[user] for user in self._found.users.get(artifact_id, ())):
            keys = [key for key, ids in step.inputs.items() if artifact_id in ids]
            label = f"{escape(step.node)}{self._in_run(step)}, as {escape(' and '.join(keys))}"
            if step.state != COMPLETE:
                label += f": {state_label(step.state)}"
            if step.id in self._shown:
                branch.add(f"{label} [dim](above)[/]")
                continue
            self._shown.add(step.id)
            below = branch.add(label)
            for key, made in _each(step.outputs):
                text = f"{escape(key)}: {self._found.items[made].label}"
                if self._is_cut(made, step, path):
                    below.add(f"{text}{self._pointer(made)}")
                else:
                    self._add_users(below.add(text), made, (*path, _place(step)))

    def _is_cut(self, artifact_id: int, maker: LineageStep, path: tuple[str, ...]) -> bool:
        """Returns True if the tree must not continue below an artifact.

        Models other than the root, and artifacts that a node takes from its own earlier run, would
        produce a chain as long as the history of the pipeline.
        """
        of_chain = self._found.items[artifact_id].type_name in _CHAINS
        return _place(maker) in path or (of_chain and artifact_id != self._found.artifact.id)

    def _pointer(self, artifact_id: int) -> str:
        """Returns a reference to where a cut tree continues; empty if it does not."""
        known = artifact_id in (self._found.users if self._found.down else self._found.makers)
        if self._found.full and known:
            self.cut.append(artifact_id)
            return " [dim](below)[/]"
        if known or (self._found.items[artifact_id].type_name in _CHAINS and not self._found.full):
            word = " --down" if self._found.down else ""
            return f"  [dim]tfx-feeder lineage {artifact_id}{word}[/]"
        return ""

    def _made_by(self, artifact_id: int) -> str:
        maker = self._found.steps.get(self._found.makers.get(artifact_id, 0))
        return f" by {escape(maker.node)}{self._in_run(maker)}" if maker else ""

    def _in_run(self, step: LineageStep) -> str:
        return "" if step.run_id == self._run else f" in run {escape(step.run_id)}"


def _find(lineage: Lineage, text: str) -> Artifact:
    """Finds an artifact by URI or id, or a model by name."""
    if "/" in text:
        return find_artifact(lineage, text)
    found = lineage.artifact(int(text)) if is_id(text) else None
    return found or find_model(lineage, text).model


def _step(execution: Execution) -> LineageStep:
    return LineageStep(
        id=execution.id,
        node=execution.node,
        pipeline=execution.pipeline,
        run_id=execution.run_id,
        state=execution.state,
        sources=tuple(external_sources(execution)),
        inputs=_ids(execution.inputs),
        outputs=_ids(execution.outputs),
    )


def _users(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Returns the ids of the executions that read each artifact.

    Cached executions are omitted because they produced nothing.
    """
    return {
        artifact_id: kept
        for artifact_id, users in graph.consumer_ids.items()
        if (kept := tuple(user for user in users if graph.executions[user].state != CACHED))
    }


def _ids(groups: Mapping[str, Iterable[Artifact]]) -> dict[str, tuple[int, ...]]:
    return {key: tuple(artifact.id for artifact in group) for key, group in groups.items()}


def _each(groups: Mapping[str, Iterable[int]]) -> Iterator[tuple[str, int]]:
    for key, group in sorted(groups.items()):
        for artifact_id in group:
            yield key, artifact_id


def _place(step: LineageStep) -> str:
    return f"{step.pipeline}.{step.node}"
