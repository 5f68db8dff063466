"""What the processes of a ``local:N`` training listen on: this machine only."""

import contextlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.components.feeder_trainer.distribution.workers import neighbor
from tests.components.feeder_trainer.distribution.workers.listening import listeners_of_all
from tfx_feeder.components.feeder_trainer.distribution.cluster import ClusterTask, restricted_server
from tfx_feeder.components.feeder_trainer.distribution.context import open_context
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import run_in_processes
from tfx_feeder.components.feeder_trainer.distribution.options import (
    Mirrored,
    MultiWorker,
    ParameterServer,
    PeerAveraging,
    Strategy,
)

ROOT = Path(__file__).parents[4]


@pytest.mark.multi_worker
@pytest.mark.slow
@pytest.mark.parametrize(
    ("strategy", "servers"),
    [
        (MultiWorker("local:2"), 2),
        # The synchronous strategy starts the same processes.
        (ParameterServer("local:1"), 3),
        (PeerAveraging("local:2"), 2),
    ],
    ids=lambda each: getattr(each, "name", ""),
)
def test_all_servers_listen_on_loopback(strategy: Strategy, servers: int, tmp_path: Path) -> None:
    found = run_in_processes(listeners_of_all, strategy, strategy, str(tmp_path)).result

    assert [each for each in found if not each.startswith(("127.0.0.1:", "lo "))] == []
    ports = {each.rpartition(":")[2] for each in found}
    assert len(ports) == servers + 2, "A dispatcher and a worker of the feed service, too."


@pytest.mark.multi_worker
@pytest.mark.slow
@pytest.mark.skipif(
    os.geteuid() != 0 or not all(map(shutil.which, ("ip", "nsenter", "unshare"))),
    reason="Network namespaces require root, iproute2 and util-linux.",
)
def test_a_neighbor_never_connects_even_while_the_servers_start() -> None:
    script = [sys.executable, "-m", neighbor.__name__]
    run = subprocess.run(
        ["unshare", "--net", *script], cwd=ROOT, capture_output=True, text=True, timeout=300
    )

    assert run.returncode == 0, run.stderr[-2000:]
    seen, connected, control = json.loads(run.stdout.splitlines()[-1])
    assert connected == [control]
    assert len(seen) >= 1 + 2 + 3 + 2 * 2


@pytest.mark.parametrize(("given", "used"), [(None, "lo"), ("eth1", "eth1")])
def test_nccl_listens_on_loopback_unless_it_is_told_otherwise(
    given: str | None, used: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("NCCL_SOCKET_IFNAME", given or "")
    if given is None:
        monkeypatch.delenv("NCCL_SOCKET_IFNAME")

    with contextlib.closing(open_context(Mirrored(("CPU:0",)), None)):
        assert os.environ["NCCL_SOCKET_IFNAME"] == used


def test_servers_of_other_hosts_are_not_restricted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("TF_GRPC_REUSE_PORT", raising=False)

    with restricted_server(
        ClusterTask({"worker": ("digits-0:2222", "digits-1:2222")}, "worker", 0)
    ):
        assert "TF_GRPC_REUSE_PORT" not in os.environ
