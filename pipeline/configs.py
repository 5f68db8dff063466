"""Configuration of the reference pipeline."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import SingleDevice, Strategy
from tfx_feeder.components.feeder_trainer.feed.options import FeedOptions, Image
from tfx_feeder.components.feeder_trainer.schedules.policy import Policy
from tfx_feeder.components.feeder_trainer.schedules.schedule import Schedule
from tfx_feeder.components.feeder_trainer.training.options import TrainingOptions
from tfx_feeder.pipeline.beam import BEAM_ARGS
from tfx_feeder.pipeline.datasets import Dataset
from tfx_feeder.pipeline.run_plan import REASON, RunPlan
from tfx_feeder.pipeline.workspace import Workspace

SHORT_SCHEDULE = Schedule.from_value("0.01:16x3, 0.005:32x2, 0.0025:64x1 @40")
FULL_SCHEDULE = Schedule.from_value("0.01:32x10, 0.005:64x10, 0.0025:128x10 @200")
IMAGE = Image(height=32, width=32, channels=3)


@dataclass(frozen=True, slots=True)
class PipelineConfig:
    """Settings of one run.

    Args:
        data: Images, evaluation slices, and gate.
        root: Folder of all outputs.
        span: Span of ``data`` to train on; required if the data has spans.
        image: Size to which images are scaled for the model.
        schedule: Learning rates, batch sizes and lengths, or the policy that sets them.
        strategy: Distribution strategy.
        training: Options of the training loop, such as checkpoints and micro-batches.
        seed: Seed of the initial weights and of the order of examples.
        max_rejected_fraction: Maximum fraction of rejected images, 0 to 1.
        model_fn: Importable path of the function that builds the model.
        preprocessing_fn: Importable path of the preprocessing function of Transform.
        beam_args: Options of all Beam components.
        enable_cache: If True, reuse the outputs of executions with the same inputs.
        plan: Additional spans, base model, and reasons of the run.

    Raises:
        ConfigError: A value is out of range.
    """

    data: Dataset
    root: Path
    span: int | None = None
    image: Image = IMAGE
    schedule: Schedule | Policy = SHORT_SCHEDULE
    strategy: Strategy = field(default_factory=SingleDevice)
    training: TrainingOptions = field(default_factory=TrainingOptions)
    seed: int = 0
    max_rejected_fraction: float = 0.01
    model_fn: str = "tfx_feeder.pipeline.model.create_model"
    preprocessing_fn: str = "tfx_feeder.pipeline.preprocessing.preprocessing_fn"
    beam_args: tuple[str, ...] = BEAM_ARGS
    enable_cache: bool = True
    plan: RunPlan = field(default_factory=RunPlan)

    def __post_init__(self) -> None:
        object.__setattr__(self, "root", Path(self.root).absolute())
        if self.span is None and self.data.spans:
            raise ConfigError(
                "span",
                received=None,
                expected=f"one of {self.data.spans}, because this data has spans",
            )
        requested = [*(part.span for part in self.plan.earlier), self.span]
        unknown = [span for span in requested if span is not None and span not in self.data.spans]
        if unknown:
            spans = ", ".join(map(str, self.data.spans))
            raise ConfigError(
                "span",
                received=unknown[0],
                expected=f"one of {spans}" if spans else "none, because this data has no spans",
            )

    @property
    def name(self) -> str:
        """Name of the pipeline in ML Metadata."""
        return self.data.name

    @property
    def workspace(self) -> Workspace:
        """Folders of the pipeline."""
        return Workspace(self.root, self.name)

    @property
    def custom_config(self) -> dict[str, Any]:
        """Values passed to ``model_fn``, and the reason for a retraining.

        The reason is recorded here, and it changes the cache key, so that a requested retraining is
        not served from the cache.
        """
        reason = {REASON: self.plan.reason} if self.plan.reasons else {}
        return {"num_classes": len(self.data.classes), "seed": self.seed, **reason}

    @property
    def feed(self) -> FeedOptions:
        """Feed options for the transformed examples."""
        return FeedOptions(images={"image": self.image}, seed=self.seed)
