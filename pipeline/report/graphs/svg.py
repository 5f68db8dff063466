"""Diagrams of a run's pipeline and lineage: boxes and curves with coordinates."""

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from tfx_feeder.pipeline.metadata.describe import elapsed, summarize
from tfx_feeder.pipeline.metadata.types import Artifact, Execution
from tfx_feeder.pipeline.report.facts import RunFacts
from tfx_feeder.pipeline.report.graphs.layout import Layout, lay_out

_WIDTH, _HEIGHT = 160, 52
_ALONG, _ACROSS = 36, 16
"""Gaps between boxes in pixels: along the edges, and across them."""
_MARGIN = 4
_MAX_CHARS = 20
MAX_NODES = 80
"""Maximum number of boxes in a legible diagram."""


@dataclass(frozen=True, slots=True)
class Box:
    """Node of a diagram.

    Args:
        x: Left edge in pixels.
        y: Upper edge in pixels.
        title: Name, truncated if long.
        detail: Line below the name.
        hint: Full text, shown as a tooltip.
        style: State of the execution, ``made``, ``earlier`` or ``missing-files``.
    """

    x: float
    y: float
    title: str
    detail: str
    hint: str
    style: str


@dataclass(frozen=True, slots=True)
class Diagram:
    """Diagram with pixel coordinates.

    Args:
        width: Width in pixels.
        height: Height in pixels.
        box_width: Width of each box.
        box_height: Height of each box.
        boxes: Nodes.
        curves: Edges as SVG paths.
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
    """Returns the component diagram in both orientations.

    Returns ``None`` if the run has no components, or too many for a diagram.
    """
    producers: dict[int, Execution] = {}
    for execution in facts.run.executions:
        producers |= {artifact.id: execution for artifact in execution.output_artifacts}
    edges = [
        (producers[artifact.id].id, execution.id)
        for execution in facts.run.executions
        for artifact in execution.input_artifacts
        if artifact.id in producers and producers[artifact.id].id != execution.id
    ]
    linked = {end for edge in edges for end in edge}
    # Resolvers record no output artifacts.
    drawn = [
        e for e in facts.run.executions if e.id in linked or not e.type_name.endswith(".Resolver")
    ]
    labels = {e.id: _execution_label(e) for e in drawn}
    return _both_ways(labels, edges)


def lineage_diagrams(facts: RunFacts) -> tuple[Diagram, Diagram] | None:
    """Returns the artifact diagram in both orientations; ``None`` as for the components."""
    artifacts: dict[int, Artifact] = {}
    edges: list[tuple[int, int]] = []
    producers: dict[int, Execution] = {}
    for execution in facts.run.executions:
        inputs, outputs = execution.input_artifacts, execution.output_artifacts
        artifacts |= {artifact.id: artifact for artifact in (*inputs, *outputs)}
        producers |= {artifact.id: execution for artifact in outputs}
        edges += [(i.id, o.id) for o in outputs for i in inputs]
    labels = {
        artifact.id: _artifact_label(artifact, producers.get(artifact.id), facts.earlier_runs)
        for artifact in artifacts.values()
    }
    return _both_ways(labels, edges)


def _execution_label(execution: Execution) -> _Label:
    took = elapsed(execution.state, execution.seconds, execution.created_at)
    state = execution.state.lower()
    detail = f"{state} · {took}" if took else state
    return _Label(execution.node, detail, f"{execution.node}: {detail}", execution.state.lower())


def _artifact_label(
    artifact: Artifact, producer: Execution | None, earlier_runs: Mapping[int, str]
) -> _Label:
    summary = summarize(artifact)
    earlier = earlier_runs.get(artifact.id)
    name = artifact.type_name.rpartition(".")[2]
    facts = (
        "files missing"
        if summary.files_missing
        else "earlier run"
        if earlier
        else ", ".join(summary.facts)
    )
    by = f"by {producer.node}" if producer else ""
    source = f"from run {earlier}" if earlier else by
    hint = " · ".join(filter(None, [f"{name} {artifact.id}", source, *summary.facts, artifact.uri]))
    style = "missing-files" if summary.files_missing else "earlier" if earlier else "made"
    return _Label(f"{name} {artifact.id}", facts or by, hint, style)


def _both_ways(
    labels: Mapping[int, _Label], edges: Sequence[tuple[int, int]]
) -> tuple[Diagram, Diagram] | None:
    if not labels or len(labels) > MAX_NODES:
        return None
    layout = lay_out(list(labels), edges)
    return _draw(layout, labels, across=True), _draw(layout, labels, across=False)


def _draw(layout: Layout, labels: Mapping[int, _Label], *, across: bool) -> Diagram:
    """Converts a layout to pixels; its layers are columns if ``across``, else rows."""
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
    return Box(x, y, _truncate(label.title), _truncate(label.detail, 2), label.hint, label.style)


def _curve(corners: Sequence[tuple[float, float]], across: bool) -> str:
    """Returns a smooth SVG path from the first box to the last."""
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
        move = "L" if parts else "M"  # A straight line through the layer of a bend.
        parts.append(f"{move}{start[0]:.1f},{start[1]:.1f} C{bend} {end[0]:.1f},{end[1]:.1f}")
    return " ".join(parts)


def _truncate(text: str, extra: int = 0) -> str:
    limit = _MAX_CHARS + extra
    return text if len(text) <= limit else f"{text[: limit - 1]}…"
