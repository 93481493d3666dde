"""Names and values that invented edits draw from: words that real code uses."""

from __future__ import annotations

import random

NAMES = [
    "data", "value", "name", "result", "items", "count", "index", "key", "text", "line", "node", "path", "buffer",
    "size", "start", "end", "prefix", "suffix", "mode", "parent", "child", "head", "tail", "limit", "offset", "total",
    "state", "token", "source", "target", "queue", "cache", "entry", "record", "option", "flag", "level", "width",
    "height", "left", "right", "first", "last", "root", "current", "previous", "message", "error", "callback",
    "handler", "params", "config", "context", "session", "request", "response", "stream", "reader", "writer", "length",
    "number", "position", "word", "char", "field", "column", "row", "cell", "table", "group", "member", "owner", "user",
    "host", "port", "url",
]  # fmt: skip
TYPES = ("None", "str", "int", "bool", "bytes", "list", "dict", "Any", "float", "object")
VALUES = ("None", "True", "False", "0", "1", "2", "self", "''")
_VARIATIONS = ("new_{}", "old_{}", "_{}", "{}_", "my_{}", "raw_{}", "{}_value", "{}_list", "{}_name", "{}s")


def fresh_name(name: str, generator: random.Random) -> str:
    """A new name for `name`: a variation of it, or another word."""
    if generator.random() < 0.4:  # both kinds of rename are common; no source for the share
        return generator.choice(_VARIATIONS).format(name)
    return generator.choice(NAMES)
