"""Reads manifests as JSON from standard input; writes what is wrong with them.

Needs ``kubernetes-validate`` and ``kubeflow-training``, so that it runs in an environment of its
own.
"""

import json
import sys
from typing import Any

import kubernetes_validate
from kubeflow.training.api_client import ApiClient

_KUBERNETES = "1.28"
"""The oldest that labels the pods of an Indexed Job."""


def main() -> None:
    """Validates each document by the schema of its kind."""
    faults = []
    for document in json.load(sys.stdin):
        try:
            _validate(document)
        except (kubernetes_validate.ValidationError, ValueError) as error:
            faults.append(str(error))
    print(json.dumps(faults))


def _validate(document: dict[str, Any]) -> None:
    if document["kind"] != "TFJob":
        kubernetes_validate.validate(document, _KUBERNETES, strict=True)
        return
    # The models leave out what they do not know.
    client = ApiClient()
    model = client._ApiClient__deserialize(document, "KubeflowOrgV1TFJob")
    known = client.sanitize_for_serialization(model)
    if known != document:
        raise ValueError(f"Kubeflow knows of it only {json.dumps(known)}")


if __name__ == "__main__":
    main()
