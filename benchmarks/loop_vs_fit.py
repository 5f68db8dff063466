r"""One constant phase, compilation excluded: FeederTrainer's loop and feed against Keras's fit().

\b
fit              fit() on the tutorials' tf.data: the textbook
fit_tuned        fit(steps_per_execution=20) on tf.data as the performance guide writes it
fit_on_our_feed  fit() on FeederTrainer's feed
feeder           FeederTrainer's loop on its own feed
ceiling          FeederTrainer's step on one batch that stays in memory: no input at all
jax, torch       the same network's step in JAX (jit) and PyTorch (channels_last), as ceiling; only
                 with --frameworks, which installs them in environments of their own
"""

import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import environments
import frameworks
import harness
import keras
import reference
import suite
import tensorflow as tf
import tfdata_feeds

from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule

BATCH_SIZES = (32, 128, 512)
LEARNING_RATE = 0.01
WARM_UP_STEPS = 20
FIT_TUNED_STEPS = 20


class EpochTimes(keras.callbacks.Callback):
    """Takes the wall and CPU time of each epoch, whoever runs the loop."""

    def __init__(self) -> None:
        super().__init__()
        self.samples: list[dict[str, float]] = []

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self._begin = time.perf_counter(), time.process_time()

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        wall, cpu = self._begin
        self.samples.append(
            {"wall_s": time.perf_counter() - wall, "cpu_s": time.process_time() - cpu}
        )


@click.command(help=__doc__)
@click.option("--data", type=click.Choice(reference.DATA), default="digits", show_default=True)
@click.option("--examples", default=12_800, show_default=True, help="In the phase, at each batch.")
@click.option("--frameworks", "others", is_flag=True, help="Also measure JAX and PyTorch.")
@harness.options(repeats=5)
def main(
    data: str,
    examples: int,
    others: bool,
    repeats: int,
    quick: bool,
    only: str | None,
    work_dir: Path | None,
) -> None:
    examples = 1024 if quick else examples
    if only:
        assert work_dir is not None
        if only in frameworks.NAMES:
            harness.emit(frameworks.measure(only, work_dir, BATCH_SIZES, examples, WARM_UP_STEPS))
            return
        harness.emit(
            {
                f"{figure}@{batch}": value
                for batch in BATCH_SIZES
                for figure, value in _measure(only, work_dir, batch, examples).items()
            }
        )
        return
    variants = list(VARIANTS)
    for framework in frameworks.NAMES if others else ():
        if reason := environments.install(framework):
            print(f"{framework} is skipped: {reason}")
        else:
            variants.append(framework)
    with tempfile.TemporaryDirectory() as folder:
        reference.write_records(data, Path(folder))
        samples = harness.in_turn(__file__, variants, repeats, Path(folder), quick=quick)
    report(samples, data)


def _measure(variant: str, folder: Path, batch: int, examples: int) -> dict[str, float]:
    keras.backend.clear_session()
    model = reference.create_model()
    epoch = VARIANTS[variant](model, folder, batch, max(2, examples // batch))
    return {
        "examples_per_s": epoch["steps"] * batch / epoch["wall_s"],
        "cpu_us_per_example": 1e6 * epoch["cpu_s"] / (epoch["steps"] * batch),
    }


def _fit(
    model: keras.Model, batches: tf.data.Dataset, steps: int, steps_per_execution: int = 1
) -> dict[str, float]:
    reference.compile_again(model, LEARNING_RATE, steps_per_execution=steps_per_execution)
    steps = max(1, steps // steps_per_execution) * steps_per_execution
    times = EpochTimes()
    model.fit(batches, epochs=2, steps_per_epoch=steps, verbose=0, callbacks=[times])
    return {**times.samples[-1], "steps": steps}


def _textbook(model: keras.Model, folder: Path, batch: int, steps: int) -> dict[str, float]:
    return _fit(model, tfdata_feeds.textbook(reference.files(folder, "train"), batch), steps)


def _tuned(model: keras.Model, folder: Path, batch: int, steps: int) -> dict[str, float]:
    batches = tfdata_feeds.guide_cached(reference.files(folder, "train"), batch)
    return _fit(model, batches, steps, FIT_TUNED_STEPS)


def _fit_on_our_feed(model: keras.Model, folder: Path, batch: int, steps: int) -> dict[str, float]:
    feed = suite.open_split(folder, "train", reference.feed_options())
    epochs = [range(n * steps * batch, (n + 1) * steps * batch) for n in range(2)]
    batches = feed.batches(epochs, batch).map(lambda features, label: (features["image"], label))
    return _fit(model, batches, steps)


def _feeder(model: keras.Model, folder: Path, batch: int, steps: int) -> dict[str, float]:
    schedule = Schedule([(LEARNING_RATE, batch, 2)], steps_per_epoch=steps)
    times = EpochTimes()
    suite.train(model, folder, schedule, callbacks=[times])
    return {**times.samples[-1], "steps": steps}


def _ceiling(model: keras.Model, folder: Path, batch: int, steps: int) -> dict[str, float]:
    feed = suite.open_split(folder, "train", reference.feed_options())
    element = next(iter(feed.batches([range(batch)], batch)))
    batches = iter(tf.data.Dataset.from_tensors(element).repeat())
    compiled = suite.compiled_steps(model, element)
    compiled.train(batches, [batch] * WARM_UP_STEPS)
    with harness.stopwatch() as times:
        compiled.train(batches, [batch] * steps)
    return {**times, "steps": steps}


VARIANTS: dict[str, Callable[[keras.Model, Path, int, int], dict[str, float]]] = {
    "fit": _textbook,
    "fit_tuned": _tuned,
    "fit_on_our_feed": _fit_on_our_feed,
    "feeder": _feeder,
    "ceiling": _ceiling,
}


def report(samples: harness.Samples, data: str) -> None:
    """Prints a table for each batch size, and the ratios of feeder to fit.

    Args:
        samples: Of each variant, among them feeder and fit.
        data: What was trained on, and where.
    """
    columns = ("loop", "examples/s", "CPU us/example", "feeder's examples/s to it")
    for batch in BATCH_SIZES:
        speed, cpu = f"examples_per_s@{batch}", f"cpu_us_per_example@{batch}"
        rows = [
            (
                name,
                *harness.medians(taken, {speed: ",.0f", cpu: ".0f"}),
                harness.describe(harness.ratios(samples["feeder"], taken, speed)),
            )
            for name, taken in samples.items()
        ]
        harness.show(f"{data}, batch {batch}", columns, rows)
    to_fit = (
        f"{harness.describe(harness.ratios(samples['feeder'], samples['fit'], figure))} at {batch}"
        for batch in BATCH_SIZES
        for figure in [f"examples_per_s@{batch}"]
    )
    print(f"ratio {', '.join(to_fit)}: examples/s, feeder to fit")


if __name__ == "__main__":
    main()
