"""Function run by the processes of test_listening.py: what those of a training listen on."""

import contextlib
import os
from collections.abc import Iterator

from tests.listeners import descendants, listeners
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.context import open_context
from tfx_feeder.components.feeder_trainer.distribution.feed_service import shared_service
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.service_cluster import ServiceCluster
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup


def listeners_of_all(strategy: Strategy, task: ClusterTask | None) -> list[str]:
    """Returns what the processes of a training listen on, with a feed service of one worker."""
    with (
        contextlib.closing(open_context(strategy, task)) as context,
        _feed_service(context.process_group, task),
    ):
        launcher = os.getppid()
        found = listeners(pid for pid in descendants(launcher) if pid != launcher)
        context.process_group.broadcast([0.0])
    return found


@contextlib.contextmanager
def _feed_service(group: ProcessGroup, task: ClusterTask | None) -> Iterator[None]:
    if group.size == 1:
        with contextlib.closing(ServiceCluster(1)):
            yield
    else:
        with shared_service(FeedOptions(service="local:1"), group, task):
            yield
