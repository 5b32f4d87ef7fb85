"""Terminal output in which control characters of file names and tags have no effect."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LIST_ITEM = "\n  "


def one_line(text: str) -> str:
    r"""Escape control characters and line ends as in Python's string literals."""
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class TerminalConsole(Console):
    """A console that escapes control characters in texts and table cells with `one_line`."""

    def render_str(self, text: str, **options: Any) -> Text:
        """Create a rich text without control characters; see `rich.console.Console.render_str`."""
        return super().render_str(_LIST_ITEM.join(map(one_line, text.split(_LIST_ITEM))), **options)
