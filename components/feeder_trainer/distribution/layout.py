"""Which processes a strategy takes on this machine."""

from dataclasses import dataclass

from tfx_feeder.components.feeder_trainer.distribution.addresses import free_addresses
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask
from tfx_feeder.components.feeder_trainer.distribution.options import LaunchMode


@dataclass(frozen=True, slots=True)
class ProcessTopology:
    """The processes of one training.

    Args:
        starts: ``"subprocess"``: one. ``"workers"``: as many as given, of which the first is the
            chief. ``"parameter_servers"``: a chief, workers and one parameter server.
        workers: Number of workers.

    Example:
        >>> [task.type for task in ProcessTopology("parameter_servers", 2).tasks()]
        ['chief', 'worker', 'worker', 'ps']
    """

    starts: LaunchMode
    workers: int = 1

    def tasks(self) -> tuple[ClusterTask | None, ...]:
        """Gives each process its place and an address that is free now; the chief comes first."""
        if self.starts == "subprocess":
            return (None,)
        kinds = ["worker"] * self.workers
        if self.starts == "parameter_servers":
            kinds = ["chief", *kinds, "ps"]
        cluster: dict[str, tuple[str, ...]] = {}
        for kind, address in zip(kinds, free_addresses(len(kinds)), strict=True):
            cluster[kind] = (*cluster.get(kind, ()), address)
        return tuple(
            ClusterTask(cluster, kind, index)
            for kind, addresses in cluster.items()
            for index in range(len(addresses))
        )
