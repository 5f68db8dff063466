"""Run options: options of ``tfx-feeder compile`` that each run of an orchestrator can set.

Orchestrators pass the value in a shell variable, so that the shell never interprets it as code.
"""

import re
from collections.abc import Iterable

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.pipeline.metadata.env import without_password

REFERENCE_RUN_OPTIONS = ("span", "schedule", "strategy")
"""Names of the options that a run of the reference pipeline can set."""


def check_run_option(name: str) -> None:
    """Checks that a name can be that of an option, with underscores in place of dashes.

    Raises:
        ConfigError: The name contains other characters.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name):
        raise ConfigError(
            "run_options", received=name, expected="names such as span or time_to_train"
        )


def check_no_password(words: Iterable[str], fix: str) -> None:
    """Checks that no argument of a command is a URL with a password, which every reader would see.

    Args:
        words: Arguments of ``tfx-feeder``.
        fix: Sentence that says where else to put the password.

    Raises:
        ConfigError: An argument contains a password.
    """
    for word in words:
        store = word.removeprefix("--store=")
        if without_password(store) != store:
            raise ConfigError(
                "store",
                received=without_password(store),
                expected="a URL without a password, which every reader of the run would see",
                fix=fix,
            )


def shell_argument(name: str, variable: str) -> str:
    """Returns an option as a word of a shell command; no word at all if the variable is empty.

    Args:
        name: Name of the option, with underscores in place of dashes.
        variable: Name or position of the shell variable with the value.

    Example:
        >>> shell_argument("time_to_train", "1")
        '${1:+"--time-to-train=${1}"}'
    """
    return f'${{{variable}:+"--{name.replace("_", "-")}=${{{variable}}}"}}'


def quoted_template(template: str) -> str:
    """Returns a Jinja template whose value, whatever it contains, is one word of the shell.

    Args:
        template: Jinja template, such as ``{{ var.value.mlmd_store }}``.
    """
    escape = """{% filter replace("'", "'\\"'\\"'") %}"""
    return f"'{escape}{template}{{% endfilter %}}'"
