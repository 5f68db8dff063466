"""Manifests that start the members of a cluster: Kubernetes Jobs, or a Kubeflow TFJob."""

import json
from dataclasses import dataclass, field
from typing import Any

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE
from tfx_feeder.components.feeder_trainer.distribution.launcher.job_file import (
    RENDEZVOUS_VARIABLE,
    TOKEN_VARIABLE,
)
from tfx_feeder.pipeline.metadata.env import PASSWORD_VARIABLE, STORE_VARIABLE
from tfx_feeder.pipeline.orchestration.kubernetes.cluster import (
    CHIEF,
    CLUSTER_LABEL,
    INDEX_LABEL,
    TYPE_LABEL,
    Cluster,
)
from tfx_feeder.pipeline.orchestration.resources import Resources

GROUP = 10001
"""Group id of the user in the image, to which volumes have to be writable."""

_CONTAINER, _PORT = "tensorflow", "tfjob-port"
"""Names that Kubeflow's Training Operator expects."""
_INDEX = "JOB_COMPLETION_INDEX"
_NO_PROXY = {"sidecar.istio.io/inject": "false"}
"""Annotation that disables the Istio sidecar, which would keep a Job from ever completing."""


@dataclass(frozen=True, slots=True)
class Pods:
    """Settings that the pods of a cluster share.

    Args:
        image: Container image with the environment and code of the pipeline.
        pvc: Name of a PersistentVolumeClaim with access mode ``ReadWriteMany``.
        mount: Path at which the claim is mounted; the root of the pipeline and the rendezvous file
            lie below it.
        resources: Resource request of each member; parameter servers get no accelerator.
        node: Id of the FeederTrainer.
        run_id: Id of the run in which the chief runs the node; empty if an orchestrator runs the
            chief.
        ir: Path of the compiled pipeline in the image.
        secret: Name of a Secret whose keys ``store`` and ``password`` hold the address of ML
            Metadata; empty for the compiled connection. Its key ``token``, if there is one, signs
            the rendezvous file.
        timeout: Time that members wait for the chief, such as ``"30m"``.
        retries: Number of restarts of the members of each type.

    Raises:
        ConfigError: The image or the claim is missing, or the timeout is malformed.
    """

    image: str
    pvc: str
    mount: str = "/data"
    resources: Resources = field(default_factory=Resources)
    node: str = "FeederTrainer"
    run_id: str = ""
    ir: str = "/app/pipeline.json"
    secret: str = ""
    timeout: str = "30m"
    retries: int = 3

    def __post_init__(self) -> None:
        for name in ("image", "pvc"):
            if not getattr(self, name):
                raise ConfigError(name, received="", expected=f"the name of the {name}")
        parse_duration("timeout", self.timeout)


def jobs(cluster: Cluster, pods: Pods) -> list[dict[str, Any]]:
    """Returns a Service for each member, a NetworkPolicy, and a Job for each type of member.

    The chief gets a Job if ``pods.run_id`` is set. Otherwise, the orchestrator that runs the chief
    has to give its pod ``cluster.labels("chief", 0)`` and ``cluster.environment("chief", 0)``.

    Args:
        cluster: Members of the training.
        pods: Settings of their pods.
    """
    started = [type_ for type_ in cluster.counts if type_ != CHIEF or pods.run_id]
    return [
        *cluster.services(),
        cluster.network_policy(),
        *(_job(cluster, pods, type_) for type_ in started),
    ]


def tfjob(cluster: Cluster, pods: Pods) -> list[dict[str, Any]]:
    """Returns a NetworkPolicy, and a TFJob for Kubeflow's Training Operator.

    The operator sets ``TF_CONFIG`` and creates the Services.

    Args:
        cluster: Members of the training.
        pods: Settings of their pods.

    Raises:
        ConfigError: ``pods.run_id`` is empty, but a TFJob includes the chief.
    """
    if not pods.run_id:
        raise ConfigError(
            "run_id", received="", expected="the id of a run, as a TFJob starts the chief"
        )
    env = [_env(RENDEZVOUS_VARIABLE, cluster.rendezvous_path)]
    replicas = {
        ("PS" if type_ == "ps" else type_.title()): {
            "replicas": count,
            "restartPolicy": "OnFailure",
            "template": {
                "metadata": {"labels": {CLUSTER_LABEL: cluster.name}, "annotations": _NO_PROXY},
                "spec": _pod(pods, type_, env, cluster.port),
            },
        }
        for type_, count in cluster.counts.items()
    }
    policy = {"backoffLimit": pods.retries, "cleanPodPolicy": "Running"}
    return [
        cluster.network_policy(),
        {
            "apiVersion": "kubeflow.org/v1",
            "kind": "TFJob",
            "metadata": {"name": cluster.name},
            "spec": {"runPolicy": policy, "tfReplicaSpecs": replicas},
        },
    ]


def _job(cluster: Cluster, pods: Pods, type_: str) -> dict[str, Any]:
    count = cluster.counts[type_]
    config = json.loads(cluster.tf_config(type_, 0))
    # Kubernetes expands variables that are declared before this one, hence the order of ``env``.
    config["task"]["index"] = f"$({_INDEX})"
    index = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX_LABEL}']"}}
    env = [
        {"name": _INDEX, "valueFrom": index},
        _env(VARIABLE, json.dumps(config)),
        _env(RENDEZVOUS_VARIABLE, cluster.rendezvous_path),
    ]
    labels = {CLUSTER_LABEL: cluster.name, TYPE_LABEL: type_}
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": f"{cluster.name}-{type_}", "labels": labels},
        "spec": {
            "completionMode": "Indexed",
            "completions": count,
            "parallelism": count,
            "backoffLimit": pods.retries * count,
            "template": {
                "metadata": {"labels": labels, "annotations": _NO_PROXY},
                "spec": {"restartPolicy": "OnFailure", **_pod(pods, type_, env, cluster.port)},
            },
        },
    }


def _pod(pods: Pods, type_: str, env: list[dict[str, Any]], port: int) -> dict[str, Any]:
    """Returns the specification of a pod without its restart policy."""
    # If the chief takes the training from the cache, the other members get no work: no error.
    command = ["worker", "--timeout", pods.timeout, "--no-work-ok"]
    if type_ == CHIEF:
        command = ["run-node", "--ir", pods.ir, "--node", pods.node, "--run-id", pods.run_id]
        command += ["--json-logs"]
        env = [*env, *_store(pods.secret)]
    env = [*env, *_token(pods.secret)]
    container = {
        "name": _CONTAINER,
        "image": pods.image,
        "command": ["tfx-feeder", *command],
        "env": env,
        "ports": [{"name": _PORT, "containerPort": port}],
        "volumeMounts": [{"name": "shared", "mountPath": pods.mount}],
    }
    resources = _resources(pods.resources, accelerated=type_ != "ps")
    return {
        "securityContext": {"fsGroup": GROUP},
        "containers": [container | ({"resources": resources} if resources else {})],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": pods.pvc}}],
    }


def _resources(requested: Resources, *, accelerated: bool) -> dict[str, dict[str, str]]:
    amounts = {"cpu": requested.cpu, "memory": requested.memory}
    if accelerated and requested.accelerator:
        amounts[requested.accelerator] = str(requested.count)
    amounts = {name: amount for name, amount in amounts.items() if amount}
    return {"requests": amounts, "limits": amounts} if amounts else {}


def _store(secret: str) -> list[dict[str, Any]]:
    keys = {STORE_VARIABLE: "store", PASSWORD_VARIABLE: "password"}
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, key in keys.items()
        if secret
    ]


def _token(secret: str) -> list[dict[str, Any]]:
    key = {"name": secret, "key": "token", "optional": True}
    return [{"name": TOKEN_VARIABLE, "valueFrom": {"secretKeyRef": key}}] if secret else []


def _env(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}
