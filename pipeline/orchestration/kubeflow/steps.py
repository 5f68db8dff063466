"""What the containers of a run on Kubeflow Pipelines do."""

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from tfx_feeder.pipeline.orchestration.kubeflow.options import Kubeflow
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster

RUN_ID = "{{$.pipeline_job_uuid}}"
"""Kubeflow puts the id of the run in, in commands and arguments."""
ANSWER, YES = "answer", "yes"
"""Whether to retrain: name of the decision's output, and its value if so."""

_DECIDE = """\
mkdir -p "$(dirname "$0")" "$(dirname "$1")"
tfx-feeder retrain --decide --json {options} > "$0"
case $? in 0) answer=yes;; 99) answer=no;; *) exit 1;; esac
cat "$0"
printf %s $answer > "$1"
"""
# Compiled once in a run: tried again, it would find another next span.
_COMPILE = '[ -e "$0" ] || exec tfx-feeder compile {options} --output "$0"'
# To Kubeflow a model that was not blessed would be a failure, and the run over.
_RUN = 'exec tfx-feeder run-node --ir "$0" --node {node} --run-id "$1" --unblessed-ok --json-logs'
# Exit handlers run even if nothing was compiled.
_RUN_LAST = f'[ -e "$0" ] || exit 0; {_RUN}'
# A training that comes from the cache leaves no work to the others.
_RUN_MEMBER = "exec tfx-feeder worker --no-work-ok"


@dataclass(frozen=True, slots=True)
class ContainerStep:
    """A container of a run.

    Args:
        name: Of the task.
        script: For a shell.
        arguments: Its ``$0``, ``$1`` and so on; the values of inputs and the path of the output
            follow.
        inputs: Names of parameters of the run.
        output: Name of what it answers; empty: nothing.
        node: Id of the pipeline's node whose resources it needs; empty: none of them.
        variables: Environment variables.
        labels: Of its pod.
    """

    name: str
    script: str
    arguments: tuple[str, ...] = ()
    inputs: tuple[str, ...] = ()
    output: str = ""
    node: str = ""
    variables: Mapping[str, str] = field(default_factory=dict)
    labels: Mapping[str, str] = field(default_factory=dict)


def decide(options: Kubeflow) -> ContainerStep:
    """Decides whether to retrain, and on what."""
    script = _DECIDE.format(options=shlex.join(options.retrain_options or ()))
    return ContainerStep("decide", script, (_decision(options),), output=ANSWER)


def compile_anew(options: Kubeflow) -> ContainerStep:
    """Compiles the pipeline with the parameters of the run."""
    arguments = [_file(options)]
    words = [shlex.join(options.compile_options or ())]
    if options.retrain_options is not None:
        words.append('--decision "$1"')
        arguments.append(_decision(options))
    for position, name in enumerate(options.run_options, start=len(arguments)):
        value = f"${{{position}}}"
        flag = f'"--{name.replace("_", "-")}={value}"'
        words.append(f"${{{position}:+{flag}}}")
    script = _COMPILE.format(options=" ".join(words))
    return ContainerStep("compile", script, tuple(arguments), tuple(options.run_options))


def run_node(options: Kubeflow, node: str, *, is_last: bool = False) -> ContainerStep:
    """Runs a node; as the chief, where it has a cluster."""
    script = (_RUN_LAST if is_last else _RUN).format(node=shlex.quote(node))
    step = ContainerStep(node, script, (_file(options), RUN_ID), node=node)
    cluster = options.clusters.get(node)
    return step if cluster is None else _joining(step, cluster, *cluster.members[0])


def run_members(options: Kubeflow, node: str) -> list[ContainerStep]:
    """Run the other machines that train with a node."""
    cluster = options.clusters.get(node)
    if cluster is None:
        return []
    return [
        _joining(
            ContainerStep(f"{node} {type_} {index}", _RUN_MEMBER, node=node), cluster, type_, index
        )
        for type_, index in cluster.members[1:]
    ]


def _joining(step: ContainerStep, cluster: Cluster, type_: str, index: int) -> ContainerStep:
    return dataclasses.replace(
        step, variables=cluster.environment(type_, index), labels=cluster.labels(type_, index)
    )


def _file(options: Kubeflow) -> str:
    if options.compile_options is None:
        return options.ir
    return f"{options.run_folder}/{RUN_ID}.json"


def _decision(options: Kubeflow) -> str:
    return f"{options.run_folder}/{RUN_ID}.decision.json"
