"""Which earlier model a training starts from, and which one a candidate has to beat."""

# TFX declares no exports in its public modules.
# pyright: reportPrivateImportUsage=false

import ml_metadata as mlmd
from tfx import types
from tfx import v1 as tfx


class BlessedBefore(tfx.dsl.experimental.LatestBlessedModelStrategy):
    """Resolves the latest blessed model among those older than the artifact on ``before``.

    The stock strategy resolves the latest blessed model whatever the run is about. Run again
    without a change, a pipeline would then compare its own model with itself, and push it once
    more. Bound to what is older than its subject, the answer stays the same, so that the run is
    served from cache to the last node.
    """

    def resolve_artifacts(
        self, store: mlmd.MetadataStore, input_dict: dict[str, list[types.Artifact]]
    ) -> dict[str, list[types.Artifact]] | None:
        """Returns the input with at most one artifact in each of ``model`` and ``blessing``."""
        subject = input_dict["before"]
        limit = min((artifact.id for artifact in subject), default=0)
        models = [model for model in input_dict["model"] if model.id < limit]
        found = super().resolve_artifacts(
            store, {"model": models, "blessing": input_dict["blessing"]}
        )
        return {"before": subject, **(found or {"model": [], "blessing": []})}
