"""Compiles a pipeline for Kubeflow Pipelines: one container per node, which calls ``run-node``.

Requires ``kfp`` and ``kfp-kubernetes`` but not TFX; it runs in its own environment.
"""

# kfp is not installed in the environment of the type checker, and it reads functions that are
# generated from the pipeline.
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
from tfx_feeder.common.files import atomic_path
from tfx_feeder.components.feeder_trainer.distribution.launcher.job_file import TOKEN_VARIABLE
from tfx_feeder.pipeline.metadata.env import PASSWORD_VARIABLE, STORE_VARIABLE
from tfx_feeder.pipeline.orchestration import compiled_pipeline
from tfx_feeder.pipeline.orchestration.compiled_pipeline import CompiledPipeline
from tfx_feeder.pipeline.orchestration.kubeflow import steps
from tfx_feeder.pipeline.orchestration.kubeflow.options import Kubeflow
from tfx_feeder.pipeline.orchestration.kubeflow.steps import ANSWER, YES, ContainerStep
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster


def write_spec(compiled: CompiledPipeline, options: Kubeflow, path: Path) -> None:
    """Compiles a pipeline for Kubeflow Pipelines.

    Args:
        compiled: The compiled pipeline.
        options: Options of the pipeline on Kubeflow.
        path: YAML file to write.

    Raises:
        ConfigError: The pipeline cannot run with these options.
    """
    options.check(compiled)
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_path(path) as partial:
        compiler.Compiler().compile(_pipeline(compiled, options), str(partial))


def _pipeline(compiled: CompiledPipeline, options: Kubeflow) -> Any:
    def body(*inputs: Any) -> None:
        values = dict(zip(options.run_options, inputs, strict=True))
        if not compiled.exit_handlers:
            _if_decided(compiled, options, values)
            return
        last = steps.run_node(options, compiled.exit_handlers[0], is_last=True)
        with dsl.ExitHandler(_task(compiled, options, last)):
            _if_decided(compiled, options, values)

    _declare(
        body, compiled.name, [(name, str, value) for name, value in options.run_options.items()]
    )
    return dsl.pipeline(
        name=_name(compiled.name), description=f"The TFX pipeline {compiled.name}."
    )(body)


def _if_decided(compiled: CompiledPipeline, options: Kubeflow, values: dict[str, Any]) -> None:
    if options.retrain_options is None:
        _nodes(compiled, options, values)
        return
    decision = _task(compiled, options, steps.decide(options))
    with dsl.If(decision.outputs[ANSWER] == YES):
        _nodes(compiled, options, values)


def _nodes(compiled: CompiledPipeline, options: Kubeflow, values: dict[str, Any]) -> None:
    first = []
    if options.compile_options is not None:
        first.append(_task(compiled, options, steps.compile_run(options), values))
    tasks: dict[str, Any] = {}
    for node, upstream in compiled.upstream.items():
        if node in compiled.exit_handlers:
            continue
        before = [*first, *(tasks[name] for name in upstream)]
        tasks[node] = _task(compiled, options, steps.run_node(options, node)).after(*before)
        for member in steps.run_members(options, node):
            _task(compiled, options, member).after(*before)


def _task(
    compiled: CompiledPipeline,
    options: Kubeflow,
    step: ContainerStep,
    values: dict[str, Any] | None = None,
) -> Any:
    task = _component(options.image, step)(**(values or {}))
    task.set_display_name(step.name)
    # TFX's own cache decides whether a node has to run; it knows the inputs and the code.
    task.set_caching_options(False)
    if options.retries and step.node not in compiled.exit_handlers:
        task.set_retry(options.retries, backoff_duration="10s", backoff_factor=2)
    request = compiled.resources.get(step.node)
    if request is not None:
        for amount, set_limit in ((request.cpu, "cpu"), (request.memory, "memory")):
            if amount:
                getattr(task, f"set_{set_limit}_request")(amount)
                getattr(task, f"set_{set_limit}_limit")(amount)
        if request.accelerator:
            task.set_accelerator_type(request.accelerator).set_accelerator_limit(request.count)
    for name, value in step.variables.items():
        task.set_env_variable(name, value)
    for name, value in step.labels.items():
        kubernetes.add_pod_label(task, name, value)
    if options.pvc:
        kubernetes.mount_pvc(task, pvc_name=options.pvc, mount_path=options.mount)
    if options.secret:
        variables = {"store": STORE_VARIABLE, "password": PASSWORD_VARIABLE}
        kubernetes.use_secret_as_env(task, options.secret, variables)
        if step.labels:
            kubernetes.use_secret_as_env(
                task, options.secret, {"token": TOKEN_VARIABLE}, optional=True
            )
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
    """Sets the name and the parameters (name, type, default) of a function, which kfp inspects."""
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
    """Calls ``write_spec`` with JSON arguments from standard input, as a separate process."""
    arguments = json.load(sys.stdin)
    compiled = compiled_pipeline.read(Path(arguments["file"]))
    options = arguments["options"]
    clusters = {node: Cluster(**each) for node, each in options.pop("clusters", {}).items()}
    try:
        write_spec(compiled, Kubeflow(**options, clusters=clusters), Path(arguments["path"]))
    except ConfigError as error:
        sys.exit(f"Error: {error}")


if __name__ == "__main__":
    main()
