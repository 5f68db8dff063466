"""Driver of ImageExampleGen: the stock driver with a fingerprint that covers every image."""

from typing import Any

from tfx.components.example_gen import driver, utils
from tfx.orchestration import data_types
from tfx.types import standard_component_specs as specs

from tfx_feeder.components.image_example_gen import files
from tfx_feeder.components.image_example_gen.exec_properties import input_patterns, unpack
from tfx_feeder.components.image_example_gen.sources import open_sources


class Driver(driver.FileBasedDriver):
    """Resolves span and version like the stock driver, and fingerprints the files behind a pattern.

    The stock fingerprint sums the modification times of the paths that the pattern itself matches.
    It misses changes of images inside a class folder or listed in a manifest, and images that move
    from one class to another; the pipeline would then be served from a stale cache.
    """

    def resolve_exec_properties(
        self,
        exec_properties: dict[str, Any],
        pipeline_info: data_types.PipelineInfo,
        component_info: data_types.ComponentInfo,
    ) -> dict[str, Any]:
        """Adds span, version and fingerprint to the execution properties."""
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
