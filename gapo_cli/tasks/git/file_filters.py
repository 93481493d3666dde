"""Files that no developer edits by hand: lock files, vendored, generated and minified ones. Pure.

By the path first, after the lists of GitHub's linguist (vendor.yml, generated.rb) for what is common in several
languages; then by the text: a generator's note among the first lines, or lines that nobody would type.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

LOCK_FILES = frozenset({
    "bun.lock", "bun.lockb", "cargo.lock", "composer.lock", "conda-lock.yml", "deno.lock", "flake.lock", "gemfile.lock",
    "go.sum", "go.work.sum", "gopkg.lock", "gradle.lockfile", "mix.lock", "module.bazel.lock", "npm-shrinkwrap.json",
    "package-lock.json", "packages.lock.json", "paket.lock", "pdm.lock", "pipfile.lock", "pixi.lock", "pnpm-lock.yaml",
    "podfile.lock", "poetry.lock", "pubspec.lock", "uv.lock", "yarn.lock",
})  # fmt: skip
VENDORED_FOLDERS = frozenset({
    "3rdparty", "_vendor", "bower_components", "carthage", "external", "extern", "godeps", "jspm_packages", "node_modules",
    "pods", "site-packages", "third-party", "third_party", "thirdparty", "vendor", "vendored", "vendors", ".yarn",
})  # fmt: skip
VENDORED_AT_THE_TOP = frozenset({"dependencies", "deps"})
"""Deeper down these hold a project's own code."""
GENERATED_FOLDERS = frozenset({"__generated__", "__snapshots__", "autogen", "dist", "generated"})
GENERATED_NAMES = re.compile(
    r".*\.(pb|pb\.gw|gen|generated|g|freezed|designer|min\.map)\.\w+"
    r"|.*(_pb2|_pb2_grpc|_generated|\.generated|_pb|_grpc_pb)\.\w+"
    r"|(zz_generated|moc_|qrc_).*|_version\.py|versioneer\.py|bindata\.go|parser\.tab\.[ch]|gradlew(\.bat)?"
)
MINIFIED_NAMES = re.compile(r".*([.-]min|\.bundle|[.-]prod)\.(js|css|mjs|cjs)")
GENERATOR_NOTE = re.compile(
    r"@generated\b|\bcode generated\b.*\bdo not (edit|modify)\b|\bdo not (manually )?(edit|modify)\b.*\bgenerated\b"
    r"|\bgenerated\b.*\bdo not (manually )?(edit|modify)\b"
    r"|\b(this|the) (file|code|class|module) (is|was|has been) (auto(matically|[- ]?)?|machine )?[- ]?generated\b"
    r"|\bauto(matically )?[- ]?generated (by|from|with|file)\b"
)
NOTE_LINES = 12
"""A generator's note stands among so many first lines; farther down it is more likely a text that the file writes."""
LONGEST_LINE = 1_000
LONGEST_MEAN = 160
"""Characters of a line, the mean of a file of at least five lines: beyond them it is minified or data."""


def path_reason(path: str) -> str | None:
    """Why a file with this path holds no hand-made edits, or None."""
    *folders, name = path.lower().split("/")
    if name in LOCK_FILES:
        return "lock file"
    if not VENDORED_FOLDERS.isdisjoint(folders) or (folders and folders[0] in VENDORED_AT_THE_TOP):
        return "vendored"
    if MINIFIED_NAMES.fullmatch(name):
        return "minified"
    if GENERATED_NAMES.fullmatch(name) or not GENERATED_FOLDERS.isdisjoint(folders):
        return "generated"
    return None


def text_reason(lines: Sequence[str]) -> str | None:
    """Why a file with these lines holds no hand-made edits, or None."""
    if any(len(line) <= LONGEST_LINE and GENERATOR_NOTE.search(line.lower()) for line in lines[:NOTE_LINES]):
        return "generated"
    if max(map(len, lines), default=0) > LONGEST_LINE:
        return "minified"
    if len(lines) >= 5 and sum(map(len, lines)) > LONGEST_MEAN * len(lines):
        return "minified"
    return None
