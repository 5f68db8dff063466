"""Creates recurring runs on Kubeflow Pipelines; requires ``kfp`` but not TFX."""

# kfp is not installed in the environment of the type checker.
# pyright: reportMissingImports=false, reportAttributeAccessIssue=false

import json
import sys
from pathlib import Path
from typing import Any

import kfp
from kfp_server_api.exceptions import ApiException
from urllib3.exceptions import HTTPError

from tfx_feeder.common.errors import ConfigError


def schedule(
    spec: Path,
    name: str,
    cron: str,
    *,
    host: str,
    namespace: str | None = None,
    parameters: dict[str, Any] | None = None,
) -> str:
    """Creates a recurring run of a specification, with at most one run active at a time.

    Missed runs are not caught up: the next run trains on the next span anyway. An existing
    recurring run of the same name is replaced.

    Args:
        spec: Specification written by ``write_spec``.
        name: Name of the recurring run and of its experiment.
        cron: Minute, hour, day of the month, month and day of the week; six fields start with the
            second.
        host: URL of Kubeflow Pipelines; ``kfp.Client`` reads the credentials as usual.
        namespace: Namespace of the user, if Kubeflow has several.
        parameters: Parameters of each run that override those of the specification.

    Returns:
        Id of the recurring run.

    Raises:
        ConfigError: The schedule is malformed.
    """
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise ConfigError("cron", received=cron, expected="five fields, as in '0 3 * * *'")
    client = kfp.Client(host=host, namespace=namespace or "kubeflow")
    experiment = client.create_experiment(name, namespace=namespace).experiment_id
    replaced = _recurring_runs(client, name, experiment)
    created = client.create_recurring_run(
        experiment_id=experiment,
        job_name=name,
        cron_expression=" ".join(["0"] * (6 - len(fields)) + fields),
        max_concurrency=1,
        no_catchup=True,
        pipeline_package_path=str(spec),
        params=parameters,
    )
    for run in replaced:
        client.delete_recurring_run(run)
    return created.recurring_run_id


def _recurring_runs(client: kfp.Client, name: str, experiment: str) -> list[str]:
    found, token = [], ""
    while True:
        page = client.list_recurring_runs(token, page_size=100, experiment_id=experiment)
        found += [r.recurring_run_id for r in page.recurring_runs or () if r.display_name == name]
        token = page.next_page_token
        if not token:
            return found


def main() -> None:
    """Calls ``schedule`` with JSON arguments from standard input, as a separate process."""
    arguments = json.load(sys.stdin)
    try:
        schedule(Path(arguments.pop("spec")), **arguments)
    except ConfigError as error:
        sys.exit(f"Error: {error}")
    except (ApiException, HTTPError) as error:
        sys.exit(f"Error: Kubeflow Pipelines at {arguments['host']}: {error}")


if __name__ == "__main__":
    main()
