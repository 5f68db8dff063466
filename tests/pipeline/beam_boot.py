"""Does what the boot program in Beam's containers does, which is not to be had as a package.

It asks the runner what was staged, fetches it, installs it by pip, and becomes a worker. Its own
folder takes the files.
"""

import argparse
import os
import subprocess
import sys
from pathlib import Path

import grpc
from apache_beam.portability.api import (
    beam_artifact_api_pb2,
    beam_artifact_api_pb2_grpc,
    beam_provision_api_pb2,
    beam_provision_api_pb2_grpc,
    beam_runner_api_pb2,
)
from google.protobuf import json_format

parser = argparse.ArgumentParser()
for name in ("id", "provision_endpoint", "artifact_endpoint", "logging_endpoint"):
    parser.add_argument(f"--{name}", required=True)
parser.add_argument("--control_endpoint", required=True)
options = parser.parse_args()
worker = (("worker_id", options.id),)
staged = Path(__file__).parent / options.id
site = staged / "site"
site.mkdir(parents=True)

provision = beam_provision_api_pb2_grpc.ProvisionServiceStub(
    grpc.insecure_channel(options.provision_endpoint)
)
info = provision.GetProvisionInfo(
    beam_provision_api_pb2.GetProvisionInfoRequest(), metadata=worker
).info
artifacts = beam_artifact_api_pb2_grpc.ArtifactRetrievalServiceStub(
    grpc.insecure_channel(options.artifact_endpoint)
)
resolve = beam_artifact_api_pb2.ResolveArtifactsRequest(artifacts=info.dependencies)
for artifact in artifacts.ResolveArtifacts(resolve, metadata=worker).replacements:
    role = beam_runner_api_pb2.ArtifactStagingToRolePayload.FromString(artifact.role_payload)
    request = beam_artifact_api_pb2.GetArtifactRequest(artifact=artifact)
    chunks = artifacts.GetArtifact(request, metadata=worker)
    (staged / role.staged_name).write_bytes(b"".join(chunk.data for chunk in chunks))

packages = [str(staged / name) for name in (staged / "extra_packages.txt").read_text().split()]
# Into a folder of the worker's own: the environment is that of the tests.
install = [sys.executable, "-m", "pip", "install", "--quiet", "--no-deps", "--no-index"]
subprocess.run([*install, "--target", str(site), *packages], check=True)

os.environ.update(
    WORKER_ID=options.id,
    PIPELINE_OPTIONS=json_format.MessageToJson(info.pipeline_options),
    SEMI_PERSISTENT_DIRECTORY=str(staged),
    LOGGING_API_SERVICE_DESCRIPTOR=f'url: "{options.logging_endpoint}"',
    CONTROL_API_SERVICE_DESCRIPTOR=f'url: "{options.control_endpoint}"',
    PYTHONPATH=str(site),
)
os.execv(sys.executable, [sys.executable, "-m", "apache_beam.runners.worker.sdk_worker_main"])
