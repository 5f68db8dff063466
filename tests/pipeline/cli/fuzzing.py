"""Generated command lines and damaged documents, and the rule that all commands keep."""

import json
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
from click.testing import CliRunner, Result
from hypothesis import strategies as st

from tests.fuzzing import OUTCOMES
from tfx_feeder.pipeline.cli.errors import TRACEBACK_VARIABLE

STATUSES = {0, 1, 2, 3, 4, 5, 99, 130}
MAX_CHARS, MAX_CPU_S = 2_000, 5

# The operating system passes no NUL. Files are only written below the working folder.
_TEXTS = st.text(
    st.characters(codec="utf-8", exclude_characters="\0/")
    | st.sampled_from([*map(chr, range(0xDC80, 0xDCFF, 16)), *"0123456789:x,@=[]{}-+."]),
    max_size=40,
)
_NUMBERS = st.one_of(
    st.integers().map(str),
    st.floats().map(str),
    st.sampled_from(
        ["-1", "0", "1e999", "nan", "9" * 20, "9" * 5000, "²", "٣", "1_0", "0x1", "١e3"]
    ),
)
_ODD = st.sampled_from(
    [
        *("", " ", "-", "--", ".", "..", "~", "x" * 255, "x" * 300, "x/" * 20, "/proc/x/y"),
        *("[b]", "[/b]", "[red]", "%s", "$(id)", "{", "}", "[" * 5000, '{"a":' * 5000, "\udcff"),
        *("mysql://[::1", "mysql://u:secret@h", "mysql://h:x/d", "postgresql://h/d", "gs://b/c"),
        *("a=b", "=", "a:b", "a:", ":b", "os:getcwd", "os:environ", ".x:y", "json:loads"),
        *("latest", "previous", "blessed", "live", "env", "local:2", "local:0", "local:²"),
    ]
)
_LIKELY = {
    "schedule": ["0.01:32x3", "on_plateau 0.01:32x30 max=512", "reference", "s.yaml", "0.01:32x"],
    "older_than": ["1s", "30d", "99999999999d", "1e5d", "0s"],
    "timeout": ["1s", "30m"],
    "cron": ["0 3 * * 1", "* * * * * *", "0 0 30 2 *"],
    "timezone": ["UTC", "Europe", "Europe/Berlin", "../x"],
    "window": ["latest", "all", "rolling:3", "weighted:0.5", "rolling:"],
    "budget": ["4/7d", "2h/7d", "1/0s", "/"],
    "performance": ["accuracy>=0.9", "loss-0.1", "accuracy"],
    "resources": ["Gen=cpu:1", "Gen=memory:4Gi,nvidia.com/gpu:²", "Gen=", "Nope=cpu:1"],
    "costs": ["GPU=2.5", "GPU=nan", "=1"],
    "beam_arguments": ["direct_num_workers=2", "--x", "A=b"],
    "factory": ["factories:compiled"],
    "service": ["grpc://h:1", "http://h"],
    "retrain": ["--new-spans 1", "--drift 0.1 'x", "--nope", "'"],
}


def mutated(texts: Sequence[str]) -> st.SearchStrategy[str]:
    """Generates texts in which a part is replaced."""

    def mutate(text: str, begin: int, length: int, by: str) -> str:
        begin %= len(text) + 1
        return text[:begin] + by + text[begin + length :]

    positions = st.integers(0, 200)
    return st.builds(mutate, st.sampled_from(texts), positions, st.integers(0, 3), _TEXTS)


def leaf_commands(
    command: click.Command, *words: str
) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Yields all commands below a group, with the words that call them."""
    if not isinstance(command, click.Group):
        yield words, command
        return
    context = click.Context(command)
    for name in command.list_commands(context):
        found = command.get_command(context, name)
        assert found is not None
        yield from leaf_commands(found, *words, name)


def values(parameter: click.Parameter, known: Mapping[str, Sequence[str]]) -> st.SearchStrategy:
    """Generates values of a parameter: likely ones, variants of them, and nonsense."""
    name = parameter.name or ""
    likely = [*known.get(name, ()), *_LIKELY.get(name, ())]
    if isinstance(parameter.type, click.Choice):
        likely += map(str, parameter.type.choices)
    anything = _TEXTS | _NUMBERS | _ODD
    return st.sampled_from(likely) | mutated(likely) | anything if likely else anything


@st.composite
def command_lines(
    draw: Any,
    commands: Sequence[tuple[tuple[str, ...], click.Command]],
    known: Mapping[str, Sequence[str]],
    always: Mapping[str, Sequence[str]],
) -> list[str]:
    """Generates a command with options and arguments.

    Args:
        draw: Draws from a strategy.
        commands: Commands with the words that call them.
        known: Likely values by name of the parameter.
        always: Last words of each command, by its name.
    """
    words, command = draw(st.sampled_from(commands))
    line = list(words)
    for parameter in command.params:
        usual = parameter.required or parameter.name in known
        if not draw(st.integers(0, 9)) >= (1 if usual else 7):
            continue
        flag = isinstance(parameter, click.Option) and parameter.is_flag
        value = None if flag else draw(values(parameter, known))
        if isinstance(parameter, click.Option):
            line += [max(parameter.opts, key=len)] + ([] if flag else [value])
        else:
            line.append(value)
    if draw(st.integers(0, 19)) == 0:
        line.insert(draw(st.integers(len(words), len(line))), draw(_TEXTS | _ODD))
    return [*line, *always.get(words[0] if words else "", ())]


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)


@st.composite
def damaged(draw: Any, document: Any) -> bytes:
    """Generates damaged variants of a JSON document: other values, missing parts, other bytes."""
    document = json.loads(json.dumps(document))
    for _ in range(draw(st.integers(0, 3))):
        at = document
        while isinstance(at, (dict, list)) and at:
            key = draw(st.sampled_from(list(at) if isinstance(at, dict) else list(range(len(at)))))
            if not isinstance(at[key], (dict, list)) or not at[key] or draw(st.booleans()):
                if draw(st.booleans()):
                    del at[key]
                else:
                    at[key] = draw(_JSON)
                break
            at = at[key]
    text = json.dumps(document).encode()
    kind = draw(st.sampled_from(["as it is"] * 6 + ["cut", "bytes", "deep", "digits"]))
    if kind == "cut":
        return text[: draw(st.integers(0, len(text)))]
    if kind == "bytes":
        at = draw(st.integers(0, len(text)))
        return text[:at] + draw(st.binary(min_size=1, max_size=4)) + text[at + 1 :]
    if kind == "deep":
        return b"[" * 100_000
    return text.replace(b"1", b"9" * 5000, 1) if kind == "digits" else text


def check(
    command: click.Command, line: Sequence[str], env: Mapping[str, str] | None = None
) -> None:
    """Runs a command line, and checks its status, its error and its time.

    Args:
        command: Command or group.
        line: Words of the command line.
        env: Environment variables.
    """
    begin = time.process_time()
    # An unexpected error is raised, with its traceback.
    done = CliRunner().invoke(command, list(line), env={TRACEBACK_VARIABLE: "1", **(env or {})})
    seconds = time.process_time() - begin
    check_result(done)
    assert seconds < MAX_CPU_S


def check_result(done: Result) -> None:
    """Checks that a command ended with an answer, or with an error of the project; counts it."""
    OUTCOMES[f"status {done.exit_code}"] += 1
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code in STATUSES
    assert len(done.stderr) < MAX_CHARS
    assert "Traceback" not in done.output
    if done.exit_code == 2:
        assert "Error: " in done.stderr


def write(path: Path, content: bytes) -> Path:
    """Writes a file and returns its path."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content)
    return path
