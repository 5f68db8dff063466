"""Fixtures: peer nodes on this machine."""

import contextlib
from collections.abc import Callable, Iterator

import pytest

from tfx_feeder.components.feeder_trainer.distribution.cluster import free_addresses
from tfx_feeder.components.feeder_trainer.distribution.peer_averaging.node import PeerNode


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def make_nodes(closing: contextlib.ExitStack) -> Callable[[int], list[PeerNode]]:
    def make(count: int) -> list[PeerNode]:
        where = free_addresses(count)
        nodes = [PeerNode(where, rank) for rank in range(count)]
        for node in nodes:
            closing.callback(node.close)
        return nodes

    return make
