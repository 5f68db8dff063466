"""A schedule of phases: the loop that users write by hand (diy) against FeederTrainer's (feeder).

By hand means, for each phase: a new dataset with the new batch size, compile() again with the new
learning rate, fit(). Both train the same model on the same files from the same seed through the
same schedule and validate after every epoch; the time runs from the files to the trained model.
"""

import tempfile
from pathlib import Path
from typing import Any

import click
import harness
import keras
import reference
import suite
import tfdata_feeds

from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.pipeline.configs import FULL_SCHEDULE

EVAL_BATCH = 256
VARIANTS = ("diy", "feeder")
FIGURES = {
    "wall_s": ".1f",
    "examples_per_s": ",.0f",
    "cpu_us_per_example": ".0f",
    "accuracy": ".4f",
    "peak_rss_mib": ",.0f",
}
FEEDS = {
    "textbook": tfdata_feeds.textbook,
    "cached": tfdata_feeds.guide_cached,
    "streamed": tfdata_feeds.guide_streamed,
}


class LastLogs(keras.callbacks.Callback):
    """Keeps loss and metrics of the last epoch."""

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        self.logs = logs


@click.command(help=__doc__)
@click.option("--data", type=click.Choice(reference.DATA), default="digits", show_default=True)
@click.option("--epochs", default=2, show_default=True, help="Epochs in each phase.")
@click.option("--steps-per-epoch", default=100, show_default=True)
@click.option("--full", is_flag=True, help="The reference schedule: 10+10+10 epochs of 200 steps.")
@click.option(
    "--competitor-feed",
    type=click.Choice(list(FEEDS)),
    default="textbook",
    show_default=True,
    help="Order of the tutorials, or of the performance guide: in memory, or from the files.",
)
@harness.options(repeats=3)
def main(
    data: str,
    epochs: int,
    steps_per_epoch: int,
    full: bool,
    competitor_feed: str,
    repeats: int,
    quick: bool,
    only: str | None,
    work_dir: Path | None,
) -> None:
    if quick:
        epochs, steps_per_epoch = 1, 5
    phases = [(phase.learning_rate, phase.batch_size, epochs) for phase in FULL_SCHEDULE.phases]
    schedule = FULL_SCHEDULE if full else Schedule(phases, steps_per_epoch=steps_per_epoch)
    if only:
        assert work_dir is not None
        diy = only == "diy"
        harness.emit(
            _diy(work_dir, schedule, competitor_feed) if diy else _feeder(work_dir, schedule)
        )
        return
    with tempfile.TemporaryDirectory() as folder:
        reference.write_records(data, Path(folder))
        samples = harness.in_turn(__file__, VARIANTS, repeats, Path(folder), quick=quick)
    _report(samples, f"{data}, {schedule}, competitor feed: {competitor_feed}")


def _diy(folder: Path, schedule: Schedule, feed: str) -> dict[str, Any]:
    model, traces = reference.create_model(), 0
    train_step = model.train_step

    def counted_train_step(batch: Any) -> Any:
        nonlocal traces
        traces += 1  # Runs when tracing, not when training.
        return train_step(batch)

    model.train_step = counted_train_step
    assert schedule.steps_per_epoch is not None
    with harness.stopwatch() as times:
        validation = tfdata_feeds.in_order(reference.files(folder, "eval"), EVAL_BATCH)
        for phase in schedule.phases:
            batches = FEEDS[feed](reference.files(folder, "train"), phase.batch_size)
            reference.compile_again(model, phase.learning_rate)
            history = model.fit(
                batches,
                epochs=phase.length.amount,
                steps_per_epoch=schedule.steps_per_epoch,
                validation_data=validation,
                verbose=0,
            ).history
    return _sample(times, schedule, model, traces, history["val_accuracy"][-1])


def _feeder(folder: Path, schedule: Schedule) -> dict[str, Any]:
    model, last = reference.create_model(), LastLogs()
    with harness.stopwatch() as times:
        steps = suite.train(
            model, folder, schedule, validation_batch_size=EVAL_BATCH, callbacks=[last]
        )
    return _sample(times, schedule, model, steps.traces, last.logs["val_accuracy"])


def _sample(
    times: dict[str, float], schedule: Schedule, model: Any, traces: int, accuracy: float
) -> dict[str, Any]:
    assert schedule.steps_per_epoch is not None
    epochs = sum(phase.length.amount for phase in schedule.phases)
    examples = sum(
        phase.length.amount * schedule.steps_per_epoch * phase.batch_size
        for phase in schedule.phases
    )
    return {
        **times,
        "examples_per_s": examples / times["wall_s"],
        "cpu_us_per_example": 1e6 * times["cpu_s"] / examples,
        "accuracy": accuracy,
        "steps": epochs * schedule.steps_per_epoch,
        "iterations": int(model.optimizer.iterations.numpy()),
        "traces": traces,
    }


def _report(samples: harness.Samples, title: str) -> None:
    rows = []
    for name in VARIANTS:
        last = samples[name][-1]
        state = f"{last['iterations']} of {last['steps']} steps"
        figures = harness.medians(samples[name], FIGURES)
        rows.append((name, *figures, str(last["traces"]), state))
    harness.show(title, ("loop", *FIGURES, "traces", "optimizer state spans"), rows)
    cpu = harness.ratios(samples["feeder"], samples["diy"], "cpu_s")
    print(f"CPU seconds, feeder to diy: {harness.describe(cpu)}")
    speed = harness.ratios(samples["feeder"], samples["diy"], "examples_per_s")
    print(f"ratio {harness.describe(speed)}: examples/s, feeder to diy")


if __name__ == "__main__":
    main()
