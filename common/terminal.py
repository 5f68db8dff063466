"""Terminal output of texts that come from files of others."""

from collections.abc import Iterable

from rich.console import Console, ConsoleOptions, RenderableType
from rich.segment import Segment

from tfx_feeder.common.errors import printable


class SafeConsole(Console):
    """Console of Rich that escapes control characters in what it prints.

    Names and texts of data, models and cards may come from strangers. Sent as they are, they could
    clear the screen, change what earlier lines say, or set the title and the clipboard of a
    terminal. Takes the arguments of ``rich.console.Console``.
    """

    def render(
        self, renderable: RenderableType, options: ConsoleOptions | None = None
    ) -> Iterable[Segment]:
        """Renders an object to segments without control characters.

        Args:
            renderable: Text, table or other object.
            options: Options of the rendering; ``None`` for those of the console.

        Yields:
            Segments, of which those of Rich itself are as they were.
        """
        for segment in super().render(renderable, options):
            if segment.control or segment.text.isprintable():
                yield segment
            else:
                yield Segment(printable(segment.text), segment.style)
