"""The command ``tfx-feeder cluster``."""

import re
import shlex
from pathlib import Path

import click
import yaml

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.output import write_output
from tfx_feeder.components.feeder_trainer.distribution.launcher.job_file import TOKEN_VARIABLE
from tfx_feeder.components.feeder_trainer.distribution.options import cluster_of
from tfx_feeder.pipeline.cli.errors import ErrorReporting
from tfx_feeder.pipeline.cli.options import ir_option
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import (
    CHIEF,
    Cluster,
    check_shared_path,
)
from tfx_feeder.pipeline.orchestration.kubernetes.manifests import Pods, jobs, tfjob
from tfx_feeder.pipeline.orchestration.resources import Resources

_KINDS = {"job": jobs, "tfjob": tfjob}


class _Yaml(yaml.SafeDumper):
    """YAML dumper that repeats shared values instead of writing anchors."""

    def ignore_aliases(self, data: object) -> bool:
        return True


@click.command("cluster", cls=ErrorReporting)
@ir_option
@click.option("--node", help="Id of the FeederTrainer.  [default: the one with cluster='env']")
@click.option("--image", required=True, help="Container image with environment and code.")
@click.option(
    "--ir-in-image",
    default="/app/pipeline.json",
    show_default=True,
    help="Path of the compiled pipeline in the image.",
)
@click.option("--workers", type=int, default=2, show_default=True, help="Number of workers.")
@click.option(
    "--servers",
    type=int,
    help="Number of parameter servers.  [default: 1 if the strategy has them]",
)
@click.option("--pvc", required=True, help="PersistentVolumeClaim that all pods mount.")
@click.option("--mount", default="/data", show_default=True, help="Mount path of the volume.")
@click.option(
    "--secret",
    default="",
    help="Secret with the keys store and password of ML Metadata, and optionally token.",
)
@click.option(
    "--run-id",
    default="",
    help="Id of the run; also starts the chief, which runs the node.  [default: an orchestrator "
    "starts the chief]",
)
@click.option(
    "--kind",
    type=click.Choice(tuple(_KINDS)),
    default="job",
    show_default=True,
    help="Kind of the manifests: Services and Jobs, or a TFJob of Kubeflow's Training Operator.",
)
@click.option("--name", help="Prefix of the pod names.  [default: the name of the pipeline]")
@click.option("--port", type=int, default=2222, show_default=True, help="Port of every task.")
@click.option(
    "--timeout",
    default="30m",
    show_default=True,
    help="Time that workers and parameter servers wait for work.",
)
@click.option(
    "--output",
    "-o",
    type=click.Path(path_type=Path, dir_okay=False),
    default=Path("cluster.yaml"),
    show_default=True,
)
def cluster_command(
    path: Path,
    node: str | None,
    image: str,
    ir_in_image: str,
    workers: int,
    servers: int | None,
    pvc: str,
    mount: str,
    secret: str,
    run_id: str,
    kind: str,
    name: str | None,
    port: int,
    timeout: str,
    output: Path,
) -> None:
    """Write Kubernetes manifests for the machines of a training with cluster="env".

    Each pod requests the resources of the node. Without --run-id, the chief is the pod in which an
    orchestrator runs the node; it needs the labels and environment variables that are printed.
    """
    file = compiled_pipeline.read(path)
    node = node or _only_trainer(file)
    file.check_node(node)
    if node not in file.strategies:
        raise ConfigError("node", received=node, expected="a FeederTrainer")
    name = name or re.sub(r"[^a-z0-9]+", "-", file.name.lower()).strip("-")[:50]
    cluster = Cluster.for_strategy(
        file.strategies[node],
        name,
        rendezvous_path=f"{mount.rstrip('/')}/clusters/{name}/training.job",
        workers=workers,
        servers=servers,
        port=port,
    )
    check_shared_path("root", file.root, pvc, mount)
    pods = Pods(
        image=image,
        pvc=pvc,
        mount=mount,
        resources=file.resources.get(node, Resources()),
        node=node,
        run_id=run_id,
        ir=ir_in_image,
        secret=secret,
        timeout=timeout,
    )
    manifests = _KINDS[kind](cluster, pods)
    write_output(output, yaml.dump_all(manifests, Dumper=_Yaml, sort_keys=False))
    hosts = ", ".join(cluster.host(*member) for member in cluster.members)
    click.echo(f"{output}: {len(cluster.members)} pods: {hosts}")
    if not run_id:
        click.echo(
            "The pod that runs the node is the chief. Set these labels and environment variables:"
        )
        for key, value in (
            *cluster.labels(CHIEF, 0).items(),
            *cluster.environment(CHIEF, 0).items(),
        ):
            click.echo(f"  {key}={shlex.quote(value)}")
        if secret:
            click.echo(f"  {TOKEN_VARIABLE}: key token of the Secret {secret}, if there is one")


def _only_trainer(file: CompiledPipeline) -> str:
    found = [node for node, strategy in file.strategies.items() if cluster_of(strategy) == "env"]
    if len(found) != 1:
        raise ConfigError(
            "node",
            received=None,
            expected=f"one of the nodes with cluster='env': {', '.join(found) or 'there are none'}",
            fix="Compile with a strategy that has cluster='env'." if not found else "",
        )
    return found[0]
