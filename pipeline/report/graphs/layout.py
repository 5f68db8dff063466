"""Places the nodes of a directed graph without cycles in layers, with few crossings.

The method of Sugiyama: every node one layer after its last predecessor; edges that skip layers pass
through placeholders; within the layers nodes are sorted by the mean position of their neighbours.
"""

import itertools
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import mean
from typing import TypeVar

N = TypeVar("N", bound=Hashable)

_SWEEPS = 8
_THIN = 0.4
"""Room for a placeholder; that for a node is 1."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where nodes and edges are, in layers and positions within a layer; both from 0.

    Args:
        places: Layer and position by node.
        paths: By edge: the points through which it goes, its ends included.
        layers: How many there are.
        breadth: Largest position that is used, plus 1.
    """

    places: Mapping[Hashable, tuple[float, float]]
    paths: Mapping[tuple[Hashable, Hashable], tuple[tuple[float, float], ...]]
    layers: int
    breadth: float


@dataclass(frozen=True, slots=True)
class _Placeholder:
    """Stands for the edges that leave a node and pass through a layer; they run together."""

    start: Hashable
    layer: int


@dataclass(slots=True)
class _Grid:
    layers: list[list[Hashable]]
    above: dict[Hashable, list[Hashable]] = field(default_factory=dict)
    below: dict[Hashable, list[Hashable]] = field(default_factory=dict)

    def connect(self, upper: Hashable, lower: Hashable) -> None:
        if lower not in self.below.setdefault(upper, []):
            self.below[upper].append(lower)
            self.above.setdefault(lower, []).append(upper)


def lay_out(nodes: Sequence[N], edges: Iterable[tuple[N, N]]) -> Layout:
    """Places nodes.

    Args:
        nodes: In an order that stands for the position where nothing else says it.
        edges: Pairs of nodes; those that would close a cycle, and those from or to unknown nodes,
            are left out.
    """
    kept = _without_cycles(nodes, dict.fromkeys(edges))
    depth = _depths(nodes, kept)
    grid = _Grid([[] for _ in range(max(depth.values(), default=-1) + 1)])
    for node in nodes:
        grid.layers[depth[node]].append(node)
    chains = {edge: _chain(edge, depth, grid) for edge in kept}
    _sort(grid)
    positions = _positions(grid)
    layer_of = {node: layer for layer, inside in enumerate(grid.layers) for node in inside}
    points = {node: (float(layer), positions[node]) for node, layer in layer_of.items()}
    return Layout(
        places={node: points[node] for node in nodes},
        paths={edge: tuple(points[node] for node in chain) for edge, chain in chains.items()},
        layers=len(grid.layers),
        breadth=max(positions.values(), default=-1.0) + 1,
    )


def _without_cycles(nodes: Sequence[N], edges: Iterable[tuple[N, N]]) -> list[tuple[N, N]]:
    """Keeps edges as long as their end does not lead back to their start."""
    known, after = set(nodes), {node: set() for node in nodes}
    kept = []
    for start, end in edges:
        if start in known and end in known and start not in _reached(end, after):
            after[start].add(end)
            kept.append((start, end))
    return kept


def _reached(node: N, after: Mapping[N, set[N]]) -> set[N]:
    seen, new = {node}, [node]
    while new:
        fresh = after[new.pop()] - seen
        seen |= fresh
        new.extend(fresh)
    return seen


def _depths(nodes: Sequence[N], edges: Sequence[tuple[N, N]]) -> dict[N, int]:
    """The layer of each node: what has no predecessor stands right before its first successor."""
    before = {node: [s for s, e in edges if e == node] for node in nodes}
    after = {node: [e for s, e in edges if s == node] for node in nodes}
    depth: dict[N, int] = {}
    waiting = list(nodes)
    while waiting:
        for node in [n for n in waiting if all(b in depth for b in before[n])]:
            depth[node] = max((depth[b] + 1 for b in before[node]), default=0)
            waiting.remove(node)
    for node in nodes:
        if not before[node] and after[node]:
            depth[node] = min(depth[a] for a in after[node]) - 1
    return depth


def _chain(edge: tuple[N, N], depth: Mapping[N, int], grid: _Grid) -> list[Hashable]:
    """Adds placeholders where an edge skips layers; returns all nodes through which it goes."""
    start, end = edge
    between = [_Placeholder(start, layer) for layer in range(depth[start] + 1, depth[end])]
    for placeholder in between:
        if placeholder not in grid.layers[placeholder.layer]:
            grid.layers[placeholder.layer].append(placeholder)
    chain = [start, *between, end]
    for upper, lower in itertools.pairwise(chain):
        grid.connect(upper, lower)
    return chain


def _sort(grid: _Grid) -> None:
    """Sorts the layers so that edges cross little; keeps the best order that was seen."""
    best, least = [list(layer) for layer in grid.layers], _crossings(grid)
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = grid.above if down else grid.below
        for fixed, moved in _pairs(len(grid.layers), down):
            place = {node: i for i, node in enumerate(grid.layers[fixed])}
            own = {node: i for i, node in enumerate(grid.layers[moved])}
            centre = {
                node: mean(places) if (places := _places(node, neighbours, place)) else own[node]
                for node in own
            }
            grid.layers[moved].sort(key=centre.__getitem__)
        crossings = _crossings(grid)
        if crossings < least:
            best, least = [list(layer) for layer in grid.layers], crossings
    grid.layers = best


def _places(
    node: Hashable, neighbours: Mapping[Hashable, list[Hashable]], place: Mapping[Hashable, float]
) -> list[float]:
    return [place[n] for n in neighbours.get(node, ()) if n in place]


def _pairs(layers: int, down: bool) -> Iterable[tuple[int, int]]:
    steps = [(layer, layer + 1) for layer in range(layers - 1)]
    return steps if down else [(b, a) for a, b in reversed(steps)]


def _crossings(grid: _Grid) -> int:
    total = 0
    for upper, lower in itertools.pairwise(grid.layers):
        place = {node: i for i, node in enumerate(lower)}
        ends = [sorted(place[n] for n in grid.below.get(node, ())) for node in upper]
        flat = [end for group in ends for end in group]
        total += sum(a > b for i, a in enumerate(flat) for b in flat[i + 1 :])
    return total


def _positions(grid: _Grid) -> dict[Hashable, float]:
    """Moves the nodes of each layer towards their neighbours, without letting them overlap."""
    position = {
        node: place
        for layer in grid.layers
        for node, place in zip(layer, _offsets(layer), strict=True)
    }
    for sweep in range(_SWEEPS):
        down = sweep % 2 == 0
        neighbours = grid.above if down else grid.below
        for _, moved in _pairs(len(grid.layers), down):
            layer = grid.layers[moved]
            wanted = [
                mean(p) if (p := _places(n, neighbours, position)) else position[n] for n in layer
            ]
            position.update(zip(layer, _apart(wanted, _offsets(layer)), strict=True))
    least = min(position.values(), default=0.0)
    return {node: place - least for node, place in position.items()}


def _size(node: Hashable) -> float:
    return _THIN if isinstance(node, _Placeholder) else 1.0


def _offsets(layer: Sequence[Hashable]) -> list[float]:
    """Where the nodes of a layer stand when they are as close as can be."""
    offsets = [0.0] if layer else []
    for one, other in itertools.pairwise(layer):
        offsets.append(offsets[-1] + (_size(one) + _size(other)) / 2)
    return offsets


def _apart(wanted: Sequence[float], offsets: Sequence[float]) -> list[float]:
    """Returns places as near to the wanted ones as can be, no closer than the offsets allow.

    Neighbours that are too close form a block around the mean of what they want.
    """
    blocks: list[list[float]] = []  # What each member wants of its block's first place.
    for place, offset in zip(wanted, offsets, strict=True):
        blocks.append([place - offset])
        while len(blocks) > 1 and mean(blocks[-2]) >= mean(blocks[-1]):
            last = blocks.pop()
            blocks[-1] += last
    starts = [mean(block) for block in blocks for _ in block]
    return [start + offset for start, offset in zip(starts, offsets, strict=True)]
