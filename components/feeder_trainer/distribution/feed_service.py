"""One tf.data service for all processes of a training."""

import contextlib
import dataclasses
import os
from collections.abc import Iterator

from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions
from tfx_feeder.components.feeder_trainer.feed.service_cluster import ServiceCluster
from tfx_feeder.components.feeder_trainer.training.process_group import ProcessGroup


@contextlib.contextmanager
def shared_service(
    options: FeedOptions, group: ProcessGroup, task: ClusterTask | None
) -> Iterator[FeedOptions]:
    """Starts the service that the options describe in the chief, and stops it at the end.

    Each process consumes a job of its own, of its part of the files; docs/feeding.md says why.

    Args:
        options: Options of the feed.
        group: Processes of the training; all of them call this function.
        task: Task of this process; ``None``: that of ``TF_CONFIG``, if needed.

    Yields:
        Options with the address of the service; unchanged for a single process or for a service
        that the trainer does not start.

    Raises:
        FeederError: A process of the service does not start.
    """
    if group.size == 1 or not options.service_workers:
        yield options
        return
    chief = (task or ClusterTask.required_from_env(os.environ)).trainers[0]
    host = chief.rpartition(":")[0]
    with contextlib.ExitStack() as stack:
        port = 0
        if group.is_chief:
            cluster = ServiceCluster(options.service_workers, host)
            stack.enter_context(contextlib.closing(cluster))
            port = cluster.port
        (port,) = group.broadcast([port])
        yield dataclasses.replace(options, service=f"grpc://{host}:{int(port)}")
