"""Lineage as a tree: out of what an artifact was made, or what was made out of it."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import click
from rich.console import RenderableType
from rich.markup import escape
from rich.tree import Tree

from tfx_feeder.pipeline.cli.console import print_json, show
from tfx_feeder.pipeline.cli.options import store_options
from tfx_feeder.pipeline.metadata.describe import Item, item, sources, state
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.lookup import find_artifact, find_model
from tfx_feeder.pipeline.metadata.models import MODEL
from tfx_feeder.pipeline.metadata.types import CACHED, COMPLETE, Artifact, Execution, Graph

_CHAINS = (MODEL, "TransformCache")
"""Types of artifacts that a run may take from the one before, and so on."""


@dataclass(frozen=True, slots=True)
class LineageStep:
    """An execution in the lineage.

    Args:
        id: In the store.
        node: Its name in the pipeline.
        pipeline: Name of the pipeline.
        run_id: Of its run.
        state: ``COMPLETE``, ``FAILED`` and so on.
        sources: What it read from outside the store: pairs of a word and a path.
        inputs: Ids of what it read, by input key.
        outputs: Ids of what it made, by output key.
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
    """Where an artifact comes from, or what was made out of it.

    Args:
        artifact: What it is about.
        down: Whether it holds what was made out of it.
        full: Whether it goes on beyond what a run took from an earlier one.
        items: All artifacts, by id.
        steps: All executions, by id.
        makers: By artifact id: the execution that made it.
        users: By artifact id: the executions that read it.
    """

    artifact: Item
    down: bool
    full: bool
    items: Mapping[int, Item]
    steps: Mapping[int, LineageStep]
    makers: Mapping[int, int]
    users: Mapping[int, tuple[int, ...]]


def read_lineage(
    lineage: Lineage, artifact: Artifact, *, down: bool = False, full: bool = False
) -> LineageOf:
    """Reads the lineage of an artifact.

    Args:
        lineage: Of the store.
        artifact: Where to begin.
        down: What was made out of it, and not out of what it was made.
        full: Go on beyond what a run took from an earlier one, such as the model that a training
            started from.
    """
    stop_at = () if full else _CHAINS
    walk = lineage.downstream if down else lineage.upstream
    graph = walk([artifact.id], stop_at=stop_at)
    steps = {execution.id: _step(execution) for execution in graph.executions.values()}
    makers = dict(graph.maker_ids)
    maker = lineage.upstream([artifact.id], stop_at=_CHAINS).maker(artifact.id) if down else None
    if maker:
        steps[maker.id], makers[artifact.id] = _step(maker), maker.id
    return LineageOf(
        artifact=item(artifact),
        down=down,
        full=full,
        items={artifact_id: item(a) for artifact_id, a in graph.artifacts.items()},
        steps=steps,
        makers=makers,
        users=_users(graph),
    )


def lineage_trees(found: LineageOf) -> Iterator[RenderableType]:
    """Yields the tree; then one for each artifact at which a tree was cut, if that was followed."""
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
@click.option("--down", is_flag=True, help="Show what was made out of it.")
@click.option("--full", is_flag=True, help="Go on beyond models that others started from.")
@store_options
def lineage(lineage: Lineage, as_json: bool, what: str, down: bool, full: bool) -> None:
    """Show out of what a model was made, back to the input files.

    It is named by its id, a version under which it was pushed, the run that trained it, latest,
    blessed or live. Of any other artifact, give the id or the URI.
    """
    found = read_lineage(lineage, _find(lineage, what), down=down, full=full)
    if as_json:
        print_json(found)
    else:
        show(*lineage_trees(found))


class _Drawing:
    """Draws trees; what one of them shows already, or leaves to another, it only names."""

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
        """Adds what an execution read to the branch of what it made."""
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
        """Adds the executions that read an artifact, and what they made, to its branch."""
        for step in (self._found.steps[user] for user in self._found.users.get(artifact_id, ())):
            keys = [key for key, ids in step.inputs.items() if artifact_id in ids]
            label = f"{escape(step.node)}{self._in_run(step)}, as {escape(' and '.join(keys))}"
            if step.state != COMPLETE:
                label += f": {state(step.state)}"
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
        """Says whether another tree has to show what comes next.

        A model that is not the subject, and what a node takes from its own earlier run, would make
        a chain as long as the history of the pipeline.
        """
        of_chain = self._found.items[artifact_id].type_name in _CHAINS
        return _place(maker) in path or (of_chain and artifact_id != self._found.artifact.id)

    def _pointer(self, artifact_id: int) -> str:
        """Says where what comes next is shown, if anything does."""
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
    """Finds the artifact that a URI or an id names, or else the model."""
    if "/" in text:
        return find_artifact(lineage, text)
    found = lineage.artifact(int(text)) if text.isdecimal() else None
    return found or find_model(lineage, text).model


def _step(execution: Execution) -> LineageStep:
    return LineageStep(
        id=execution.id,
        node=execution.node,
        pipeline=execution.pipeline,
        run_id=execution.run_id,
        state=execution.state,
        sources=tuple(sources(execution)),
        inputs=_ids(execution.inputs),
        outputs=_ids(execution.outputs),
    )


def _users(graph: Graph) -> dict[int, tuple[int, ...]]:
    """Returns the executions that read each artifact, without those that took their outputs from
    the cache: they made nothing."""
    return {
        artifact_id: kept
        for artifact_id, users in graph.user_ids.items()
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
