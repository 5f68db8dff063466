"""Parses schedules and policies in any supported notation."""

import errno
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_among
from tfx_feeder.components.feeder_trainer.schedules import (
    BatchSizeRamp,
    BatchWarmup,
    GradientNoiseScale,
    IncreaseBatchOnPlateau,
)
from tfx_feeder.components.feeder_trainer.schedules.grammar import parse_policy_text
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Phase, Schedule

POLICIES: Mapping[str, type[Policy]] = {
    policy.NAME: policy
    for policy in (BatchSizeRamp, BatchWarmup, IncreaseBatchOnPlateau, GradientNoiseScale)
}
"""Policy classes by name."""

PRESETS: Mapping[str, str] = {
    "reference": "0.01:32x10, 0.005:64x10, 0.0025:128x10 @200",
    "decay_to_batch": "decay_to_batch 0.01:32x30 max=512 decay=cosine",
    "batch_warmup": "batch_warmup 0.01:32x30 end=128 over=5",
    "on_plateau": "on_plateau 0.01:32x30 max=512",
    "noise_scale": "noise_scale 0.01:32x30 min=16 max=512 mode=apply",
}
"""Text of the predefined schedules, by name."""

_FILE_SUFFIXES = (".yaml", ".yml", ".json")
_MOST_CHARACTERS = 65_536
_DEEP = re.compile(r"(?:[\[{]\s*){20}|(?:[-?]\s+){20}")
# PyYAML converts dates, numbers and references with functions that raise these.
_YAML_ERRORS = (
    yaml.YAMLError,
    ValueError,
    LookupError,
    TypeError,
    AttributeError,
    OverflowError,
    RecursionError,
)


def parse_schedule(value: Any) -> Schedule | Policy:
    """Returns the schedule or policy given in any supported notation.

    Args:
        value: ``Schedule`` or policy; list of ``(learning_rate, batch_size, length)``; mapping
            that ``to_dict`` returns, or its JSON; the one-line notation of ``grammar.py``; name of
            a preset; or path of a YAML or JSON file that contains any of these.

    Raises:
        ConfigError: If the value is none of these or is out of range.

    Example:
        >>> parse_schedule("on_plateau 0.01:32x30 max=512").patience
        3
    """
    if isinstance(value, str):
        return _parse_text(value.strip(), may_be_file=True)
    return _parse_value(value)


def _parse_value(value: Any) -> Schedule | Policy:
    if isinstance(value, Policy):
        return value
    if isinstance(value, Mapping) and "policy" in value:
        name = str(value["policy"])
        check_among("policy", name, POLICIES)
        return POLICIES[name].from_dict(value)
    return Schedule.from_value(value)


def serialize_schedule(value: Any) -> str:
    """Returns a schedule or policy as one line of JSON, the inverse of ``parse_schedule``.

    Args:
        value: Schedule or policy in any notation that ``parse_schedule`` accepts.

    Raises:
        ConfigError: If the value is not a schedule or policy, or is out of range.
    """
    return json.dumps(parse_schedule(value).to_dict())


def _parse_text(text: str, *, may_be_file: bool) -> Schedule | Policy:
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(
            "schedule", received=text, expected=f"at most {_MOST_CHARACTERS:,} characters"
        )
    if text in PRESETS:
        return parse_schedule(PRESETS[text])
    if may_be_file and text.endswith(_FILE_SUFFIXES):
        value = _load_file(text)
        if isinstance(value, str):
            return _parse_text(value.strip(), may_be_file=False)
        return _parse_value(value)
    if text.startswith(("{", "[")):
        return _parse_value(_parse_yaml(text, "schedule"))
    if not text[:1].isalpha():
        return Schedule.from_value(text)
    names = {name: policy.TEXT_OPTIONS for name, policy in POLICIES.items()}
    parsed = parse_policy_text(text, names)
    policy = POLICIES[parsed.name]
    return policy.from_text(Phase.from_value(parsed.start), parsed.options, parsed.steps_per_epoch)


def _load_file(name: str) -> Any:
    path = Path(name)
    try:
        # Reading a FIFO or a device would never end.
        if path.exists() and not path.is_file():
            raise OSError(errno.EINVAL, "not a regular file")
        with path.open(encoding="utf-8") as file:
            text = file.read(_MOST_CHARACTERS + 1)
    except (OSError, ValueError) as error:  # ValueError: a null byte, or bytes not in UTF-8
        cause = (isinstance(error, OSError) and error.strerror) or error
        raise ConfigError(
            "schedule file", received=name, expected=f"a readable file in UTF-8 ({cause})"
        ) from error
    return _parse_yaml(text, f"schedule file {name}")


def _parse_yaml(text: str, argument: str) -> Any:
    """Parses YAML, a superset of JSON."""
    if len(text) > _MOST_CHARACTERS:
        raise ConfigError(
            argument, received=text, expected=f"at most {_MOST_CHARACTERS:,} characters"
        )
    if _DEEP.search(text):  # PyYAML would take a time that grows with the square of the depth.
        raise ConfigError(argument, received=text, expected="YAML or JSON of fewer levels")
    try:
        return yaml.load(text, Loader=_Loader)
    except _YAML_ERRORS as error:
        raise ConfigError(argument, received=text, expected=f"YAML or JSON ({error})") from error


class _Loader(yaml.SafeLoader):
    """YAML loader that reads ``1e-3`` as a number, like JSON; YAML 1.1 requires ``1.0e-3``."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)
