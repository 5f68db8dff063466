"""Options of ImageExampleGen."""

from dataclasses import dataclass
from typing import Any

from tfx_feeder.common.errors import ConfigError
from tfx_feeder.common.validation import check_at_least

MAX_PIXELS = 100_000_000
"""Default limit of an image; a JPEG of 5 MB can decode to 3 GB."""
KINDS = ("class_folders", "manifest", "arrays", "idx", "cifar10")


@dataclass(frozen=True, slots=True)
class IngestOptions:
    """Options for converting a folder to Examples.

    Args:
        source: ``auto`` or one of `KINDS`.
        classes: Class names in index order; if None, inferred from the data.
        max_rejected_fraction: Maximum fraction of rejected records, 0 to 1.
        max_pixels: Limit of height times width of an image in a file of its own.
        allow_outside: If True, symbolic links and the paths in a manifest may lead out of the
            input folder.

    Raises:
        ConfigError: A value is out of range.

    Example:
        >>> IngestOptions(classes=("cat", "dog")).as_dict()["max_rejected_fraction"]
        0.01
    """

    source: str = "auto"
    classes: tuple[str, ...] | None = None
    max_rejected_fraction: float = 0.01
    max_pixels: int = MAX_PIXELS
    allow_outside: bool = False

    def __post_init__(self) -> None:
        if self.source not in ("auto", *KINDS):
            raise ConfigError(
                "source", received=self.source, expected=f"one of auto, {', '.join(KINDS)}"
            )
        if not 0 <= self.max_rejected_fraction <= 1:
            raise ConfigError(
                "max_rejected_fraction",
                received=self.max_rejected_fraction,
                expected="a fraction from 0 to 1",
            )
        check_at_least("max_pixels", self.max_pixels, 1)
        if self.classes is None:
            return
        names = self.classes
        usable = all(isinstance(name, str) and name for name in names)
        if not usable or len(set(names)) != len(names) or len(names) < 2:
            raise ConfigError(
                "classes", received=names, expected="two or more different, non-empty names"
            )

    def as_dict(self) -> dict[str, Any]:
        """Returns the options as JSON types; the inverse of ``from_dict``."""
        return {
            "source": self.source,
            "classes": list(self.classes) if self.classes is not None else None,
            "max_rejected_fraction": self.max_rejected_fraction,
            "max_pixels": self.max_pixels,
            "allow_outside": self.allow_outside,
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> "IngestOptions":
        """Creates options from the result of ``as_dict``, also of an earlier release."""
        classes = values["classes"]
        return cls(
            source=values["source"],
            classes=tuple(classes) if classes is not None else None,
            max_rejected_fraction=float(values["max_rejected_fraction"]),
            max_pixels=int(values.get("max_pixels", MAX_PIXELS)),
            allow_outside=values.get("allow_outside", False),
        )
