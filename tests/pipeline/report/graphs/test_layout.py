"""Where nodes of a graph are placed."""

import itertools

from hypothesis import given
from hypothesis import strategies as st

from tfx_feeder.pipeline.report.graphs.layout import lay_out


def test_each_node_stands_after_its_predecessors():
    layout = lay_out("abcd", [("a", "b"), ("b", "c"), ("a", "c"), ("c", "d")])
    assert [layout.places[node][0] for node in "abcd"] == [0, 1, 2, 3]
    assert layout.layers == 4


def test_source_stands_right_before_what_needs_it():
    layout = lay_out("abcx", [("a", "b"), ("b", "c"), ("x", "c")])
    assert layout.places["x"][0] == 1


def test_edges_that_skip_a_layer_pass_beside_its_nodes():
    layout = lay_out("abc", [("a", "b"), ("b", "c"), ("a", "c")])
    start, between, end = layout.paths["a", "c"]
    assert (start, end) == (layout.places["a"], layout.places["c"])
    assert between[1] != layout.places["b"][1]


def test_edges_of_one_node_run_together():
    layout = lay_out("abcd", [("a", "b"), ("b", "c"), ("b", "d"), ("a", "c"), ("a", "d")])
    assert layout.paths["a", "c"][1] == layout.paths["a", "d"][1]


def test_crossings_are_avoided():
    layout = lay_out("abxy", [("a", "y"), ("b", "x")])
    beside = {node: layout.places[node][1] for node in "abxy"}
    assert (beside["a"] < beside["b"]) == (beside["y"] < beside["x"])


def test_cycles_and_unknown_nodes_are_omitted():
    layout = lay_out("ab", [("a", "b"), ("b", "a"), ("a", "z"), ("a", "a")])
    assert list(layout.paths) == [("a", "b")]


def test_nothing_is_placed_nowhere():
    assert lay_out([], []).layers == 0


edges = st.sets(st.tuples(st.integers(0, 9), st.integers(0, 9)), max_size=20)


@given(edges)
def test_nodes_never_overlap(edges):
    layout = lay_out(range(10), sorted(edges))
    for (layer, place), (other_layer, other) in itertools.combinations(layout.places.values(), 2):
        assert layer != other_layer or abs(place - other) > 0.99
    for (start, end), path in layout.paths.items():
        assert layout.places[start][0] < layout.places[end][0]
        assert [point[0] for point in path] == sorted(point[0] for point in path)
    assert min(place for _, place in layout.places.values()) >= 0
