"""``tfx-feeder cluster``: manifests that Kubernetes and Kubeflow accept."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from tfx_feeder.components.feeder_trainer.distribution.options import (
    MultiWorker,
    ParameterServer,
    SingleDevice,
    SynchronousParameterServer,
)
from tfx_feeder.pipeline.cli.cluster import cluster_command
from tfx_feeder.pipeline.orchestration import compiled_pipeline

POD = ("--image", "registry/shop:1", "--pvc", "shared")
VALIDATORS = ("kubernetes-validate==1.37.0", "kubeflow-training==1.9.4")
"""Which bring the schemas; TFX needs other releases of what these need."""


@pytest.fixture
def writing(tmp_path, trained_by):
    """Returns a function that calls the command; it returns what is shown and what is written."""

    def writing(strategy, *arguments, resources="", **file):
        made = trained_by(strategy, **file).with_resources(
            {"Trainer": compiled_pipeline.Resources.parse(resources)}, ()
        )
        compiled_pipeline.write(made, tmp_path / "p.json")
        given = ("--ir", str(tmp_path / "p.json"), *POD, *arguments, "-o", str(tmp_path / "c.yaml"))
        result = CliRunner().invoke(cluster_command, given)
        written = tmp_path / "c.yaml"
        return result, list(yaml.safe_load_all(written.read_text())) if written.exists() else []

    return writing


def named(manifests):
    return {(each["kind"], each["metadata"]["name"]): each["spec"] for each in manifests}


def container(spec):
    return spec["template"]["spec"]["containers"][0]


def test_without_a_run_id_the_settings_of_the_chief_are_printed(writing):
    result, manifests = writing(MultiWorker("env"), "--workers", "3")
    assert result.exit_code == 0, result.output
    made = named(manifests)
    assert set(made) == {
        *(("Service", f"my-shop-{each}") for each in ("chief-0", "worker-0", "worker-1")),
        ("Job", "my-shop-worker"),
        ("NetworkPolicy", "my-shop"),
    }
    assert made["Job", "my-shop-worker"]["completions"] == 2
    chief = made["Service", "my-shop-chief-0"]["selector"]
    assert all(f"  {label}={value}\n" in result.output for label, value in chief.items())
    assert "TF_CONFIG=" in result.output
    assert "TFX_FEEDER_RENDEZVOUS=/data/clusters/my-shop/training.job" in result.output


def test_services_find_the_pods_of_the_jobs(writing):
    _, manifests = writing(ParameterServer("env"), "--run-id", "monday")
    found = []
    for manifest in manifests:
        if manifest["kind"] == "Job":
            for index in range(manifest["spec"]["completions"]):
                # As Kubernetes labels the pods of an Indexed Job.
                labels = manifest["spec"]["template"]["metadata"]["labels"] | {
                    "batch.kubernetes.io/job-completion-index": str(index)
                }
                found += [
                    other["metadata"]["name"]
                    for other in manifests
                    if other["kind"] == "Service"
                    and other["spec"]["selector"].items() <= labels.items()
                ]
    assert found == [f"my-shop-{each}" for each in ("chief-0", "worker-0", "worker-1", "ps-0")]


def test_pods_request_the_resources_of_the_node_and_servers_no_accelerator(writing):
    _, manifests = writing(
        SynchronousParameterServer("env"),
        *("--run-id", "monday", "--secret", "mlmd", "--timeout", "2h", "--servers", "2"),
        resources="cpu:4,memory:8Gi,nvidia.com/gpu:1",
    )
    made = named(manifests)
    chief, worker, ps = (
        container(made["Job", f"my-shop-{type_}"]) for type_ in ("chief", "worker", "ps")
    )
    gpu = {"cpu": "4", "memory": "8Gi", "nvidia.com/gpu": "1"}
    assert chief["resources"] == worker["resources"] == {"requests": gpu, "limits": gpu}
    assert ps["resources"]["limits"] == {"cpu": "4", "memory": "8Gi"}
    run = ["--ir", "/app/pipeline.json", "--node", "Trainer", "--run-id", "monday", "--json-logs"]
    waits = ["worker", "--timeout", "2h", "--no-work-ok"]
    assert chief["command"] == ["tfx-feeder", "run-node", *run]
    assert worker["command"] == ps["command"] == ["tfx-feeder", *waits]
    secrets = {each["name"] for each in chief["env"]} - {each["name"] for each in worker["env"]}
    assert secrets == {"TFX_FEEDER_STORE", "TFX_FEEDER_STORE_PASSWORD"}
    assert made["Job", "my-shop-ps"]["completions"] == 2


@pytest.mark.parametrize("kind", ["job", "tfjob"])
def test_only_the_members_reach_one_another(writing, kind):
    result, manifests = writing(ParameterServer("env"), "--run-id", "monday", "--kind", kind)
    assert result.exit_code == 0, result.output
    (policy,) = (each["spec"] for each in manifests if each["kind"] == "NetworkPolicy")
    assert policy["policyTypes"] == ["Ingress"]
    assert policy["ingress"] == [{"from": [{"podSelector": policy["podSelector"]}]}]
    selected = policy["podSelector"]["matchLabels"].items()
    pods = [
        template
        for each in manifests
        for spec in each["spec"].get("tfReplicaSpecs", {"": each["spec"]}).values()
        if (template := spec.get("template"))
    ]
    assert len(pods) == 3
    assert all(selected <= pod["metadata"]["labels"].items() for pod in pods)


def test_all_members_get_the_token_of_the_secret(writing):
    _, manifests = writing(MultiWorker("env"), "--run-id", "monday", "--secret", "mlmd")
    token = {"secretKeyRef": {"name": "mlmd", "key": "token", "optional": True}}
    jobs = [each["spec"] for each in manifests if each["kind"] == "Job"]
    assert len(jobs) == 2
    for job in jobs:
        found = {each["name"]: each.get("valueFrom") for each in container(job)["env"]}
        assert found["TFX_FEEDER_TOKEN"] == token


@pytest.mark.parametrize(
    ("strategy", "arguments", "file", "expected"),
    [
        (SingleDevice(), (), {}, "there are none"),
        (SingleDevice(), ("--node", "Trainer"), {}, "cluster='env'"),
        (MultiWorker("env"), ("--node", "Gen"), {}, "a FeederTrainer"),
        (MultiWorker("env"), ("--node", "Nope"), {}, "one of Gen, Trainer"),
        (MultiWorker("env"), ("--servers", "1"), {}, "cluster servers"),
        (MultiWorker("env"), ("--workers", "1"), {}, "cluster workers"),
        (MultiWorker("env"), ("--kind", "tfjob"), {}, "run_id"),
        (MultiWorker("env"), ("--timeout", "soon"), {}, "timeout"),
        (MultiWorker("env"), ("--image", ""), {}, "image"),
        (MultiWorker("env"), (), {"root": "/home/me"}, "below /data"),
    ],
)
def test_invalid_clusters_are_rejected_in_one_line(writing, strategy, arguments, file, expected):
    result, manifests = writing(strategy, *arguments, **file)
    assert (result.exit_code, manifests) == (2, [])
    assert expected in result.output
    assert result.output.count("\n") == 1


@pytest.mark.slow
def test_kubernetes_and_kubeflow_know_everything_in_the_manifests(writing):
    output = ("--run-id", "monday", "--secret", "mlmd")
    wishes = "cpu:4,memory:8Gi,nvidia.com/gpu:1"
    servers = ParameterServer("env")
    _, jobs = writing(servers, *output, resources=wishes)
    _, (policy, tfjob) = writing(servers, *output, "--kind", "tfjob", resources=wishes)
    assert {type_: each["replicas"] for type_, each in tfjob["spec"]["tfReplicaSpecs"].items()} == {
        "Chief": 1,
        "Worker": 2,
        "PS": 1,
    }
    pods = [each["template"] for each in tfjob["spec"]["tfReplicaSpecs"].values()]
    misspelt = json.loads(json.dumps(tfjob).replace("claimName", "claim_name"))
    documents = [*jobs, *({"apiVersion": "v1", "kind": "Pod", **pod} for pod in pods)]
    assert validated([*documents, policy, tfjob]) == []
    wrong = validated([{**jobs[0], "spec": {"selector": "all"}}, misspelt])
    assert len(wrong) == 2, wrong


def validated(documents):
    """Returns what the validators say, which run in an environment that uv makes and keeps."""
    packages = [argument for package in VALIDATORS for argument in ("--with", package)]
    uv = Path(sys.executable).with_name("uv")
    command = [str(uv), "run", "--no-project", "--isolated", *packages, "python"]
    program = Path(__file__).parents[1] / "orchestration" / "kubernetes" / "validate_manifests.py"
    ran = subprocess.run(
        [*command, str(program)],
        input=json.dumps(documents),
        env={"UV_SYSTEM_CERTS": "true", **os.environ},
        capture_output=True,
        text=True,
    )
    assert ran.returncode == 0, ran.stderr
    return json.loads(ran.stdout)
