"""Learning textual substitutions from one changed line, to repeat them elsewhere.

A line before and after a change is cut into tokens; what differs is the substitution, and tokens around it say where it
may be repeated. Several rules are made of one change, from the plainest to the most daring, and a rule counts only if it
turns the old line into exactly the new one. There is no parser and no knowledge of any language beyond words, quotes,
brackets and commas.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from difflib import SequenceMatcher

from gapo_cli.edits.rules.substitutions import AddedArgument, Requoted, Rule, Substitution, Template, Together, apply_edits
from gapo_cli.edits.rules.tokens import (
    CLOSING,
    OPENING,
    is_argument,
    is_blank,
    is_string,
    is_word,
    left_context,
    line_head,
    matching_bracket,
    right_context,
    string_parts,
    tokenise,
)

MOST_HOLES = 4
"""Of a template: looking for it takes time that grows with every hole."""


def rules_of(old_line: str, new_line: str, pattern: re.Pattern[str]) -> list[Rule]:
    """The rules that turn `old_line` into `new_line`, the plainest first."""
    old, new = tokenise(old_line, pattern), tokenise(new_line, pattern)
    return [rule for rule in _ladder(old, new) if rule is not None and apply_edits(old, rule.edits(old)) == new_line]


def _ladder(old: list[str], new: list[str]) -> Iterator[Rule | None]:
    hunks = _hunks(old, new)
    texts = {(tuple(old[i1:i2]), tuple(new[j1:j2])) for i1, i2, j1, j2 in hunks}
    middle = (hunks[0][0], hunks[-1][1], hunks[0][2], hunks[-1][3])
    yield from _contexts(old, new, hunks[0] if len(texts) == 1 else middle)
    yield _requoted(texts)
    yield _emptied_call(old, new, middle)
    # of two parts that changed places either may be taken for the one that stayed
    for from_the_end in (False, True):
        yield _template(old, new, middle, from_the_end, moved_words=False)
    yield _template(old, new, middle, from_the_end=False, moved_words=True)
    if all(any(map(is_word, text[0])) for text in texts):
        yield Together(tuple(Substitution(*text) for text in sorted(texts)))


def _hunks(old: list[str], new: list[str]) -> list[tuple[int, int, int, int]]:
    """What differs: old [i1, i2) became new [j1, j2). Hunks with nothing but blanks between them are one."""
    hunks: list[tuple[int, int, int, int]] = []
    # the common ends first: without them an inserted ", x" may be aligned as "x, "
    head = 0
    while head < min(len(old), len(new)) and old[head] == new[head]:
        head += 1
    tail = 0
    while tail < min(len(old), len(new)) - head and old[-1 - tail] == new[-1 - tail]:
        tail += 1
    middle = SequenceMatcher(None, old[head : len(old) - tail], new[head : len(new) - tail], autojunk=False)
    for tag, i1, i2, j1, j2 in middle.get_opcodes():
        if tag == "equal":
            continue
        if hunks and all(map(is_blank, old[hunks[-1][1] : i1 + head])):
            hunks[-1] = (hunks[-1][0], i2 + head, hunks[-1][2], j2 + head)
        else:
            hunks.append((i1 + head, i2 + head, j1 + head, j2 + head))
    return hunks


def _contexts(old: list[str], new: list[str], hunk: tuple[int, int, int, int]) -> Iterator[Rule | None]:
    """What was replaced, with less or more around it."""
    i1, i2, j1, j2 = hunk
    before, after = tuple(old[i1:i2]), tuple(new[j1:j2])
    left, right = left_context(old, i1), right_context(old, i2)
    if any(map(is_word, before)):
        attribute, called = i1 > 0 and old[i1 - 1] == ".", i2 < len(old) and old[i2] == "("
        # a name that something is put around is often an argument, and rarely wrapped wherever it stands
        if is_argument(old, i1, i2) and len(after) > len(before):
            yield Substitution(before, after, attribute=attribute, called=called, argument=True)
        yield Substitution(before, after, attribute=attribute, called=called)
        yield Substitution(before, after)
    argument = _added_argument(old, after, i1) if not before else None
    yield argument
    if not before and argument is None:
        head = line_head(old, i1)
        if left and right:
            yield Substitution(before, after, left, right, head)
        if left and is_word(left[0]):
            yield Substitution(before, after, left, (), head)
        if right:
            yield Substitution(before, after, (), right, head)
    if left and right:
        yield Substitution(before, after, left, right)
    if argument is None and right and is_word(right[-1]):
        yield Substitution(before, after, (), right)
    if argument is None and left and is_word(left[0]):
        yield Substitution(before, after, left, ())


def _added_argument(old: list[str], inserted: tuple[str, ...], position: int) -> Rule | None:
    """The insertion as an argument of the call around it, if that is what it looks like."""
    depth, opening = 0, position
    while opening > 0:
        opening -= 1
        depth += (old[opening] in CLOSING) - (old[opening] in OPENING)
        if depth < 0:
            break
    else:
        return None
    closing = matching_bracket(old, opening)
    if old[opening] != "(" or opening == 0 or not is_word(old[opening - 1]) or closing is None:
        return None
    text = "".join(inserted).strip()
    alone = not "".join(old[opening + 1 : closing]).strip()
    if position == closing and (alone or text.startswith(",")):
        return AddedArgument(old[opening - 1], text.lstrip(",").strip(), last=True)
    if position == opening + 1 and text.endswith(","):
        return AddedArgument(old[opening - 1], text.rstrip(",").strip(), last=False)
    return None


def _requoted(texts: set[tuple[tuple[str, ...], tuple[str, ...]]]) -> Rule | None:
    """Strings that kept their content and changed their quotes, all in the same way."""
    ways = set()
    for before, after in texts:
        if len(before) != 1 or len(after) != 1 or not (is_string(before[0]) and is_string(after[0])):
            return None
        (old_open, content, old_close), (new_open, new_content, new_close) = string_parts(before[0]), string_parts(after[0])
        if content != new_content:
            return None
        ways.add((old_open, old_close, new_open, new_close))
    return Requoted(*ways.pop()) if len(ways) == 1 else None


def _emptied_call(old: list[str], new: list[str], middle: tuple[int, int, int, int]) -> Rule | None:
    """All arguments of a call removed: whatever they are elsewhere."""
    i1, i2, j1, j2 = middle
    if j1 != j2 or i1 < 2 or not is_word(old[i1 - 2]) or old[i1 - 1] != "(" or i2 == len(old) or old[i2] != ")":
        return None
    callee = old[i1 - 2]
    after_word = i1 > 2 and (is_word(old[i1 - 3]) or old[i1 - 3] in CLOSING)
    return Template((callee, "(", 0, ")"), (callee, "(", ")"), frozenset(), after_word)


def _alignment(before: list[str], after: list[str], from_the_end: bool) -> list[tuple[bool, list[str], list[str]]]:
    """Both token lists in pieces: (whether the piece was kept, its old tokens, its new tokens)."""
    step = -1 if from_the_end else 1
    pieces = []
    for tag, a1, a2, b1, b2 in SequenceMatcher(None, before[::step], after[::step], autojunk=False).get_opcodes():
        pieces.append((tag == "equal", before[::step][a1:a2][::step], after[::step][b1:b2][::step]))
    return pieces[::step]


def _template(
    old: list[str], new: list[str], middle: tuple[int, int, int, int], from_the_end: bool, moved_words: bool
) -> Rule | None:
    """What was kept between two changes becomes a hole, and so does, with `moved_words`, a word that was moved."""
    i1, i2, j1, j2 = middle
    before, after = old[i1:i2], new[j1:j2]
    old_parts: list[str | int] = []
    new_parts: list[str | int] = []
    holes = 0
    for kept, old_tokens, new_tokens in _alignment(before, after, from_the_end):
        if kept and not all(map(is_blank, old_tokens)):
            old_parts.append(holes)
            new_parts.append(holes)
            holes += 1
        else:
            old_parts += old_tokens
            new_parts += new_tokens
    moved = [part for part in dict.fromkeys(old_parts) if isinstance(part, str) and is_word(part) and part in new_parts]
    names = {word: holes + number for number, word in enumerate(moved)} if moved_words else {}
    old_parts = [names.get(part, part) if isinstance(part, str) else part for part in old_parts]
    new_parts = [names.get(part, part) if isinstance(part, str) else part for part in new_parts]
    # without a hole it is a plain substitution; without a literal it would match anything
    if not 0 < holes + len(names) <= MOST_HOLES or all(isinstance(part, int) or is_blank(part) for part in old_parts):
        return None
    # a hole at an end has nothing to end at: the neighbouring token holds it
    if isinstance(old_parts[0], int):
        held = left_context(old, i1)
        old_parts, new_parts, i1 = [*held, *old_parts], [*held, *new_parts], i1 - len(held)
    if isinstance(old_parts[-1], int):
        held = right_context(old, i2)
        old_parts, new_parts = [*old_parts, *held], [*new_parts, *held]
    if isinstance(old_parts[0], int) or isinstance(old_parts[-1], int):
        return None
    after_word = i1 > 0 and (is_word(old[i1 - 1]) or old[i1 - 1] in CLOSING)
    return Template(tuple(old_parts), tuple(new_parts), frozenset(names.values()), after_word)
