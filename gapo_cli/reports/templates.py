"""The templates of the pages, and what is set into them as it stands."""

from __future__ import annotations

import functools
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from jinja2 import Environment
    from markupsafe import Markup

FOLDER = Path(__file__).parent
STYLE = "report.css"


def filled(template: str, **values: Any) -> str:
    """A page of its template, with the style sheet that all pages share. What it shows is escaped: code and answers may be anything,
    HTML included."""
    return _templates().get_template(template).render(style=unescaped(STYLE), **values)


def unescaped(*names: str) -> Markup:
    """Our own style sheets or scripts as they stand, one below the other."""
    from markupsafe import Markup

    return Markup("\n".join((FOLDER / name).read_text(encoding="utf-8") for name in names))


@functools.cache
def _templates() -> Environment:
    """Compiles each template once in a process."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined

    return Environment(
        loader=FileSystemLoader(FOLDER), autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
