"""What a run came to, gathered from its records."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.types import Artifact, Execution
from tfx_feeder.schemas import training_history
from tfx_feeder.schemas.evaluation import EvaluationResult, read_evaluation
from tfx_feeder.schemas.properties import WITHDRAWN
from tfx_feeder.schemas.training_history import History

_REJECTED = "rejected_"
_ACCEPTED = "num_examples_"


@dataclass(frozen=True, slots=True)
class RunResult:
    """A finished run.

    Args:
        config: Its settings.
        executions: Its nodes, in order; those of resolvers are left out.
        examples: Number of examples by split, over all spans that were read.
        rejected: Number of images left out, by reason.
        rejected_list: The file that lists them.
        history: The training; of an earlier run where it came from the cache.
        judgement: Whether the model was blessed, and why.
        pushed: Folder of the version that was pushed for this model; ``None``: none was.
        tensorboard: Folder of the TensorBoard logs.
        withdrawn: Why a rollback has withdrawn the model; empty where none has.
    """

    config: PipelineConfig
    executions: tuple[Execution, ...]
    examples: Mapping[str, int]
    rejected: Mapping[str, int]
    rejected_list: Path
    history: History
    judgement: EvaluationResult
    pushed: Path | None
    tensorboard: Path
    withdrawn: str = ""

    @property
    def from_cache(self) -> bool:
        """Whether nothing had to run."""
        return all(execution.state == "CACHED" for execution in self.executions)


def gather(config: PipelineConfig, lineage: Lineage, run_id: str) -> RunResult:
    """Reads the records of a finished run.

    Args:
        config: Its settings.
        lineage: Of the store that it wrote to.
        run_id: Its id.
    """
    executions = [e for e in lineage.executions(run_id) if e.node not in ("base_model", "baseline")]
    outputs = {
        key: artifacts[0] for e in executions for key, artifacts in e.outputs.items() if artifacts
    }
    # The newest span is read by the first; earlier ones by others.
    read = [artifact for e in executions for artifact in e.outputs.get("examples", ())]
    return RunResult(
        config=config,
        executions=tuple(executions),
        examples=_counts(read, _ACCEPTED),
        rejected=_counts(read, _REJECTED),
        rejected_list=read[0].path / "rejected.jsonl",
        history=training_history.read(outputs["training_history"].path),
        judgement=read_evaluation(outputs["evaluation"].path),
        pushed=_pushed_to(outputs["pushed_model"]),
        tensorboard=outputs["model_run"].path,
        withdrawn=str(outputs["model"].properties.get(WITHDRAWN, "")),
    )


def _counts(read: Iterable[Artifact], prefix: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for examples in read:
        for name, count in examples.properties.items():
            if name.startswith(prefix) and isinstance(count, int):
                counts[name.removeprefix(prefix)] += count
    return {name: count for name, count in counts.items() if count}


def _pushed_to(pushed_model: Artifact) -> Path | None:
    if not pushed_model.properties.get("pushed"):
        return None
    return Path(pushed_model.properties["pushed_destination"])
