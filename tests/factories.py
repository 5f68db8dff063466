"""Factories of training records: plausible defaults, of which a test names what it is about."""

from collections.abc import Callable, Mapping
from typing import Any

from tfx_feeder.schemas.training_history import EpochRecord, History, PhaseRecord


def epoch_record(epoch: int = 0, **changes: Any) -> EpochRecord:
    """Returns the record of an epoch of 100 examples in 2 s."""
    fields: dict[str, Any] = {
        "phase": 0,
        "learning_rate": 0.01,
        "global_batch_size": 32,
        "replicas": 1,
        "steps": 10,
        "examples": 100,
        "examples_seen": 100 * (epoch + 1),
        "seconds": 2.0,
        "examples_per_s": 50.0,
        "step_ms_p50": 10.0,
        "step_ms_p95": 12.0,
        "input_wait_pct": 25.0,
        "first_step_s": None,
        "metrics": {},
    }
    return EpochRecord(epoch=epoch, **fields | changes)


def phase_record(phase: int = 0, **changes: Any) -> PhaseRecord:
    """Returns the record of a phase of two such epochs."""
    fields: dict[str, Any] = {
        "learning_rate": 0.01,
        "global_batch_size": 32,
        "epochs": 2,
        "steps": 20,
        "examples": 200,
        "seconds": 4.0,
        "examples_per_s": 50.0,
        "input_wait_pct": 25.0,
        "reason": "start",
        "metrics": {},
    }
    return PhaseRecord(phase=phase, **fields | changes)


def history(**changes: Any) -> History:
    """Returns the history of a training without epochs."""
    fields: dict[str, Any] = {
        "schedule": {},
        "strategy": "sequential",
        "feed": {},
        "num_examples": 100,
        "code_fingerprint": "",
        "environment": {},
        "started_at": "2026-01-01T00:00:00+00:00",
        "seconds": 6.0,
    }
    return History(**fields | changes)


def two_phase_history(
    epoch: Callable[[int], Mapping[str, Any]], phase: Mapping[str, Any], **changes: Any
) -> History:
    """Returns the history of a training with two epochs in one phase and one in the next.

    Args:
        epoch: Function from an epoch's number to fields of its record.
        phase: Fields of both phase records.
        **changes: Fields of the history.
    """
    settings = ((0, 0.01, 32), (0, 0.01, 32), (1, 0.005, 64))
    epochs = tuple(
        epoch_record(
            number, phase=index, learning_rate=rate, global_batch_size=batch, **epoch(number)
        )
        for number, (index, rate, batch) in enumerate(settings)
    )
    phases = tuple(
        phase_record(
            index,
            learning_rate=rate,
            global_batch_size=batch,
            epochs=count,
            steps=10 * count,
            examples=100 * count,
            seconds=2.0 * count,
            **phase,
        )
        for index, rate, batch, count in ((0, 0.01, 32, 2), (1, 0.005, 64, 1))
    )
    return history(epochs=epochs, phases=phases, **changes)
