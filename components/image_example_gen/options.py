"""The options of an ingestion, checked when they are declared."""

from dataclasses import dataclass
from typing import Any

from tfx_feeder.common.errors import ConfigError

KINDS = ("class_folders", "manifest", "arrays", "idx", "cifar10")


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """How a folder becomes examples.

    Args:
        source: ``auto`` or one of `KINDS`.
        classes: Class names in index order; None takes them from the data.
        max_rejected_fraction: Largest tolerated share of records left out, 0 to 1.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> IngestOptions(classes=("cat", "dog")).as_dict()["max_rejected_fraction"]
        0.01
    """

    source: str = "auto"
    classes: tuple[str, ...] | None = None
    max_rejected_fraction: float = 0.01

    def __post_init__(self) -> None:
        if self.source not in ("auto", *KINDS):
            raise ConfigError(
                "source", received=self.source, expected=f"one of auto, {', '.join(KINDS)}"
            )
        if not 0 <= self.max_rejected_fraction <= 1:
            raise ConfigError(
                "max_rejected_fraction",
                received=self.max_rejected_fraction,
                expected="a share from 0 to 1",
            )
        if self.classes is None:
            return
        names = self.classes
        usable = all(isinstance(name, str) and name for name in names)
        if not usable or len(set(names)) != len(names) or len(names) < 2:
            raise ConfigError(
                "classes", received=names, expected="two or more different, non-empty names"
            )

    def as_dict(self) -> dict[str, Any]:
        """Returns the options as JSON types; `from_dict` reads them back."""
        return {
            "source": self.source,
            "classes": list(self.classes) if self.classes is not None else None,
            "max_rejected_fraction": self.max_rejected_fraction,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "IngestOptions":
        """Reads what `as_dict` wrote."""
        classes = values["classes"]
        return cls(
            source=values["source"],
            classes=tuple(classes) if classes is not None else None,
            max_rejected_fraction=float(values["max_rejected_fraction"]),
        )
