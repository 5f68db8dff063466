"""Recurring runs on Kubeflow Pipelines; needs ``kfp``, and no TFX."""

# kfp is not in the environment that types are checked in.
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
    """Lets Kubeflow run a specification again and again, one run at a time.

    A run that was missed is not made up for: the next one trains on the next span anyway. Where
    there is such a schedule already, it is replaced.

    Args:
        spec: As ``write_spec`` wrote it.
        name: Of the recurring run and its experiment.
        cron: Minute, hour, day, month and day of the week; six fields begin with the second.
        host: URL of Kubeflow Pipelines; the client reads credentials as it always does.
        namespace: Of the user, where Kubeflow has several.
        parameters: Of each run, instead of those of the specification.

    Returns:
        Id of the recurring run.

    Raises:
        ConfigError: The schedule cannot be read.
    """
    fields = cron.split()
    if len(fields) not in (5, 6):
        raise ConfigError("cron", received=cron, expected="five fields, as in '0 3 * * *'")
    client = kfp.Client(host=host, namespace=namespace or "kubeflow")
    experiment = client.create_experiment(name, namespace=namespace).experiment_id
    earlier = _recurring_runs(client, name, experiment)
    made = client.create_recurring_run(
        experiment_id=experiment,
        job_name=name,
        cron_expression=" ".join(["0"] * (6 - len(fields)) + fields),
        max_concurrency=1,
        no_catchup=True,
        pipeline_package_path=str(spec),
        params=parameters,
    )
    for run in earlier:
        client.delete_recurring_run(run)
    return made.recurring_run_id


def _recurring_runs(client: kfp.Client, name: str, experiment: str) -> list[str]:
    found, token = [], ""
    while True:
        page = client.list_recurring_runs(token, page_size=100, experiment_id=experiment)
        found += [r.recurring_run_id for r in page.recurring_runs or () if r.display_name == name]
        token = page.next_page_token
        if not token:
            return found


def main() -> None:
    """Reads the arguments of ``schedule`` as JSON from standard input; for another process."""
    arguments = json.load(sys.stdin)
    try:
        schedule(Path(arguments.pop("spec")), **arguments)
    except ConfigError as error:
        sys.exit(f"Error: {error}")
    except (ApiException, HTTPError) as error:
        sys.exit(f"Error: Kubeflow Pipelines at {arguments['host']}: {error}")


if __name__ == "__main__":
    main()
