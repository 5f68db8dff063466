"""Script of test_listening.py: trainings, and a neighbor that tries to connect to their servers.

It runs in a network namespace of its own. The neighbor, in another one, tries every port from the
moment on at which a process listens.
"""

import contextlib
import json
import os
import socket
import subprocess
import sys
import tempfile

from tests.components.feeder_trainer.distribution.workers.listening import listeners_of_all
from tests.components.feeder_trainer.distribution.workers.waiting import wait_for
from tfx_feeder.components.feeder_trainer.distribution.launcher.launch import run_in_processes
from tfx_feeder.components.feeder_trainer.distribution.options import MultiWorker, ParameterServer

HOST, NEIGHBOR = "192.0.2.1", "192.0.2.2"
_CONNECT = """
import json, socket, sys, threading
host, pid = sys.argv[1:]
ended = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
seen, connected = set(), set()
while not ended.is_set():
    for name in ("tcp", "tcp6"):
        for line in open(f"/proc/{pid}/net/{name}").readlines()[1:]:
            fields = line.split()
            port = int(fields[1].rpartition(":")[2], 16)
            if fields[3] == "0A" and port not in connected:
                seen.add(port)
                with socket.socket() as probe:
                    probe.settimeout(0.005)
                    if not probe.connect_ex((host, port)):
                        connected.add(port)
print(json.dumps([sorted(seen), sorted(connected)]))
"""


def main() -> None:
    """Prints the ports that were listened on, those the neighbor reached, and one it should."""
    with contextlib.ExitStack() as stack:
        neighbor = subprocess.Popen(["unshare", "--net", "sleep", "600"])
        stack.callback(neighbor.kill)
        own = os.readlink("/proc/self/ns/net")
        wait_for(lambda: os.readlink(f"/proc/{neighbor.pid}/ns/net") != own)
        enter = ["nsenter", f"--net=/proc/{neighbor.pid}/ns/net"]
        control = stack.enter_context(socket.create_server(("0.0.0.0", 0)))
        for command in (
            "ip link set lo up",
            f"ip link add v0 type veth peer name v1 netns {neighbor.pid}",
            f"ip addr add {HOST}/24 dev v0",
            "ip link set v0 up",
            f"{' '.join(enter)} ip addr add {NEIGHBOR}/24 dev v1",
            f"{' '.join(enter)} ip link set v1 up",
        ):
            subprocess.run(command.split(), check=True)
        attack = subprocess.Popen(
            [*enter, sys.executable, "-c", _CONNECT, HOST, str(os.getpid())],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        for strategy in (MultiWorker("local:2"), ParameterServer("local:1")):
            with tempfile.TemporaryDirectory() as logs:
                run_in_processes(listeners_of_all, strategy, strategy, logs)
        output, _ = attack.communicate(timeout=60)
        print(json.dumps([*json.loads(output), control.getsockname()[1]]))


if __name__ == "__main__":
    main()
