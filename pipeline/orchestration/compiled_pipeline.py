"""File format of a compiled pipeline: JSON that orchestrators read without TFX.

The file holds TFX's intermediate representation, which lists every node with its inputs, executor
and properties, plus the settings that orchestrators need and TFX has no field for.
"""

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.output import write_output
from tfx_feeder.components.feeder_trainer.distribution.options import Strategy
from tfx_feeder.pipeline.orchestration.resources import Resources, default_resources

FORMAT = "tfx_feeder.pipeline"
VERSION = 2

_TRAINER = "tfx_feeder.components.feeder_trainer.component.FeederTrainer"
_V1_NAMES = {
    "tfx_feeder.pipeline.cifar10": "tfx_feeder.pipeline.model",
    "tfx_feeder.pipeline.pusher": "tfx_feeder.components.pusher.component",
    "tfx_feeder.pipeline.resolvers.BlessedBefore": (
        "tfx_feeder.components.resolvers.strategies.LatestBlessedModelBefore"
    ),
    "tfx_feeder.pipeline.resolvers.ById": (
        "tfx_feeder.components.resolvers.strategies.ArtifactsById"
    ),
    "tfx_feeder.pipeline.transform": "tfx_feeder.pipeline.preprocessing",
}
"""Dotted names in version 1 of the format, with their replacements."""
_V1_NAME = re.compile(rf"(?<![\w.])({'|'.join(map(re.escape, _V1_NAMES))})\b")


class InvalidNodeError(ConfigError):
    """Raised when a node cannot run as requested; its executor was not called."""


@dataclass(frozen=True, slots=True)
class CompiledPipeline:
    """A compiled pipeline.

    Args:
        pipeline: TFX's intermediate representation in the JSON form of protocol buffers.
        resources: Resource requests by node id.
        exit_handlers: Ids of the nodes that run last, even if other nodes failed.
        versions: Versions of the packages that compiled the pipeline, by package.
    """

    pipeline: Mapping[str, Any]
    resources: Mapping[str, Resources] = field(default_factory=dict)
    exit_handlers: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    @property
    def name(self) -> str:
        """Name of the pipeline."""
        return self.pipeline["pipeline_info"]["id"]

    @property
    def root(self) -> str:
        """Folder or URI below which the pipeline writes its artifacts."""
        root = self.pipeline["runtime_spec"]["pipeline_root"]
        value = root.get("field_value") or root["runtime_parameter"]["default_value"]
        return value["string_value"]

    @property
    def upstream(self) -> dict[str, tuple[str, ...]]:
        """Upstream nodes by node id, in an order in which the nodes can run."""
        upstream = {
            node["node_info"]["id"]: tuple(sorted(node.get("upstream_nodes", ())))
            for node in self._nodes
        }
        others = {node: up for node, up in upstream.items() if node not in self.exit_handlers}
        return others | dict.fromkeys(self.exit_handlers, tuple(others))

    @property
    def strategies(self) -> dict[str, Strategy]:
        """Distribution strategy of each FeederTrainer, by node id."""
        return {
            node["node_info"]["id"]: Strategy.from_json(_property(node, "strategy"))
            for node in self._nodes
            if node["node_info"].get("type", {}).get("name") == _TRAINER
        }

    @property
    def _nodes(self) -> list[Mapping[str, Any]]:
        return [node["pipeline_node"] for node in self.pipeline["nodes"]]

    def with_resources(
        self, resources: Mapping[str, Resources], exit_handlers: Sequence[str]
    ) -> "CompiledPipeline":
        """Returns a copy of the pipeline with further resource requests and exit handlers.

        Args:
            resources: Requests by node id; they replace earlier ones. A FeederTrainer without a
                request gets the default of its strategy.
            exit_handlers: Ids of nodes that become exit handlers as well.

        Raises:
            ConfigError: A node id does not exist in the pipeline.
        """
        for argument, nodes in (("resources", resources), ("exit_handlers", exit_handlers)):
            for node in nodes:
                if node not in self.upstream:
                    raise ConfigError(
                        argument,
                        received=node,
                        expected=f"a node of the pipeline: {', '.join(self.upstream)}",
                    )
        defaults = {node: default_resources(each) for node, each in self.strategies.items()}
        requests = {**defaults, **self.resources, **resources}
        return dataclasses.replace(
            self,
            resources={node: each for node, each in requests.items() if each != Resources()},
            exit_handlers=tuple(dict.fromkeys((*self.exit_handlers, *exit_handlers))),
        )

    def check_node(self, node_id: str) -> None:
        """Checks that a node exists.

        Raises:
            InvalidNodeError: The node does not exist.
        """
        if node_id not in self.upstream:
            nodes = ", ".join(self.upstream)
            raise InvalidNodeError("node", received=node_id, expected=f"one of {nodes}")


def _property(node: Mapping[str, Any], name: str) -> str:
    return node["parameters"]["parameters"][name]["field_value"]["string_value"]


def write(compiled: CompiledPipeline, path: Path) -> None:
    """Writes a compiled pipeline atomically.

    Args:
        compiled: The compiled pipeline.
        path: File to write; its folder is created if necessary.

    Raises:
        ConfigError: The file cannot be written.
    """
    document = {"format": FORMAT, "version": VERSION, **dataclasses.asdict(compiled)}
    write_output(path, json.dumps(document, indent=1))


def read(path: Path) -> CompiledPipeline:
    """Reads a compiled pipeline, of this version of the format or of version 1.

    Raises:
        ConfigError: The file does not exist, is damaged, or has an unknown version.
    """
    expected, fix = "a file written by `tfx-feeder compile`", "Compile the pipeline again."
    try:
        text = path.read_text(encoding="utf-8")
        document = json.loads(text)
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigError(
            "ir", received=str(path), expected=expected, fix=f"{error}. {fix}"
        ) from error
    if not isinstance(document, dict) or document.pop("format", None) != FORMAT:
        raise ConfigError("ir", received=str(path), expected=expected, fix=fix)
    version = document.pop("version", None)
    if version not in (1, VERSION):
        raise ConfigError(
            "ir",
            received=f"{path} with version {version} of the format",
            expected=f"version {VERSION} or 1, which this release of tfx-feeder reads",
            fix=fix,
        )
    try:
        if version == 1:
            document["pipeline"] = _with_current_names(document["pipeline"])
        requests = {node: Resources(**each) for node, each in document.pop("resources").items()}
        handlers = tuple(document.pop("exit_handlers"))
        compiled = CompiledPipeline(resources=requests, exit_handlers=handlers, **document)
        _check(compiled)
    except (LookupError, TypeError, AttributeError, ValueError, RecursionError) as error:
        raise ConfigError(
            "ir", received=str(path), expected=expected, fix=f"It is damaged: {error!r}. {fix}"
        ) from error
    return compiled


def _check(compiled: CompiledPipeline) -> None:
    """Reads whatever orchestrators and nodes read without a check of their own.

    Raises:
        KeyError: A part is missing.
        TypeError: A part has another type.
    """
    for text in (compiled.name, compiled.root, *compiled.upstream, *compiled.exit_handlers):
        if not isinstance(text, str):
            raise TypeError(f"{text!r} instead of a text")
    if not set(compiled.exit_handlers) <= compiled.upstream.keys():
        raise KeyError(*compiled.exit_handlers)
    for nodes in compiled.upstream.values():
        if not set(nodes) <= compiled.upstream.keys():
            raise KeyError(*nodes)
    with contextlib.suppress(ConfigError):  # Reported by the commands that need the strategies.
        _ = compiled.strategies


def _with_current_names(pipeline: Any) -> Any:
    """Returns the representation with the dotted names of version 1 replaced."""
    text = _V1_NAME.sub(lambda match: _V1_NAMES[match.group()], json.dumps(pipeline))
    return json.loads(text)
