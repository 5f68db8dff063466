"""The manifests of a cluster train: their commands and environments, as processes of this machine.

What Kubernetes does is done here: indices are put in, and names of Services become addresses.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tfx_feeder.components.feeder_trainer.distribution.cluster import free_addresses
from tfx_feeder.pipeline.cli.cluster import cluster_command
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.schemas import training_history

pytestmark = [pytest.mark.slow, pytest.mark.multi_worker]


@pytest.fixture
def file(root):
    """Returns a compiled pipeline whose data is there and whose training is due."""
    import tiny_training

    from tfx_feeder.pipeline.orchestration.compiler import compile_pipeline
    from tfx_feeder.pipeline.orchestration.node import run_node

    file = compile_pipeline(tiny_training.create())
    compiled_pipeline.write(file, root / "p.json")
    assert run_node(file, "Numbers", "monday").name == "DONE"
    return file


def members(manifests):
    """Yields command and environment of each pod of the Jobs."""
    for manifest in manifests:
        if manifest["kind"] != "Job":
            continue
        (container,) = manifest["spec"]["template"]["spec"]["containers"]
        for index in range(manifest["spec"]["completions"]):
            index_first, *others = container["env"]
            environment = {
                each["name"]: each["value"].replace(f"$({index_first['name']})", str(index))
                for each in others
            }
            yield container["command"], environment


def start(command, environment, log):
    program, *arguments = command
    assert program == "tfx-feeder"
    main = "from tfx_feeder.pipeline.cli.main import main; main()"
    with log.open("w") as output:
        return subprocess.Popen(
            [sys.executable, "-c", main, *arguments],
            env=os.environ | environment,
            stdout=output,
            stderr=subprocess.STDOUT,
        )


def test_the_members_of_the_manifests_train_one_model(root, file):
    written = root / "cluster.yaml"
    about = ("--ir", root / "p.json", "--ir-in-image", root / "p.json", "--mount", root)
    pods = ("--image", "i", "--pvc", "c", "--run-id", "monday", "--timeout", "3m")
    result = CliRunner().invoke(cluster_command, [*map(str, about), *pods, "-o", str(written)])
    assert result.exit_code == 0, result.output
    text = written.read_text()
    hosts = re.findall(r"^  name: (tiny-\w+-\d)$", text, re.MULTILINE)
    for host, address in zip(hosts, free_addresses(len(hosts)), strict=True):
        text = text.replace(f"{host}:2222", address)

    started = []
    try:
        for number, (command, environment) in enumerate(members(yaml.safe_load_all(text))):
            log = root / f"{number}.log"
            started.append((start(command, environment, log), log))
        assert len(started) == 2
        for process, log in started:
            assert process.wait(240) == 0, log.read_text()[-3000:]
    finally:
        for process, _ in started:
            process.kill()
            process.wait()

    states = {each.node: each.state for each in Lineage.open(root).executions("monday")}
    assert states == {"Numbers": "COMPLETE", "FeederTrainer": "COMPLETE"}
    (record,) = Path(file.root).glob("FeederTrainer/training_history/*")
    placement = training_history.read(record).placement
    assert (placement.strategy["name"], placement.replicas) == ("multi_worker", 2)
