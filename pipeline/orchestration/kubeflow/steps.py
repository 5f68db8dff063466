"""Containers of a run on Kubeflow Pipelines: their scripts, inputs and outputs."""

import dataclasses
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field

from tfx_feeder.pipeline.orchestration.kubeflow.options import Kubeflow
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import Cluster
from tfx_feeder.pipeline.orchestration.run_options import shell_argument

RUN_ID = "{{$.pipeline_job_uuid}}"
"""Placeholder for the id of the run, which Kubeflow replaces in commands and arguments."""
ANSWER, YES = "answer", "yes"
"""Name of the output of the decision, and its value if the run has to retrain."""

_DECIDE = """\
mkdir -p "$(dirname "$0")" "$(dirname "$1")"
tfx-feeder retrain --decide --json {options} > "$0"
case $? in 0) answer=yes;; 99) answer=no;; *) exit 1;; esac
cat "$0"
printf %s $answer > "$1"
"""
# Compile once per run: a retried task would select another next span.
_COMPILE = '[ -e "$0" ] || exec tfx-feeder compile {options} --output "$0"'
# Kubeflow would treat the exit status of an unblessed model as a failure and end the run.
_RUN = 'exec tfx-feeder run-node --ir "$0" --node {node} --run-id "$1" --unblessed-ok --json-logs'
# Exit handlers run even if the compilation failed.
_RUN_LAST = f'[ -e "$0" ] || exit 0; {_RUN}'
# If the chief takes the training from the cache, the other members get no work.
_RUN_MEMBER = "exec tfx-feeder worker --no-work-ok"


@dataclass(frozen=True, slots=True)
class ContainerStep:
    """A container of a run.

    Args:
        name: Name of the task.
        script: Shell script.
        arguments: Values of ``$0``, ``$1`` and so on in the script; the values of the inputs and
            the path of the output follow.
        inputs: Names of the run parameters that the script reads.
        output: Name of the output; empty if the script has none.
        node: Id of the node whose resources the container requests; empty for no request.
        variables: Environment variables.
        labels: Labels of the pod.
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
    """Returns the container that decides whether to retrain, and on which spans."""
    script = _DECIDE.format(options=shlex.join(options.retrain_options or ()))
    return ContainerStep("decide", script, (_decision_path(options),), output=ANSWER)


def compile_run(options: Kubeflow) -> ContainerStep:
    """Returns the container that compiles the pipeline with the parameters of the run."""
    arguments = [_compiled_path(options)]
    words = [shlex.join(options.compile_options or ())]
    if options.retrain_options is not None:
        words.append('--decision "$1"')
        arguments.append(_decision_path(options))
    words += [
        shell_argument(name, str(position))
        for position, name in enumerate(options.run_options, start=len(arguments))
    ]
    script = _COMPILE.format(options=" ".join(words))
    return ContainerStep("compile", script, tuple(arguments), tuple(options.run_options))


def run_node(options: Kubeflow, node: str, *, is_last: bool = False) -> ContainerStep:
    """Returns the container that runs a node; it is the chief if the node has a cluster.

    Args:
        options: Options of the pipeline.
        node: Id of the node.
        is_last: True if the node is the exit handler.
    """
    script = (_RUN_LAST if is_last else _RUN).format(node=shlex.quote(node))
    step = ContainerStep(node, script, (_compiled_path(options), RUN_ID), node=node)
    cluster = options.clusters.get(node)
    return step if cluster is None else _in_cluster(step, cluster, *cluster.members[0])


def run_members(options: Kubeflow, node: str) -> list[ContainerStep]:
    """Returns the containers of the other cluster members that train with a node.

    Args:
        options: Options of the pipeline.
        node: Id of the node.
    """
    cluster = options.clusters.get(node)
    if cluster is None:
        return []
    return [
        _in_cluster(
            ContainerStep(f"{node} {type_} {index}", _RUN_MEMBER, node=node), cluster, type_, index
        )
        for type_, index in cluster.members[1:]
    ]


def _in_cluster(step: ContainerStep, cluster: Cluster, type_: str, index: int) -> ContainerStep:
    return dataclasses.replace(
        step, variables=cluster.environment(type_, index), labels=cluster.labels(type_, index)
    )


def _compiled_path(options: Kubeflow) -> str:
    if options.compile_options is None:
        return options.ir
    return f"{options.run_folder}/{RUN_ID}.json"


def _decision_path(options: Kubeflow) -> str:
    return f"{options.run_folder}/{RUN_ID}.decision.json"
