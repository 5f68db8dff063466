"""The reference CNN in other frameworks than TensorFlow, each in an environment of its own."""

import json
from collections.abc import Sequence
from pathlib import Path

import environments
import numpy as np
import reference
import suite

NAMES = ("jax", "torch")
_HERE = Path(__file__).resolve().parent


def measure(
    framework: str, folder: Path, batch_sizes: Sequence[int], examples: int, warm_up_steps: int
) -> dict[str, float]:
    """Measures training steps on a batch that stays in memory.

    Args:
        framework: One of ``NAMES``, installed.
        folder: Of ``reference.write_records``.
        batch_sizes: To measure.
        examples: Trained on at each batch size.
        warm_up_steps: Before them.
    """
    feed = suite.open_split(folder, "train", reference.feed_options())
    largest = max(batch_sizes)
    features, labels = next(iter(feed.batches([range(largest)], largest)))
    data = folder / f"{framework}.npz"
    np.savez(data, images=features["image"].numpy(), labels=labels.numpy().astype(np.int64))
    sizes = [str(size) for size in batch_sizes]
    script = _HERE / f"step_{framework}.py"
    printed = environments.run_script(
        framework, script, str(data), str(examples), str(warm_up_steps), *sizes
    )
    return json.loads(printed.splitlines()[-1])
