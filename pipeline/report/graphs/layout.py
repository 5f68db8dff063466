"""Layered layout of a directed acyclic graph.

A node's layer is the length of the longest path to it. One barycenter pass in each direction orders
the nodes of a layer (Sugiyama et al., 1981). Edges that skip layers bend around their nodes.
"""

import itertools
from collections import defaultdict
from collections.abc import Hashable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from statistics import mean
from typing import TypeVar

N = TypeVar("N", bound=Hashable)

_BEND_WIDTH = 0.4
"""Space for a bend; a node takes 1."""
_SWEEPS = 8


@dataclass(frozen=True, slots=True)
class Layout:
    """Coordinates of nodes and edges: layer and position within the layer, both from 0.

    Args:
        places: Layer and position of each node.
        paths: Points of each edge, including its ends.
        layers: Number of layers.
        breadth: Largest position plus 1.
    """

    places: Mapping[Hashable, tuple[float, float]]
    paths: Mapping[tuple[Hashable, Hashable], tuple[tuple[float, float], ...]]
    layers: int
    breadth: float


@dataclass(frozen=True, slots=True)
class _Bend:
    """Point where the edges of one node pass through a layer; they share it."""

    start: Hashable
    layer: int


def lay_out(nodes: Sequence[N], edges: Iterable[tuple[N, N]]) -> Layout:
    """Computes the layout of a graph.

    Args:
        nodes: Nodes in their initial order within a layer.
        edges: Pairs of nodes. Edges that would close a cycle, and edges of unknown nodes, are
            skipped.
    """
    kept = _acyclic(nodes, dict.fromkeys(edges))
    rank = _ranks(nodes, kept)
    layers: list[list[Hashable]] = [[] for _ in range(max(rank.values(), default=-1) + 1)]
    for node in nodes:
        layers[rank[node]].append(node)
    chains = {edge: [edge[0], *_bends(edge, rank), edge[1]] for edge in kept}
    before: dict[Hashable, list[Hashable]] = defaultdict(list)
    after: dict[Hashable, list[Hashable]] = defaultdict(list)
    for chain in chains.values():
        for bend in chain[1:-1]:
            if bend not in layers[bend.layer]:
                layers[bend.layer].append(bend)
        for one, other in itertools.pairwise(chain):
            before[other].append(one)
            after[one].append(other)
    layers = _fewest_crossings(layers, before, after)
    positions = _positions(layers, before)
    points = {n: (float(i), positions[n]) for i, layer in enumerate(layers) for n in layer}
    return Layout(
        places={node: points[node] for node in nodes},
        paths={edge: tuple(points[node] for node in chain) for edge, chain in chains.items()},
        layers=len(layers),
        breadth=max(positions.values(), default=-1.0) + 1,
    )


def _acyclic(nodes: Sequence[N], edges: Iterable[tuple[N, N]]) -> list[tuple[N, N]]:
    """Keeps each edge unless its end already leads to its start."""
    reachable = {node: {node} for node in nodes}
    kept = []
    for start, end in edges:
        if start in reachable and end in reachable and start not in reachable[end]:
            kept.append((start, end))
            for seen in reachable.values():
                if start in seen:
                    seen |= reachable[end]
    return kept


def _ranks(nodes: Sequence[N], edges: Sequence[tuple[N, N]]) -> dict[N, int]:
    """Returns the layer of each node; a source stands right before its first successor."""
    rank = dict.fromkeys(nodes, 0)
    for _ in nodes:
        for start, end in edges:
            rank[end] = max(rank[end], rank[start] + 1)
    for source in set(nodes) - {end for _, end in edges}:
        rank[source] = min((rank[e] for s, e in edges if s == source), default=1) - 1
    return rank


def _bends(edge: tuple[N, N], rank: Mapping[N, int]) -> list[_Bend]:
    return [_Bend(edge[0], layer) for layer in range(rank[edge[0]] + 1, rank[edge[1]])]


def _fewest_crossings(
    layers: list[list[Hashable]],
    before: Mapping[Hashable, list[Hashable]],
    after: Mapping[Hashable, list[Hashable]],
) -> list[list[Hashable]]:
    """Returns the best order of the layers after some sweeps forth and back."""
    candidates = []
    for _ in range(_SWEEPS):
        for fixed, moved in itertools.pairwise(layers):
            _sort(moved, fixed, before)
        candidates.append([*map(list, layers)])
        for fixed, moved in itertools.pairwise(layers[::-1]):
            _sort(moved, fixed, after)
        candidates.append([*map(list, layers)])
    return min(candidates, key=lambda order: _crossings(order, after))


def _crossings(
    layers: Sequence[Sequence[Hashable]], after: Mapping[Hashable, list[Hashable]]
) -> int:
    """Counts the pairs of edges between neighboring layers that cross."""
    total = 0
    for one, other in itertools.pairwise(layers):
        index = {node: i for i, node in enumerate(other)}
        ends = [sorted(index[n] for n in after[node]) for node in one]
        total += sum(
            low > high
            for i, lows in enumerate(ends)
            for highs in ends[i + 1 :]
            for low in lows
            for high in highs
        )
    return total


def _sort(
    moved: list[Hashable], fixed: list[Hashable], neighbors: Mapping[Hashable, list[Hashable]]
) -> None:
    """Sorts a layer by the mean index of the neighbors in a fixed layer."""
    index = {node: i for i, node in enumerate(fixed)}
    own = {node: i for i, node in enumerate(moved)}
    # Only nodes of the fixed layer are neighbors; bends stand in for all others.
    moved.sort(key=lambda n: mean(index[m] for m in neighbors[n]) if neighbors[n] else own[n])


def _positions(
    layers: Sequence[Sequence[Hashable]], before: Mapping[Hashable, list[Hashable]]
) -> dict[Hashable, float]:
    """Places each node at the mean position of its predecessors, or as close as space allows."""
    positions: dict[Hashable, float] = {}
    for layer in layers:
        free, size = 0.0, 0.0
        for i, node in enumerate(layer):
            half = (_BEND_WIDTH if isinstance(node, _Bend) else 1.0) / 2
            free += size + half if i else 0.0
            preferred = mean(positions[n] for n in before[node]) if before[node] else free
            free, size = max(free, preferred), half
            positions[node] = free
    return positions
