"""Parses schedules and policies in any supported notation."""

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
        return _parse_text(value.strip())
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


def _parse_text(text: str) -> Schedule | Policy:
    if text in PRESETS:
        return parse_schedule(PRESETS[text])
    if text.endswith(_FILE_SUFFIXES):
        return parse_schedule(_load_file(text, Path(text)))
    if text.startswith(("{", "[")):
        return parse_schedule(_parse_yaml(text, "schedule"))
    if not text[:1].isalpha():
        return Schedule.from_value(text)
    names = {name: policy.TEXT_OPTIONS for name, policy in POLICIES.items()}
    parsed = parse_policy_text(text, names)
    policy = POLICIES[parsed.name]
    return policy.from_text(Phase.from_value(parsed.start), parsed.options, parsed.steps_per_epoch)


def _load_file(name: str, path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "schedule file", received=name, expected=f"a readable file ({error.strerror})"
        ) from error
    return _parse_yaml(text, f"schedule file {name}")


def _parse_yaml(text: str, argument: str) -> Any:
    """Parses YAML, a superset of JSON."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(argument, received=text, expected=f"YAML or JSON ({error})") from error


class _Loader(yaml.SafeLoader):
    """YAML loader that reads ``1e-3`` as a number, like JSON; YAML 1.1 requires ``1.0e-3``."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)
