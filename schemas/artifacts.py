"""Artifact types that the suite adds to the standard ones of TFX."""

from tfx import v1 as tfx


class TrainingHistory(tfx.dsl.Artifact):
    """The record of one training: ``history.json`` in the format of ``training_history.py``.

    Its headline figures are custom properties, so that they can be listed without opening the
    file. No PROPERTIES are declared and the name is a dotted path, because the Kubeflow v2
    compiler accepts custom types in no other form.
    """

    TYPE_NAME = "tfx_feeder.TrainingHistory"


class ModelCard(tfx.dsl.Artifact):
    """What a pushed model says of itself: ``model_card.json`` in the format of ``model_card.py``.

    The same file lies beside the pushed model. The custom property ``pushed`` is 0 where nothing
    was pushed; there is no file then. Like that of ``TrainingHistory``, the type is as the Kubeflow
    v2 compiler wants it.
    """

    TYPE_NAME = "tfx_feeder.ModelCard"
