"""A compiled pipeline on open-source Kubeflow Pipelines: one container a node, over ``run-node``.

Needs ``kfp`` and ``kfp-kubernetes``, and no TFX: it runs in an environment of its own.
"""

# The functions that kfp reads are made at run time, from what the pipeline holds.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes

from tfx_feeder.components.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration import ir
from tfx_feeder.pipeline.orchestration.ir import PipelineFile

RUN_ID = dsl.PIPELINE_JOB_ID_PLACEHOLDER
"""Stands for the id of the run; Kubeflow puts it in."""
STORE_VARIABLE = "TFX_FEEDER_STORE"
PASSWORD_VARIABLE = "TFX_FEEDER_STORE_PASSWORD"


@dataclass(frozen=True, slots=True)
class Kubeflow:
    """Where and how the nodes run.

    Args:
        image: Container image with the pipeline's environment and code.
        ir: The compiled pipeline inside the container.
        claim: Name of a PersistentVolumeClaim for the pipeline's root; empty: the root is on an
            object store.
        mount: Where the claim is mounted: the pipeline's root lies below it.
        secret: Name of a Secret whose keys ``store`` and ``password`` say where ML Metadata is;
            empty: what the pipeline was compiled with.
        retries: How often a failed node is run again.

    Raises:
        ConfigError: There is no image, or a mount without a claim.
    """

    image: str
    ir: str = "/app/pipeline.json"
    claim: str = ""
    mount: str = "/data"
    secret: str = ""
    retries: int = 2

    def __post_init__(self) -> None:
        if not self.image:
            raise ConfigError("image", received=self.image, expected="the name of an image")
        if self.retries < 0:
            raise ConfigError("retries", received=self.retries, expected="0 or more")


def write_spec(file: PipelineFile, options: Kubeflow, path: Path) -> None:
    """Compiles a pipeline for Kubeflow Pipelines.

    Args:
        file: As ``tfx-feeder compile`` wrote it.
        options: Where and how its nodes run.
        path: Of the YAML that is written.

    Raises:
        ConfigError: The root of the pipeline cannot be reached from all containers.
    """
    _check_root(file, options)
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(_pipeline(file, options), str(path))


def _check_root(file: PipelineFile, options: Kubeflow) -> None:
    if "://" in file.root:
        return
    if not options.claim or not Path(file.root).is_relative_to(options.mount):
        raise ConfigError(
            "root",
            received=file.root,
            expected=f"an object store, or a folder below {options.mount}, where a claim is",
            fix=f"Compile with --root {options.mount}/..., and name the claim.",
        )


def _pipeline(file: PipelineFile, options: Kubeflow) -> Any:
    handlers = file.exit_handlers
    if len(handlers) > 1:
        raise ConfigError(
            "exit_handlers", received=handlers, expected="one at most: Kubeflow knows no more"
        )

    def body() -> None:
        if not handlers:
            _nodes(file, options)
            return
        with dsl.ExitHandler(_task(file, options, handlers[0])):
            _nodes(file, options)

    body.__name__ = file.name
    return dsl.pipeline(name=_name(file.name), description=f"The TFX pipeline {file.name}.")(body)


def _nodes(file: PipelineFile, options: Kubeflow) -> None:
    tasks: dict[str, Any] = {}
    for node, upstream in file.upstream.items():
        if node not in file.exit_handlers:
            tasks[node] = _task(file, options, node)
            tasks[node].after(*(tasks[before] for before in upstream))


def _task(file: PipelineFile, options: Kubeflow, node: str) -> Any:
    task = _component(options, node)()
    task.set_display_name(node)
    # Whether a node has to run is decided by TFX's cache, with what it knows of inputs and code.
    task.set_caching_options(False)
    if options.retries and node not in file.exit_handlers:
        task.set_retry(options.retries, backoff_duration="10s", backoff_factor=2)
    asked = file.resources.get(node)
    if asked is not None:
        for amount, set_limit in ((asked.cpu, "cpu"), (asked.memory, "memory")):
            if amount:
                getattr(task, f"set_{set_limit}_request")(amount)
                getattr(task, f"set_{set_limit}_limit")(amount)
        if asked.accelerator:
            task.set_accelerator_type(asked.accelerator).set_accelerator_limit(asked.count)
    if options.claim:
        kubernetes.mount_pvc(task, pvc_name=options.claim, mount_path=options.mount)
    if options.secret:
        variables = {"store": STORE_VARIABLE, "password": PASSWORD_VARIABLE}
        kubernetes.use_secret_as_env(task, options.secret, variables)
    return task


def _component(options: Kubeflow, node: str) -> Callable[..., Any]:
    def container():  # kfp takes an annotation for an output.
        return dsl.ContainerSpec(
            image=options.image,
            command=["tfx-feeder", "run-node"],
            # To Kubeflow a model that was not blessed would be a failure, and the run over.
            args=[
                *("--ir", options.ir, "--node", node, "--run-id", RUN_ID),
                *("--unblessed-ok", "--json-logs"),
            ],
        )

    container.__name__ = _name(node).replace("-", "_")
    return dsl.container_component(container)


def main() -> None:
    """Reads the arguments of ``write_spec`` as JSON from standard input; for another process."""
    arguments = json.load(sys.stdin)
    file = ir.read(Path(arguments["file"]))
    try:
        write_spec(file, Kubeflow(**arguments["options"]), Path(arguments["path"]))
    except ConfigError as error:
        sys.exit(f"Error: {error}")


def _name(text: str) -> str:
    return "".join(c.lower() if c.isalnum() else "-" for c in text).strip("-")


if __name__ == "__main__":
    main()
