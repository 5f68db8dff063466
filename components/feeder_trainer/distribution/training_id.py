"""Identity of a training, by which it recognizes its own checkpoints."""

import dataclasses
import hashlib
import itertools
import json
import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tfx_feeder.components.feeder_trainer.distribution.fit import FitSpec

_WITHOUT_EFFECT = ("prefetch", "sharding", "service", "service_timeout_s", "cache_dir")
"""Feed options that may change between two attempts at a training."""
_END_BYTES = 1 << 12


def training_id(spec: "FitSpec") -> dict[str, str]:
    """Returns hashes of what determines the result of a training, by part.

    The strategy is not part of it, because another one can resume the training.
    """
    context, training = spec.context, spec.training
    files = spec.train_files
    train_paths = itertools.chain(*files.values()) if isinstance(files, Mapping) else files
    feed = dataclasses.asdict(context.feed)
    early_stopping = training.early_stopping
    parts = {
        "inputs": [
            [[path, _contents(path)] for path in (*train_paths, *spec.eval_files)],
            context.transform_graph_path,
            spec.start_from,
            spec.baseline,
        ],
        "schedule": spec.schedule.to_dict(),
        "code": spec.code.fingerprint(),
        "options": [
            {name: value for name, value in feed.items() if name not in _WITHOUT_EFFECT},
            context.hyperparameters,
            context.custom_config,
            training.class_weight,
            early_stopping and dataclasses.asdict(early_stopping),
            spec.strict_start,
        ],
    }
    return {name: hash_of(value) for name, value in parts.items()}


def hash_of(value: Any) -> str:
    """Returns a hash of a JSON value; other objects count by their type only."""
    document = json.dumps(value, sort_keys=True, default=lambda each: type(each).__name__)
    return hashlib.sha256(document.encode()).hexdigest()[:16]


def _contents(path: str) -> list[Any] | None:
    """Returns the size of a file and a hash of its ends; a gzip file ends with a checksum."""
    try:
        with open(path, "rb") as file:
            size = os.path.getsize(path)
            ends = file.read(_END_BYTES)
            file.seek(max(0, size - _END_BYTES))
            return [size, hashlib.sha256(ends + file.read()).hexdigest()]
    except OSError:
        return None
