"""The driver: the stock one, with a fingerprint that sees every image."""

from typing import Any

from tfx.components.example_gen import driver, utils
from tfx.orchestration import data_types
from tfx.types import standard_component_specs as specs

from tfx_feeder.components.image_example_gen import files
from tfx_feeder.components.image_example_gen.exec_properties import input_patterns, unpack
from tfx_feeder.components.image_example_gen.sources import open_sources


class Driver(driver.FileBasedDriver):
    """Resolves span and version as stock does, and looks at the files behind the pattern.

    The stock fingerprint sums up the times of what the pattern itself matches. That is blind to
    an image inside a class folder, to one that a manifest names, and to one that moves from one
    class to another; the pipeline would then run from a stale cache.
    """

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """Fills in span, version and fingerprint."""
        resolved = super().resolve_exec_properties(exec_properties, pipeline_info, component_info)
        base = resolved[specs.INPUT_BASE_KEY]
        sources = open_sources(base, input_patterns(resolved), unpack(resolved).source)
        lines = [resolved[utils.FINGERPRINT_PROPERTY_NAME]]
        lines += [
            f"split:{split},images:{files.fingerprint(base, source.files())}"
            for split, source in sources.items()
        ]
        resolved[utils.FINGERPRINT_PROPERTY_NAME] = "\n".join(lines)
        return resolved
