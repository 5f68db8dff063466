"""The settings of the reference pipeline: the one home of each."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
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
    """Everything that one run depends on.

    Args:
        data: The images, the slices by which models are judged, and the gates.
        root: Folder of everything that the pipeline writes.
        span: Span of ``data`` to train on; needed where it has spans.
        image: Size to which images are brought; the model sees them so.
        schedule: Learning rates, batch sizes and lengths, or the policy that decides them.
        strategy: Where the training runs.
        loop: How the training runs: checkpoints, micro-batches and so on.
        seed: Initial weights and order of examples derive from it.
        max_rejected_fraction: Largest tolerated share of images left out, 0 to 1.
        model_fn: Importable path of the function that makes the model.
        preprocessing_fn: Importable path of the function that Transform runs.
        beam_args: Passed to every Beam component.
        enable_cache: Take over the outputs of an earlier execution with the same inputs.
        plan: Which earlier spans to train on as well, what to start from, and why.

    Raises:
        ConfigError: A value is out of range.
    """

    data: Dataset
    root: Path
    span: int | None = None
    image: Image = IMAGE
    schedule: Schedule | Policy = SHORT_SCHEDULE
    strategy: Strategy = field(default_factory=Strategy.sequential)
    loop: TrainingOptions = field(default_factory=TrainingOptions)
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
                "span", received=None, expected=f"one of {self.data.spans}, for this data has spans"
            )
        wanted = [*(part.span for part in self.plan.earlier), self.span]
        unknown = [span for span in wanted if span is not None and span not in self.data.spans]
        if unknown:
            spans = ", ".join(map(str, self.data.spans))
            raise ConfigError(
                "span",
                received=unknown[0],
                expected=f"one of {spans}" if spans else "none, for this data has no spans",
            )

    @property
    def name(self) -> str:
        """Name of the pipeline in ML Metadata."""
        return self.data.name

    @property
    def workspace(self) -> Workspace:
        """Where everything lies."""
        return Workspace(self.root, self.name)

    @property
    def custom_config(self) -> dict[str, Any]:
        """What ``model_fn`` gets to know about the data, and why it is trained again.

        The reason is there for the record; and for the cache, which would answer otherwise.
        """
        reason = {REASON: self.plan.reason} if self.plan.reasons else {}
        return {"num_classes": len(self.data.classes), "seed": self.seed, **reason}

    @property
    def feed(self) -> FeedOptions:
        """How the transformed examples become batches."""
        return FeedOptions(images={"image": self.image}, seed=self.seed)
