"""The pipeline and the lineage of a run as diagrams: boxes and curves, ready to draw."""

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from tfx_feeder.pipeline.metadata.describe import elapsed, summarize
from tfx_feeder.pipeline.metadata.types import Artifact, Execution
from tfx_feeder.pipeline.report.facts import RunFacts
from tfx_feeder.pipeline.report.graphs.layout import Layout, lay_out

_WIDTH, _HEIGHT = 160, 52
_ALONG, _ACROSS = 36, 16
"""Gaps between boxes: in the direction of the edges, and beside it."""
_MARGIN = 4
_MOST_LETTERS = 20
MOST_NODES = 80
"""A diagram with more boxes would be no picture any more."""


@dataclass(frozen=True, slots=True)
class Box:
    """A node.

    Args:
        x: Left edge, in pixels.
        y: Upper edge.
        title: Its name, cut where it is long.
        detail: A line below.
        hint: All of it in words.
        style: How it is drawn: a state of an execution, ``made``, ``earlier`` or ``gone``.
    """

    x: float
    y: float
    title: str
    detail: str
    hint: str
    style: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """Boxes and curves.

    Args:
        width: In pixels.
        height: In pixels.
        box_width: Of every box.
        box_height: Of every box.
        boxes: The nodes.
        curves: The edges, as paths of SVG.
    """

    width: float
    height: float
    box_width: float
    box_height: float
    boxes: tuple[Box, ...]
    curves: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Label:
    title: str
    detail: str
    hint: str
    style: str


def pipeline_diagrams(facts: RunFacts) -> tuple[Diagram, Diagram] | None:
    """Returns the components of a run, from left to right and from top to bottom.

    ``None`` where there are none, or too many for a picture.
    """
    maker: dict[int, Execution] = {}
    for execution in facts.run.executions:
        for artifact in _all(execution.outputs.values()):
            maker[artifact.id] = execution
    edges = [
        (maker[artifact.id].id, execution.id)
        for execution in facts.run.executions
        for artifact in _all(execution.inputs.values())
        if artifact.id in maker and maker[artifact.id].id != execution.id
    ]
    linked = {end for edge in edges for end in edge}
    # Resolvers leave no trace of what they found.
    drawn = [
        e for e in facts.run.executions if e.id in linked or not e.type_name.endswith(".Resolver")
    ]
    labels = {e.id: _execution_label(e) for e in drawn}
    return _both_ways(labels, edges)


def lineage_diagrams(facts: RunFacts) -> tuple[Diagram, Diagram] | None:
    """Returns the artifacts of a run and what they were made of, in both directions."""
    artifacts: dict[int, Artifact] = {}
    edges: list[tuple[int, int]] = []
    makers: dict[int, Execution] = {}
    for execution in facts.run.executions:
        inputs, outputs = _all(execution.inputs.values()), _all(execution.outputs.values())
        artifacts |= {artifact.id: artifact for artifact in (*inputs, *outputs)}
        makers |= {artifact.id: execution for artifact in outputs}
        edges += [(i.id, o.id) for o in outputs for i in inputs]
    labels = {
        artifact.id: _artifact_label(artifact, makers.get(artifact.id), facts.earlier_runs)
        for artifact in artifacts.values()
    }
    return _both_ways(labels, edges)


def _execution_label(execution: Execution) -> _Label:
    took = elapsed(execution.state, execution.seconds, execution.created_at)
    state = execution.state.lower()
    detail = f"{state} · {took}" if took else state
    return _Label(execution.node, detail, f"{execution.node}: {detail}", execution.state.lower())


def _artifact_label(
    artifact: Artifact, maker: Execution | None, earlier_runs: Mapping[int, str]
) -> _Label:
    brief = summarize(artifact)
    earlier = earlier_runs.get(artifact.id)
    name = artifact.type_name.rpartition(".")[2]
    facts = (
        "files missing"
        if brief.files_missing
        else "earlier run"
        if earlier
        else ", ".join(brief.facts)
    )
    by = f"by {maker.node}" if maker else ""
    source = f"of run {earlier}" if earlier else by
    hint = " · ".join(filter(None, [f"{name} {artifact.id}", source, *brief.facts, artifact.uri]))
    style = "missing-files" if brief.files_missing else "earlier" if earlier else "made"
    return _Label(f"{name} {artifact.id}", facts or by, hint, style)


def _both_ways(
    labels: Mapping[int, _Label], edges: Sequence[tuple[int, int]]
) -> tuple[Diagram, Diagram] | None:
    if not labels or len(labels) > MOST_NODES:
        return None
    layout = lay_out(list(labels), edges)
    return _draw(layout, labels, across=True), _draw(layout, labels, across=False)


def _draw(layout: Layout, labels: Mapping[int, _Label], *, across: bool) -> Diagram:
    """Draws a layout, its layers as columns where ``across``, else as rows."""
    along = (_WIDTH if across else _HEIGHT) + _ALONG
    beside = (_HEIGHT if across else _WIDTH) + _ACROSS

    def corner(place: tuple[float, float]) -> tuple[float, float]:
        first, second = _MARGIN + place[0] * along, _MARGIN + place[1] * beside
        return (first, second) if across else (second, first)

    length = layout.layers * along - _ALONG + 2 * _MARGIN
    breadth = layout.breadth * beside - _ACROSS + 2 * _MARGIN
    return Diagram(
        width=round(length if across else breadth),
        height=round(breadth if across else length),
        box_width=_WIDTH,
        box_height=_HEIGHT,
        boxes=tuple(_box(corner(layout.places[key]), label) for key, label in labels.items()),
        curves=tuple(_curve([corner(p) for p in path], across) for path in layout.paths.values()),
    )


def _box(corner: tuple[float, float], label: _Label) -> Box:
    x, y = (round(value, 1) for value in corner)
    return Box(x, y, _cut(label.title), _cut(label.detail, 2), label.hint, label.style)


def _curve(corners: Sequence[tuple[float, float]], across: bool) -> str:
    """A smooth path from the end of the first box to the start of the last."""
    half_w, half_h = _WIDTH / 2, _HEIGHT / 2
    reach = _ALONG / 2
    points = [(x + half_w, y + half_h) for x, y in corners]
    parts = []
    for (x0, y0), (x1, y1) in itertools.pairwise(points):
        if across:
            start, end = (x0 + half_w, y0), (x1 - half_w, y1)
            bend = f"{start[0] + reach:.1f},{y0:.1f} {end[0] - reach:.1f},{y1:.1f}"
        else:
            start, end = (x0, y0 + half_h), (x1, y1 - half_h)
            bend = f"{x0:.1f},{start[1] + reach:.1f} {x1:.1f},{end[1] - reach:.1f}"
        move = "L" if parts else "M"  # Straight through the layer of a placeholder.
        parts.append(f"{move}{start[0]:.1f},{start[1]:.1f} C{bend} {end[0]:.1f},{end[1]:.1f}")
    return " ".join(parts)


def _cut(text: str, more: int = 0) -> str:
    most = _MOST_LETTERS + more
    return text if len(text) <= most else f"{text[: most - 1]}…"


def _all(groups: Iterable[Iterable[Artifact]]) -> list[Artifact]:
    return [artifact for group in groups for artifact in group]
