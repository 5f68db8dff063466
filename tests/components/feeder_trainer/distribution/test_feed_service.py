"""Several processes consume one tf.data service, which the chief starts."""

import contextlib
import signal
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest

from tfx_feeder.components.feeder_trainer.distribution import feed_service
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.feed_service import shared_service
from tfx_feeder.components.feeder_trainer.feed.feed import Feed, open_feed
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.service_cluster import ServiceCluster
from tfx_feeder.components.feeder_trainer.feed.sharding import Shard
from tfx_feeder.components.feeder_trainer.training.process_group import SingleProcess

COUNT = 3
N = 1200
TASKS = [
    ClusterTask({"worker": ("127.0.0.1:1", "b:2", "c:3")}, "worker", rank) for rank in range(COUNT)
]


class Group(SimpleNamespace):
    """A process of a group in which the chief speaks first."""

    size = COUNT

    def broadcast(self, values: Sequence[float]) -> list[float]:
        if self.is_chief:
            self.said.extend(values)
        return self.said[:]


@pytest.fixture
def clusters(monkeypatch: pytest.MonkeyPatch) -> list[ServiceCluster]:
    """Collects the clusters that are started."""
    started = []

    def start(*args: Any) -> ServiceCluster:
        started.append(ServiceCluster(*args))
        return started[-1]

    monkeypatch.setattr(feed_service, "ServiceCluster", start)
    return started


@contextlib.contextmanager
def team(options: FeedOptions) -> Iterator[list[FeedOptions]]:
    """Yields the options of each process."""
    said: list[float] = []
    with contextlib.ExitStack() as stack:
        yield [
            stack.enter_context(
                shared_service(options, Group(is_chief=task.is_chief, said=said), task)
            )
            for task in TASKS
        ]


def together(feeds: Sequence[Feed], epochs: Sequence[range], batch_size: int) -> Iterator[Any]:
    """Yields the parts of each global batch."""
    yield from zip(*(feed.batches(epochs, batch_size) for feed in feeds), strict=True)


def test_processes_that_share_no_local_service_keep_their_options(
    clusters: list[ServiceCluster],
) -> None:
    running = FeedOptions(service="grpc://feeds:5050")
    with team(running) as options:
        assert options == [running] * COUNT
    with shared_service(FeedOptions(service="local:2"), SingleProcess(), None) as alone:
        assert alone.service == "local:2"
    assert not clusters


@pytest.mark.multi_worker
@pytest.mark.slow
def test_a_killed_worker_costs_no_example_of_any_process(
    clusters: list[ServiceCluster],
    write_examples: Callable[..., list[str]],
    make_parser: Callable[..., Any],
    labels_of: Callable[..., list[int]],
) -> None:
    files = write_examples(range(N))
    parser = make_parser(service="local:2", service_timeout_s=10, shuffle_buffer=64)

    with team(parser.feed) as options:
        (cluster,) = clusters
        assert {each.service for each in options} == {f"grpc://127.0.0.1:{cluster.port}"}
        feeds = [
            open_feed(files, parser, each, shuffle=True, shard=Shard(rank, COUNT))
            for rank, each in enumerate(options)
        ]
        # Epochs and batches may have fewer examples than there are processes.
        small = list(together(feeds, [range(9), range(9, 11), range(11, 12)], 2))
        batches = []
        for parts in together(feeds, [range(N), range(N, 2 * N)], 16):
            batches.append(parts)
            if len(batches) == 5:
                failed = cluster.workers[0]
                failed.send_signal(signal.SIGKILL)
        processes = list(cluster.workers)
        assert [process.poll() for process in (failed, *processes)] == [-signal.SIGKILL, None, None]

    assert None not in [process.poll() for process in processes]
    assert [len(labels_of(parts)) for parts in small] == [2, 2, 2, 2, 1, 2, 1]
    labels = [labels_of(parts) for parts in batches]
    assert [len(each) for each in labels] == [16] * (2 * N // 16)
    stream = [label for each in labels for label in each]
    assert sorted(stream[:N]) == sorted(stream[N:]) == list(range(N))
    assert sum(feed.source.num_missing for feed in feeds) > 0


@pytest.mark.multi_worker
@pytest.mark.slow
def test_the_service_ends_with_the_training_that_fails(clusters: list[ServiceCluster]) -> None:
    with pytest.raises(RuntimeError, match="out of paint"), team(FeedOptions(service="local:1")):
        raise RuntimeError("out of paint")
    (cluster,) = clusters
    assert cluster.workers[0].poll() is not None
