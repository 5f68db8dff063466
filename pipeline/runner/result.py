"""Result of a local run, read from ML Metadata and the files of its artifacts."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from tfx_feeder.pipeline.configs import PipelineConfig
from tfx_feeder.pipeline.eval_config import METRIC
from tfx_feeder.pipeline.metadata.lineage import Lineage
from tfx_feeder.pipeline.metadata.types import CACHED, Artifact, Execution
from tfx_feeder.schemas import gate_report, slices, training_history
from tfx_feeder.schemas.evaluation import EvaluationResult, read_evaluation
from tfx_feeder.schemas.gate_report import GateReport, with_decision
from tfx_feeder.schemas.properties import WITHDRAWN
from tfx_feeder.schemas.slices import Slices
from tfx_feeder.schemas.training_history import History

_REJECTED = "rejected_"
_ACCEPTED = "num_examples_"
_RESOLVERS = ("base_model", "baseline", "baseline_statistics")


@dataclass(frozen=True, slots=True)
class RunResult:
    """Result of a completed run.

    Args:
        config: Configuration of the run.
        executions: Executions of the components, in order, without those of resolvers.
        examples: Number of examples by split, over all spans that were read.
        rejected: Number of rejected images by reason.
        rejected_list: File that lists the rejected images.
        history: Training history; from an earlier run if the model came from the cache.
        evaluation: Result of the evaluation, with the decision of the gate.
        gate: Report of the gate.
        slices: Slices of the evaluation.
        pushed: Folder of the pushed version of the model; ``None`` if nothing was pushed.
        tensorboard: Folder of the TensorBoard logs.
        withdrawn: Reason why a rollback withdrew the model; empty if it is not withdrawn.
    """

    config: PipelineConfig
    executions: tuple[Execution, ...]
    examples: Mapping[str, int]
    rejected: Mapping[str, int]
    rejected_list: Path
    history: History
    evaluation: EvaluationResult
    gate: GateReport
    slices: Slices
    pushed: Path | None
    tensorboard: Path
    withdrawn: str = ""

    @property
    def from_cache(self) -> bool:
        """True if no component had to run."""
        return all(execution.state == CACHED for execution in self.executions)

    @property
    def metric(self) -> str:
        """Name of the metric that decides whether the model is blessed."""
        return METRIC

    @property
    def model_id(self) -> int:
        """Id of the model in the store."""
        models = (execution.output("model") for execution in self.executions)
        return next(model.id for model in models if model is not None)

    @classmethod
    def collect(cls, config: PipelineConfig, lineage: Lineage, run_id: str) -> "RunResult":
        """Reads the result of a completed run.

        Args:
            config: Configuration of the run.
            lineage: Lineage of the store that the run wrote to.
            run_id: Id of the run.

        Raises:
            DataError: The training history, the evaluation, the gate report or the slices cannot be
                read.
        """
        executions = [e for e in lineage.executions(run_id) if e.node not in _RESOLVERS]
        outputs = {
            key: artifacts[0]
            for execution in executions
            for key, artifacts in execution.outputs.items()
            if artifacts
        }
        # The first ExampleGen reads the newest span; the others read earlier spans.
        examples = [artifact for e in executions for artifact in e.outputs.get("examples", ())]
        pushed = outputs["pushed_model"].properties
        gate = gate_report.read(outputs["gate_report"].path)
        return cls(
            config=config,
            executions=tuple(executions),
            examples=_counts(examples, _ACCEPTED),
            rejected=_counts(examples, _REJECTED),
            rejected_list=examples[0].path / "rejected.jsonl",
            history=training_history.read(outputs["training_history"].path),
            evaluation=with_decision(read_evaluation(outputs["evaluation"].path), gate),
            gate=gate,
            slices=slices.read(outputs["slices"].path),
            pushed=Path(pushed["pushed_destination"]) if pushed.get("pushed") else None,
            tensorboard=outputs["model_run"].path,
            withdrawn=str(outputs["model"].properties.get(WITHDRAWN, "")),
        )


def _counts(examples: Iterable[Artifact], prefix: str) -> dict[str, int]:
    counts: Counter[str] = Counter()
    for artifact in examples:
        for name, count in artifact.properties.items():
            if name.startswith(prefix) and isinstance(count, int):
                counts[name.removeprefix(prefix)] += count
    return {name: count for name, count in counts.items() if count}
