"""Manifests that start the members of a cluster: Jobs of Kubernetes, or a TFJob of Kubeflow."""

import json
from dataclasses import dataclass, field
from typing import Any

from tfx_feeder.common.durations import parse_duration
from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.cluster import VARIABLE
from tfx_feeder.components.feeder_trainer.distribution.launcher.rendezvous import (
    RENDEZVOUS_VARIABLE,
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
"""Group of the image's user, so that a volume is writable for it."""

_CONTAINER, _PORT = "tensorflow", "tfjob-port"
"""Names that Kubeflow's operator looks for."""
_INDEX = "JOB_COMPLETION_INDEX"
_NO_PROXY = {"sidecar.istio.io/inject": "false"}
"""A proxy beside a member would stay when the member is done, and the Job would never end."""


@dataclass(frozen=True, slots=True)
class Pods:
    """What the pods of a cluster have in common.

    Args:
        image: Container image with the pipeline's environment and code.
        claim: Name of a PersistentVolumeClaim that all can write to at once.
        mount: Where it is mounted; root of the pipeline and work of the chief lie below it.
        resources: What each member needs; parameter servers get no accelerator.
        node: Id of the FeederTrainer.
        run_id: The run in which the chief runs it; empty: something else runs the chief.
        ir: The compiled pipeline inside the image.
        secret: Name of a Secret whose keys ``store`` and ``password`` say where ML Metadata is;
            empty: what the pipeline was compiled with.
        timeout: How long members wait for the chief, as in ``"30m"``.
        retries: How often the members of a kind are started again.
    """

    image: str
    claim: str
    mount: str = "/data"
    resources: Resources = field(default_factory=Resources)
    node: str = "FeederTrainer"
    run_id: str = ""
    ir: str = "/app/pipeline.json"
    secret: str = ""
    timeout: str = "30m"
    retries: int = 3

    def __post_init__(self) -> None:
        for name in ("image", "claim"):
            if not getattr(self, name):
                raise ConfigError(name, received="", expected=f"the name of the {name}")
        parse_duration("timeout", self.timeout)


def jobs(cluster: Cluster, pods: Pods) -> list[dict[str, Any]]:
    """Returns a Service for each member, and an Indexed Job for each kind of members.

    The chief has a Job where ``pods.run_id`` names the run; otherwise whoever runs it gives its pod
    ``cluster.labels("chief", 0)`` and ``cluster.environment("chief", 0)``.
    """
    started = [type_ for type_ in cluster.counts if type_ != CHIEF or pods.run_id]
    return [*cluster.services(), *(_job(cluster, pods, type_) for type_ in started)]


def tfjob(cluster: Cluster, pods: Pods) -> list[dict[str, Any]]:
    """Returns a TFJob of Kubeflow's Training Operator, which sets ``TF_CONFIG`` and Services.

    Raises:
        ConfigError: ``pods.run_id`` is empty: the chief is a part of a TFJob.
    """
    if not pods.run_id:
        raise ConfigError("run_id", received="", expected="the id of the run, for a TFJob")
    replicas = {
        ("PS" if type_ == "ps" else type_.title()): {
            "replicas": count,
            "restartPolicy": "OnFailure",
            "template": {
                "metadata": {"annotations": _NO_PROXY},
                "spec": _pod(pods, type_, [_env(RENDEZVOUS_VARIABLE, cluster.job)], cluster.port),
            },
        }
        for type_, count in cluster.counts.items()
    }
    policy = {"backoffLimit": pods.retries, "cleanPodPolicy": "Running"}
    return [
        {
            "apiVersion": "kubeflow.org/v1",
            "kind": "TFJob",
            "metadata": {"name": cluster.name},
            "spec": {"runPolicy": policy, "tfReplicaSpecs": replicas},
        }
    ]


def _job(cluster: Cluster, pods: Pods, type_: str) -> dict[str, Any]:
    count = cluster.counts[type_]
    config = json.loads(cluster.tf_config(type_, 0))
    # Kubernetes puts it in; only of variables that come before it, so that one is declared here.
    config["task"]["index"] = f"$({_INDEX})"
    index = {"fieldRef": {"fieldPath": f"metadata.annotations['{INDEX_LABEL}']"}}
    env = [
        {"name": _INDEX, "valueFrom": index},
        _env(VARIABLE, json.dumps(config)),
        _env(RENDEZVOUS_VARIABLE, cluster.job),
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
    """Returns the specification of a pod, but for whether it is started again."""
    # How the training ends is for the chief to say, who may find it in the cache.
    command = ["worker", "--timeout", pods.timeout, "--no-work-ok"]
    if type_ == CHIEF:
        command = ["run-node", "--ir", pods.ir, "--node", pods.node, "--run-id", pods.run_id]
        command += ["--json-logs"]
        env = [*env, *_store(pods.secret)]
    made = {
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
        "containers": [made | ({"resources": resources} if resources else {})],
        "volumes": [{"name": "shared", "persistentVolumeClaim": {"claimName": pods.claim}}],
    }


def _resources(asked: Resources, *, accelerated: bool) -> dict[str, dict[str, str]]:
    amounts = {"cpu": asked.cpu, "memory": asked.memory}
    if accelerated and asked.accelerator:
        amounts[asked.accelerator] = str(asked.count)
    amounts = {name: amount for name, amount in amounts.items() if amount}
    return {"requests": amounts, "limits": amounts} if amounts else {}


def _store(secret: str) -> list[dict[str, Any]]:
    keys = {STORE_VARIABLE: "store", PASSWORD_VARIABLE: "password"}
    return [
        {"name": name, "valueFrom": {"secretKeyRef": {"name": secret, "key": key}}}
        for name, key in keys.items()
        if secret
    ]


def _env(name: str, value: str) -> dict[str, str]:
    return {"name": name, "value": value}
