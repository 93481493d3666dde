"""Standard output and error as they may be: a reader that goes away, a full device, an encoding without our signs.

None of these may end a run that computes for hours: what cannot be shown is not shown, and the run goes on.
"""

from __future__ import annotations

import codecs
import os
import sys
from typing import Any

TWINS = str.maketrans({
    "–": "-", "—": "-", "−": "-", "…": "...", "·": ".", "×": "x", "±": "+-", "→": "->", "←": "<-", "≥": ">=", "≤": "<=", "≠": "!=",
    "‘": "'", "’": "'", "“": '"', "”": '"', "━": "-", "╸": "-", "╺": "-", "─": "-", "│": "|", "•": "*", "✓": "ok", "é": "e",
    "█": "#", "▇": "#", "▆": "#", "▅": "+", "▄": "+", "▃": "=", "▂": "-", "▁": "_", "▏": "|", "▎": "|", "▍": "|", "▌": "#", "▋": "#",
    "▊": "#", "▉": "#",
})  # fmt: skip
"""What stands for a sign that an encoding lacks; any other becomes a question mark."""
HANDLER = "gapo_cli.twins"


def twins(error: UnicodeError) -> tuple[str, int]:
    """An error handler for `str.encode`: the ASCII twin of what could not be encoded."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end].translate(TWINS)
    return "".join(sign if sign.isascii() else "?" for sign in text), error.end


class LastingStream:
    """A text stream whose failure to be written ends nothing. `failure`: the system's reason, None while all is well and where
    only the reader went away, as `head` does when it has seen enough."""

    def __init__(self, stream: Any) -> None:
        self.stream = stream
        self.failure: str | None = None

    def write(self, text: str) -> int:
        try:
            return self.stream.write(text)
        except OSError as error:
            self._give_up(error)
            return len(text)

    def writelines(self, lines: Any) -> None:
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        try:
            self.stream.flush()
        except OSError as error:
            self._give_up(error)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)

    def _give_up(self, error: OSError) -> None:
        """Everything from here on, what waits to be written included, goes nowhere."""
        if not isinstance(error, BrokenPipeError):
            self.failure = error.strerror
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, self.stream.fileno())
        os.close(nowhere)


def make_lasting() -> LastingStream:
    """Puts standard output and error behind LastingStreams, with twins for what their encodings lack; returns that of output."""
    codecs.register_error(HANDLER, twins)
    for name in ("stdout", "stderr"):
        # closed by the caller (`>&-`): what is opened next would get its number, and whatever a library prints
        stream = getattr(sys, name) or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors=HANDLER)
        setattr(sys, name, LastingStream(stream))
    return sys.stdout
