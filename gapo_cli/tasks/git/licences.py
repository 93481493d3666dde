"""Guessing the SPDX identifier of a licence by phrases of its text. Pure. A guess, for the record; no legal advice.

Licences are told apart by phrases that only they have (https://spdx.org/licenses/); whether "or any later version" holds
is said outside the GPL's own text, so the GNU family gets SPDX's older identifiers without that distinction.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

LICENCE_NAME = re.compile(
    r"((mit|apache|bsd|gpl)[-_])?(unlicen[cs]e|licen[cs]e|copying)([-_][\w+-]*)?(\.(txt|md|rst|html|lesser|mit|apache|bsd|gpl|\d(\.(txt|md))?))?",
    re.IGNORECASE,
)
UNRECOGNISED = "NOASSERTION"

# the first that matches; case, punctuation and line breaks do not count
_PHRASES: tuple[tuple[str, tuple[str, ...]], ...] = (
    ("MPL-2.0", ("mozilla public license version 2.0",)),  # these two name the GNU licences too
    ("EPL-2.0", ("eclipse public license v 2.0",)),
    ("AGPL-3.0", ("gnu affero general public license version 3",)),
    ("LGPL-3.0", ("gnu lesser general public license version 3",)),
    ("LGPL-2.1", ("gnu lesser general public license version 2.1",)),
    ("GPL-3.0", ("gnu general public license version 3",)),
    ("GPL-2.0", ("gnu general public license version 2",)),
    ("Apache-2.0", ("apache license", "version 2.0")),
    ("BSL-1.0", ("boost software license", "version 1.0")),
    ("CC0-1.0", ("cc0 1.0 universal",)),
    ("PSF-2.0", ("python software foundation license version 2",)),
    ("Unlicense", ("this is free and unencumbered software released into the public domain",)),
    ("Zlib", ("this software is provided 'as-is'", "altered source versions must be plainly marked")),
    (
        "ISC",
        (
            "permission to use, copy, modify, and/or distribute this software for any purpose",
            "provided that the above copyright",
        ),
    ),
    (
        "ISC",
        ("permission to use, copy, modify, and distribute this software for any purpose", "provided that the above copyright"),
    ),
    ("0BSD", ("permission to use, copy, modify, and/or distribute this software for any purpose",)),
    ("MIT", ("permission is hereby granted, free of charge, to any person obtaining a copy", "the above copyright notice")),
    ("MIT-0", ("permission is hereby granted, free of charge, to any person obtaining a copy",)),
    ("BSD-3-Clause", ("redistribution and use in source and binary forms", "to endorse or promote products")),
    ("BSD-2-Clause", ("redistribution and use in source and binary forms",)),
)
_WORDS = re.compile(r"[\W_]+")
_TAG = re.compile(r"SPDX-License-Identifier:[ \t]*([A-Za-z0-9.+-]+(?: (?:OR|AND|WITH) [A-Za-z0-9.+-]+)*)")


def spdx_guess(text: str) -> str:
    """The identifier of one licence file; `UNRECOGNISED` where no phrase is known."""
    if tag := _TAG.search(text):
        return tag[1]
    plain = _plain(text)
    return next((name for name, phrases in _PHRASES if all(_plain(phrase) in plain for phrase in phrases)), UNRECOGNISED)


def _plain(text: str) -> str:
    return _WORDS.sub(" ", text.lower())


def combined_guess(files: Mapping[str, str]) -> str | None:
    """One expression for the licence files of a repository, name → text; several licences are a choice (OR). None
    where there is no licence file."""
    known = sorted({spdx_guess(text) for name, text in files.items() if LICENCE_NAME.fullmatch(name)})
    if len(known) > 1:
        known = [name for name in known if name != UNRECOGNISED]
    return " OR ".join(known) if known else None
