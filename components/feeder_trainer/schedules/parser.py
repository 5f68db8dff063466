"""Reads a schedule or a policy from whatever notation it comes in."""

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
"""Policies by name."""

PRESETS: Mapping[str, str] = {
    "reference": "0.01:32x10, 0.005:64x10, 0.0025:128x10 @200",
    "decay_to_batch": "decay_to_batch 0.01:32x30 max=512 decay=cosine",
    "batch_warmup": "batch_warmup 0.01:32x30 end=128 over=5",
    "on_plateau": "on_plateau 0.01:32x30 max=512",
    "noise_scale": "noise_scale 0.01:32x30 min=16 max=512 mode=act",
}
"""Names that stand for a whole schedule."""

_FILE_SUFFIXES = (".yaml", ".yml", ".json")


def parse_schedule(value: Any) -> Schedule | Policy:
    """Reads a schedule or a policy.

    Args:
        value: A ``Schedule`` or a policy; a list of ``(learning_rate, batch_size, length)``; a
            mapping as ``to_dict`` writes it, or its JSON; the one-line notation of
            ``schedule_text.py``; the name of a preset; or the path of a YAML or JSON file that
            holds any of these.

    Raises:
        ConfigError: The value is none of these, or is out of range.

    Example:
        >>> parse_schedule("on_plateau 0.01:32x30 max=512").patience
        3
    """
    if isinstance(value, str):
        return _read_text(value.strip())
    if isinstance(value, Policy):
        return value
    if isinstance(value, Mapping) and "policy" in value:
        name = str(value["policy"])
        check_among("policy", name, POLICIES)
        return POLICIES[name].from_dict(value)
    return Schedule.from_value(value)


def serialize_schedule(value: Any) -> str:
    """Returns a schedule or a policy as one line of JSON, which ``parse_schedule`` reads back.

    Args:
        value: Whatever ``parse_schedule`` reads.

    Raises:
        ConfigError: The value is none of that, or is out of range.
    """
    return json.dumps(parse_schedule(value).to_dict())


def _read_text(text: str) -> Schedule | Policy:
    if text in PRESETS:
        return parse_schedule(PRESETS[text])
    if text.endswith(_FILE_SUFFIXES):
        return parse_schedule(_load(text, Path(text)))
    if text.startswith(("{", "[")):
        return parse_schedule(_parse(text, "schedule"))
    if not text[:1].isalpha():
        return Schedule.from_value(text)
    names = {name: policy.TEXT_OPTIONS for name, policy in POLICIES.items()}
    parsed = parse_policy_text(text, names)
    policy = POLICIES[parsed.name]
    return policy.from_text(Phase.from_value(parsed.start), parsed.options, parsed.steps_per_epoch)


def _load(name: str, path: Path) -> Any:
    try:
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise ConfigError(
            "schedule file", received=name, expected=f"a file that can be read ({error.strerror})"
        ) from error
    return _parse(text, f"schedule file {name}")


def _parse(text: str, argument: str) -> Any:
    """Parses YAML, of which JSON is a part."""
    try:
        return yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        raise ConfigError(argument, received=text, expected=f"YAML or JSON ({error})") from error


class _Loader(yaml.SafeLoader):
    """Takes ``1e-3`` for a number, as JSON does; YAML 1.1 would want ``1.0e-3``."""


_Loader.add_implicit_resolver(
    "tag:yaml.org,2002:float", re.compile(r"[-+]?\d+(\.\d*)?[eE][-+]?\d+"), list("-+0123456789")
)
