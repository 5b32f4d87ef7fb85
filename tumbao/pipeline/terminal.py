"""Text on a terminal, where no control character of a file's name or a tag has an effect."""

from __future__ import annotations

import re
from typing import Any

from rich.console import Console
from rich.text import Text

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029]")
_LIST_ITEM = "\n  "


def one_line(text: str) -> str:
    r"""Write control characters and ends of lines as in Python's strings.

    Parameters
    ----------
    text : str
        Any text.

    Returns
    -------
    line : str
        Without control characters.

    Examples
    --------
    >>> print(one_line("Icon\r"))
    Icon\r
    """
    return _CONTROL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


class TerminalConsole(Console):
    """A console that writes control characters in texts and in cells of tables with `one_line`.

    The end of a line stays where the next line is indented by two spaces, as in messages that end in a list.
    """

    def render_str(self, text: str, **options: Any) -> Text:
        """Make a rich text, see `rich.console.Console.render_str`.

        Parameters
        ----------
        text : str
            What is printed, or a cell.
        **options : object
            Those of rich.

        Returns
        -------
        text : Text
            Without control characters.
        """
        return super().render_str(_LIST_ITEM.join(map(one_line, text.split(_LIST_ITEM))), **options)
