"""Options of Airflow DAGs; this module does not require Airflow."""

import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.orchestration.run_options import (
    REFERENCE_RUN_OPTIONS,
    check_run_option,
    shell_argument,
)

DAY_OF_RUN = "(dag_run.logical_date - dag.start_date).days if dag_run.logical_date else ''"
"""Default for ``span`` if one span arrives per day: span 0 belongs to the DAG's start date."""


@dataclass(frozen=True, slots=True)
class RunOption:
    """An option of ``tfx-feeder compile`` that becomes a parameter of each run.

    Args:
        name: Name of the parameter, and of the option with dashes in place of underscores.
        kind: JSON Schema type of the value.
        default: Jinja expression for the value of runs that do not set the parameter; an empty
            string omits the option.

    Raises:
        ConfigError: The name cannot be that of an option.
    """

    name: str
    kind: str = "string"
    default: str = "''"

    def __post_init__(self) -> None:
        check_run_option(self.name)

    @property
    def variable(self) -> str:
        """Name of the environment variable that passes the value to the shell."""
        return f"RUN_{self.name.upper()}"

    @property
    def template(self) -> str:
        """Jinja template of the environment variable."""
        param = f"params.{self.name}"
        return f"{{{{ ({self.default}) if {param} is none else {param} }}}}"

    @property
    def argument(self) -> str:
        """The option as a word of a shell command; no word at all if the variable is empty."""
        return shell_argument(self.name, self.variable)


REFERENCE_OPTIONS = tuple(
    RunOption(name, "integer" if name == "span" else "string") for name in REFERENCE_RUN_OPTIONS
)
"""Options that a run of the reference pipeline can set."""


@dataclass(frozen=True, slots=True)
class Sensor:
    """A command that decides whether a run may continue, such as one that looks for a new span.

    On workers, the command is repeated until it succeeds. In pods, it runs once: if the answer is
    "not yet", the run is skipped, and the next scheduled run tries again.

    Args:
        task_id: Name of the task.
        command: Program and arguments. Exit status 0 means continue, 99 not yet, and any other an
            error.
        every_s: Seconds between two attempts.
        timeout_s: Seconds after which the task fails.
    """

    task_id: str
    command: Sequence[str]
    every_s: float = 60
    timeout_s: float = 7 * 24 * 3600

    @property
    def script(self) -> str:
        """The command as a shell script."""
        # Without the newline, Airflow would take `… check.sh` for the name of a template file.
        return f"exec {shlex.join(self.command)}\n"


@dataclass(frozen=True, slots=True)
class Timeouts:
    """Retries and time limits.

    Args:
        retries: Number of retries of a failed node.
        retry_delay_s: Seconds before each retry.
        nodes_s: Seconds after which a node is stopped, by node id.
        run_s: Seconds after which a run is stopped; ``None`` for no limit.
        late_s: Seconds after which a run counts as late, without being stopped; an SLA on
            Airflow 2, a deadline on Airflow 3.1 and newer.
        on_late: Callback for late runs: the DAG's ``sla_miss_callback`` on Airflow 2, an
            ``airflow.sdk.AsyncCallback`` or ``SyncCallback`` on Airflow 3.

    Raises:
        ConfigError: A number is out of range, or only one of ``late_s`` and ``on_late`` is set.
    """

    retries: int = 2
    retry_delay_s: float = 30
    nodes_s: Mapping[str, float] = field(default_factory=dict)
    run_s: float | None = None
    late_s: float | None = None
    on_late: Any = None

    def __post_init__(self) -> None:
        if self.retries < 0:
            raise ConfigError("timeouts retries", received=self.retries, expected="0 or more")
        seconds = {f"nodes_s {node}": value for node, value in self.nodes_s.items()}
        seconds |= {name: getattr(self, name) for name in ("retry_delay_s", "run_s", "late_s")}
        for name, value in seconds.items():
            if value is not None and value <= 0:
                raise ConfigError(f"timeouts {name}", received=value, expected="seconds above 0")
        if (self.late_s is None) != (self.on_late is None):
            raise ConfigError(
                "timeouts on_late", received=self.on_late, expected="a callback if late_s is set"
            )
