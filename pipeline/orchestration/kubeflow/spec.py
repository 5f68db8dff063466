"""A compiled pipeline on open-source Kubeflow Pipelines: one container a node, over ``run-node``.

Needs ``kfp`` and ``kfp-kubernetes``, and no TFX: it runs in an environment of its own.
"""

# The functions that kfp reads are made at run time, from what the pipeline holds.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false, reportCallIssue=false
# pyright: reportFunctionMemberAccess=false

import json
import re
import sys
from collections.abc import Callable
from inspect import Parameter, Signature
from pathlib import Path
from typing import Any

from kfp import compiler, dsl, kubernetes

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.env import PASSWORD_VARIABLE, STORE_VARIABLE
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.kubeflow import steps
from tfx_feeder.pipeline.orchestration.kubeflow.options import Kubeflow
from tfx_feeder.pipeline.orchestration.kubeflow.steps import ANSWER, YES, ContainerStep
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster


def write_spec(file: CompiledPipeline, options: Kubeflow, path: Path) -> None:
    """Compiles a pipeline for Kubeflow Pipelines.

    Args:
        file: As ``tfx-feeder compile`` wrote it; it says which nodes there are.
        options: Where and how they run.
        path: Of the YAML that is written.

    Raises:
        ConfigError: The pipeline cannot run so.
    """
    options.check(file)
    path.parent.mkdir(parents=True, exist_ok=True)
    compiler.Compiler().compile(_pipeline(file, options), str(path))


def _pipeline(file: CompiledPipeline, options: Kubeflow) -> Any:
    def body(*values: Any) -> None:
        given = dict(zip(options.run_options, values, strict=True))
        if not file.exit_handlers:
            _decided(file, options, given)
            return
        last = steps.run_node(options, file.exit_handlers[0], is_last=True)
        with dsl.ExitHandler(_task(file, options, last)):
            _decided(file, options, given)

    _declare(body, file.name, [(name, str, value) for name, value in options.run_options.items()])
    return dsl.pipeline(name=_name(file.name), description=f"The TFX pipeline {file.name}.")(body)


def _decided(file: CompiledPipeline, options: Kubeflow, given: dict[str, Any]) -> None:
    if options.retrain_options is None:
        _nodes(file, options, given)
        return
    decision = _task(file, options, steps.decide(options))
    with dsl.If(decision.outputs[ANSWER] == YES):
        _nodes(file, options, given)


def _nodes(file: CompiledPipeline, options: Kubeflow, given: dict[str, Any]) -> None:
    first = []
    if options.compile_options is not None:
        first.append(_task(file, options, steps.compile_anew(options), given))
    tasks: dict[str, Any] = {}
    for node, upstream in file.upstream.items():
        if node in file.exit_handlers:
            continue
        before = [*first, *(tasks[name] for name in upstream)]
        tasks[node] = _task(file, options, steps.run_node(options, node)).after(*before)
        for member in steps.run_members(options, node):
            _task(file, options, member).after(*before)


def _task(
    file: CompiledPipeline,
    options: Kubeflow,
    step: ContainerStep,
    given: dict[str, Any] | None = None,
) -> Any:
    task = _component(options.image, step)(**(given or {}))
    task.set_display_name(step.name)
    # Whether a node has to run is decided by TFX's cache, with what it knows of inputs and code.
    task.set_caching_options(False)
    if options.retries and step.node not in file.exit_handlers:
        task.set_retry(options.retries, backoff_duration="10s", backoff_factor=2)
    asked = file.resources.get(step.node)
    if asked is not None:
        for amount, set_limit in ((asked.cpu, "cpu"), (asked.memory, "memory")):
            if amount:
                getattr(task, f"set_{set_limit}_request")(amount)
                getattr(task, f"set_{set_limit}_limit")(amount)
        if asked.accelerator:
            task.set_accelerator_type(asked.accelerator).set_accelerator_limit(asked.count)
    for name, value in step.variables.items():
        task.set_env_variable(name, value)
    for name, value in step.labels.items():
        kubernetes.add_pod_label(task, name, value)
    if options.claim:
        kubernetes.mount_pvc(task, pvc_name=options.claim, mount_path=options.mount)
    if options.secret:
        variables = {"store": STORE_VARIABLE, "password": PASSWORD_VARIABLE}
        kubernetes.use_secret_as_env(task, options.secret, variables)
    return task


def _component(image: str, step: ContainerStep) -> Callable[..., Any]:
    def container(*placeholders: Any) -> Any:
        return dsl.ContainerSpec(
            image=image,
            command=["sh", "-c", step.script],
            args=[*step.arguments, *placeholders],
        )

    outputs = [(step.output, dsl.OutputPath(str), Parameter.empty)] if step.output else []
    inputs = [(name, str, Parameter.empty) for name in step.inputs]
    _declare(container, step.name, [*inputs, *outputs])
    return dsl.container_component(container)


def _declare(function: Any, name: str, parameters: list[tuple[str, Any, Any]]) -> None:
    """Gives a function the name, and parameters by (name, type, default), that kfp reads off it."""
    function.__name__ = _name(name).replace("-", "_")
    function.__annotations__ = {}
    function.__signature__ = Signature(
        [
            Parameter(each, Parameter.POSITIONAL_OR_KEYWORD, annotation=kind, default=default)
            for each, kind, default in parameters
        ]
    )


def _name(text: str) -> str:
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")


def main() -> None:
    """Reads the arguments of ``write_spec`` as JSON from standard input; for another process."""
    arguments = json.load(sys.stdin)
    file = compiled_pipeline.read(Path(arguments["file"]))
    given = arguments["options"]
    clusters = {node: Cluster(**each) for node, each in given.pop("clusters", {}).items()}
    try:
        write_spec(file, Kubeflow(**given, clusters=clusters), Path(arguments["path"]))
    except ConfigError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
