"""What a DAG of a pipeline can be told; nothing here needs Airflow."""

import re
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfx_feeder.common.errors import ConfigError

DAY_OF_RUN = "(dag_run.logical_date - dag.start_date).days if dag_run.logical_date else ''"
"""Span of a run where one comes in a day: span 0 belongs to the DAG's start date."""


@dataclass(frozen=True, slots=True)
class RunOption:
    """An option of ``tfx-feeder compile`` that is a parameter of each run.

    Args:
        name: Of the parameter; of the option, with dashes for underscores.
        kind: Type of the value in JSON Schema.
        otherwise: Jinja expression of the value where a run names none; an empty text leaves
            the option out.

    Raises:
        ConfigError: The name is none of an option.
    """

    name: str
    kind: str = "string"
    otherwise: str = "''"

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9_]*", self.name):
            raise ConfigError(
                "run_options", received=self.name, expected="names such as span or time_to_train"
            )

    @property
    def variable(self) -> str:
        """Environment variable that brings the value, so that no shell reads it as code."""
        return f"RUN_{self.name.upper()}"

    @property
    def template(self) -> str:
        """Template of the variable."""
        given = f"params.{self.name}"
        return f"{{{{ ({self.otherwise}) if {given} is none else {given} }}}}"

    @property
    def argument(self) -> str:
        """The option in a shell command, or nothing where the variable is empty."""
        flag = self.name.replace("_", "-")
        return f'${{{self.variable}:+"--{flag}=${self.variable}"}}'


REFERENCE_OPTIONS = (RunOption("span", "integer"), RunOption("schedule"), RunOption("strategy"))
"""What a run of the reference pipeline may be given."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """A command that says whether a run may go on; such as one that looks for a new span.

    On workers it is asked again until it says yes. In pods it is asked once, and the run is skipped
    if it says no; the next one on the schedule asks again.

    Args:
        task_id: Name of the task.
        command: Program and arguments. Exit status 0 means yes, 99 not yet, any other an error.
        every_s: Seconds between two tries.
        timeout_s: Seconds after which the task fails.
    """

    task_id: str
    command: Sequence[str]
    every_s: float = 60
    timeout_s: float = 7 * 24 * 3600

    @property
    def script(self) -> str:
        """The command for a shell."""
        # The last character keeps Airflow from taking `… check.sh` for the name of a template.
        return f"exec {shlex.join(self.command)}\n"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """How often a node is tried, and how long things may take.

    Args:
        retries: Further tries of a node that failed.
        retry_delay_s: Seconds before each of them.
        nodes_s: Seconds after which a node is stopped, by node id.
        run_s: Seconds after which a run is stopped; ``None``: never.
        late_s: Seconds after which a run is late; it goes on. An SLA on Airflow 2, a deadline on
            Airflow 3.1 and newer.
        on_late: What is called then: on Airflow 2 the DAG's ``sla_miss_callback``, on Airflow 3 an
            ``airflow.sdk.AsyncCallback`` or ``SyncCallback``.

    Raises:
        ConfigError: A number is too small.
    """

    retries: int = 2
    retry_delay_s: float = 30
    nodes_s: Mapping[str, float] = field(default_factory=dict)
    run_s: float | None = None
    late_s: float | None = None
    on_late: Any = None

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ConfigError("limits retries", received=self.retries, expected="0 or more")
        seconds = {f"nodes_s {node}": value for node, value in self.nodes_s.items()}
        seconds |= {name: getattr(self, name) for name in ("retry_delay_s", "run_s", "late_s")}
        for name, value in seconds.items():
            if value is not None and value <= 0:
                raise ConfigError(f"limits {name}", received=value, expected="seconds above 0")
        if (self.late_s is None) != (self.on_late is None):
            raise ConfigError(
                "limits on_late", received=self.on_late, expected="a callback if late_s is set"
            )
