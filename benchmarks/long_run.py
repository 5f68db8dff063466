"""A long training: does its memory stay flat, and what do a checkpoint and a resume cost?

Trains the reference CNN for many short epochs, stops in the middle of one, and goes on from the
checkpoint. The competitor of the resume is an epoch of the same training; that of the memory is the
same process after its first epoch.
"""

import tempfile
import time
from pathlib import Path

import click
import harness
import keras
import psutil
import reference
import suite

from tfx_feeder.components.feeder_trainer.feed.feed import Feed
from tfx_feeder.components.feeder_trainer.schedules.plan import Plan
from tfx_feeder.components.feeder_trainer.schedules.policy import make_plan
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.checkpoint import LoopState, TrainingCheckpoint
from tfx_feeder.components.feeder_trainer.training.checkpoint_manager import (
    CheckpointManager,
)
from tfx_feeder.components.feeder_trainer.training.loop import TrainingLoop
from tfx_feeder.components.feeder_trainer.training.recorder import Recorder
from tfx_feeder.components.feeder_trainer.training.train_step import CompiledSteps

BATCH_SIZE = 32
_MIB = 1 << 20


class Memory(keras.callbacks.Callback):
    """Notes the resident memory after each epoch, in MiB."""

    def __init__(self) -> None:
        super().__init__()
        self.mib: list[float] = []

    def on_epoch_end(self, epoch, logs=None) -> None:
        self.mib.append(psutil.Process().memory_info().rss / _MIB)


@click.command(help=__doc__)
@click.option("--epochs", default=50, show_default=True)
@click.option("--steps", default=40, show_default=True, help="In each epoch.")
@harness.options(repeats=5)
def main(
    epochs: int, steps: int, repeats: int, quick: bool, only: str | None, work_dir: Path | None
) -> None:
    if only:
        assert work_dir is not None
        harness.emit(_measure(work_dir, 3 if quick else epochs, steps))
        return
    with tempfile.TemporaryDirectory() as folder:
        reference.write_records("digits", Path(folder))
        samples = harness.in_turn(__file__, ["feeder"], repeats, Path(folder), quick=quick)[
            "feeder"
        ]
    figures = {
        "first_mib": ",.0f",
        "last_mib": ",.0f",
        "epoch_s": ".3f",
        "save_s": ".3f",
        "resume_s": ".3f",
    }
    harness.show(
        f"{epochs} epochs of {steps} steps at batch {BATCH_SIZE}, medians",
        ["", "MiB after epoch 1", "MiB at the end", "epoch s", "checkpoint s", "resume s"],
        [["feeder", *harness.medians(samples, figures)]],
    )
    resume = [sample["resume_s"] / sample["epoch_s"] for sample in samples]
    click.echo(f"a resume takes {harness.describe(resume)} of an epoch")
    growth = [sample["last_mib"] / sample["first_mib"] for sample in samples]
    click.echo(f"ratio {harness.describe(growth)}: memory at the end to memory after epoch 1")


def _measure(folder: Path, epochs: int, steps: int) -> harness.Sample:
    feed = suite.open_split(folder, "train", reference.feed_options())
    model = reference.create_model()
    compiled = suite.compiled_steps(model, next(iter(feed.batches([range(1)], 1))))
    schedule = Schedule([(0.01, BATCH_SIZE, epochs)], steps_per_epoch=steps)
    plan, recorder, memory = make_plan(schedule, feed.num_examples), Recorder(), Memory()
    begin = time.perf_counter()
    TrainingLoop(compiled, feed, plan, recorder, callbacks=[memory]).run()
    epoch_s = (time.perf_counter() - begin) / epochs
    return {
        "first_mib": memory.mib[0],
        "last_mib": memory.mib[-1],
        "epoch_s": epoch_s,
        **_save_and_resume(folder / "checkpoints", compiled, feed, plan, recorder),
    }


def _save_and_resume(
    folder: Path, compiled: CompiledSteps, feed: Feed, plan: Plan, recorder: Recorder
) -> dict[str, float]:
    """Times a checkpoint, and all that a resume does: read it, bring it back, reopen the feed."""
    model, manager = compiled.model, CheckpointManager(folder)
    seen = recorder.examples_seen
    begin = time.perf_counter()
    TrainingCheckpoint(manager, model, plan, recorder).save(LoopState(), seen)
    manager.close()
    saved = time.perf_counter()
    checkpoint = TrainingCheckpoint(manager, model, plan, Recorder())
    checkpoint.find()
    checkpoint.restore()
    middle = seen + feed.num_examples // 2
    next(iter(feed.batches([range(middle, middle + BATCH_SIZE)], BATCH_SIZE)))
    resumed = time.perf_counter()
    return {"save_s": saved - begin, "resume_s": resumed - saved}


if __name__ == "__main__":
    main()
