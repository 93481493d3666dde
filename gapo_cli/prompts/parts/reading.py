"""How an answer's text becomes the edited region, or a named reason why it does not. Pure; nothing is mended in silence.

Two ways of answering are read. Marked: the region's lines between a start and an end marker, after which the unchanged
lines around them may be repeated. Fenced: the region's lines in a code fence, or bare. Fences around marked lines are
taken off, cursor tokens are dropped, and "no change" means the region as it was. Each scan passes over the text a fixed
number of times, so that no text can make it hang.
"""

from __future__ import annotations

from gapo_cli.prompts.parts.region_lines import RegionLines
from gapo_cli.prompts.parts.zed_text import CURSOR, FENCE, START_OF_FILE
from gapo_cli.records import EditTask, ParsedAnswer

MISSING_START_MARKER = "missing_start_marker"
MISSING_END_MARKER = "missing_end_marker"
REPEATED_MARKER = "repeated_marker"
TEXT_OUTSIDE_REGION = "text_outside_region_changed"
EMPTY_ANSWER = "empty_answer"
UNCLOSED_FENCE = "unclosed_code_fence"
SEVERAL_BLOCKS = "several_code_blocks"

NO_CHANGE_TOKEN = "<|no_change|>"
NO_CHANGE_TOKENS = (NO_CHANGE_TOKEN, "NO_EDITS")
"""Understood in place of the region's lines too (the second is what Zed's second model says)."""
NO_CHANGE_WORDS = frozenset({"no change", "no changes", "no edit", "no edits"})
LONGEST_NO_CHANGE = 40  # characters; longer answers say something else


def says_no_change(text: str) -> bool:
    """The answer is nothing but "no change" in one of its spellings: NO_EDITS, No changes., <|no_change|>."""
    text = text.strip()
    if len(text) > LONGEST_NO_CHANGE:
        return False
    words = text.strip("*.!<>|\"'()[]").replace("_", " ").replace("-", " ")
    return " ".join(words.lower().split()) in NO_CHANGE_WORDS


def marked_answer(task: EditTask, region: str, start: str, end: str) -> str:
    """What `read_marked` reads back as `region`. `start` "" where the prompt has said it."""
    lines = RegionLines.of(task).write(region)
    if _unwraps(task) and lines.startswith(FENCE):
        lines = fenced(lines)
    return f"{start}\n{lines}{end}" if start else f"{lines}{end}"


def read_marked(task: EditTask, text: str, start: str, end: str, start_given: bool = False) -> ParsedAnswer:
    """`start_given`: the prompt ends with the start marker, and the answer may leave it out."""
    text = text.replace(CURSOR, "")
    if says_no_change(text):
        return ParsedAnswer(task.region)
    if not text.strip():
        return ParsedAnswer(None, EMPTY_ANSWER)
    starts, ends = text.count(start), text.count(end)
    if starts == 0 and not start_given:
        return ParsedAnswer(None, MISSING_START_MARKER)
    if ends == 0:
        return ParsedAnswer(None, MISSING_END_MARKER)
    if starts > 1 or ends > 1:
        return ParsedAnswer(None, REPEATED_MARKER)
    opening, inner_start = text.find(start), 0
    if starts:
        inner_start = opening + len(start)
    closing = text.find(end)
    if closing < inner_start:
        return ParsedAnswer(None, MISSING_END_MARKER)
    inner = text[inner_start:closing]
    if starts:
        inner = inner.removeprefix("\n")
    lines = RegionLines.of(task)
    if not (_is_before(lines, text[: max(opening, 0)]) and _is_after(lines, text[closing + len(end) :])):
        return ParsedAnswer(None, TEXT_OUTSIDE_REGION)
    return _region_of(task, lines, inner)


def fenced_answer(task: EditTask, region: str, language: str = "") -> str:
    """What `read_fenced` reads back as `region`."""
    return fenced(RegionLines.of(task).write(region), language)


def read_fenced(task: EditTask, text: str, start: str, end: str) -> ParsedAnswer:
    """The one code block of the answer, whatever is said around it, or all of the answer where it has no block. An answer
    that repeats the markers of the prompt's excerpt is read by them."""
    text = text.replace(CURSOR, "")
    if says_no_change(text):
        return ParsedAnswer(task.region)
    if not text.strip():
        return ParsedAnswer(None, EMPTY_ANSWER)
    if start in text or end in text:
        return read_marked(task, text, start, end)
    blocks = code_blocks(text)
    if blocks is None:
        return ParsedAnswer(None, UNCLOSED_FENCE)
    if len(blocks) > 1:
        return ParsedAnswer(None, SEVERAL_BLOCKS)
    if blocks and blocks[0].strip() in NO_CHANGE_TOKENS:
        return ParsedAnswer(task.region)
    return _checked(RegionLines.of(task).read(blocks[0] if blocks else text))


def fenced(text: str, language: str = "") -> str:
    """`text` in a fence longer than any run of backticks in it. Text without a last line break has the fence behind it, so
    that it comes back as it was."""
    longest = run = 0
    for character in text:
        run = run + 1 if character == "`" else 0
        longest = max(longest, run)
    fence = "`" * max(len(FENCE), longest + 1)
    return f"{fence}{language}\n{text}{fence}"


def code_blocks(text: str) -> list[str] | None:
    """The contents of the fenced blocks that begin at the start of a line, or None where the last one is not closed. A
    block closes at a line of as many backticks as it began with; at the end of the text, at these backticks anywhere."""
    blocks: list[str] = []
    fence = ""
    content_start = position = 0
    while position < len(text):
        line_end = text.find("\n", position)
        following = len(text) if line_end < 0 else line_end + 1
        line = text[position:following].rstrip()
        if not fence:
            ticks = len(line) - len(line.lstrip("`"))
            if ticks >= len(FENCE) and line_end >= 0 and "`" not in line[ticks:]:
                fence, content_start = line[:ticks], following
        elif line == fence:
            blocks.append(text[content_start:position])
            fence = ""
        position = following
    if fence:
        ending = text.rstrip()
        if not ending.endswith(fence) or len(ending) - len(fence) < content_start:
            return None
        blocks.append(ending[content_start : -len(fence)])
    return blocks


def _region_of(task: EditTask, lines: RegionLines, inner: str) -> ParsedAnswer:
    """The region of what stands between the markers."""
    if inner.strip() in NO_CHANGE_TOKENS:
        return ParsedAnswer(task.region)
    if _unwraps(task) and inner.startswith(FENCE):
        blocks = code_blocks(inner)
        # a fence that opens here and closes at the very end: nothing else stands between the markers
        if blocks is not None and len(blocks) == 1 and _is_whole_block(inner):
            inner = blocks[0]
    return _checked(lines.read(inner))


def _is_whole_block(text: str) -> bool:
    opening = text.split("\n", 1)[0]
    ticks = len(opening) - len(opening.lstrip("`"))
    return text.rstrip().endswith(opening[:ticks])


def _checked(region: str | None) -> ParsedAnswer:
    return ParsedAnswer(region, TEXT_OUTSIDE_REGION if region is None else None)


def _unwraps(task: EditTask) -> bool:
    """Fences between the markers are the answer's, not the code's, except where the code itself has them (Markdown)."""
    return not task.region.lstrip().startswith(FENCE)


def _is_before(lines: RegionLines, text: str) -> bool:
    """`text`, which stands before the start marker, is blank or repeats the last lines above the region, in a fence or not."""
    written = text.strip("\n").split("\n")
    unfenced = written[1:] if written[0].startswith(FENCE) else written
    if unfenced and unfenced[0].strip() == START_OF_FILE:
        unfenced = unfenced[1:]
    return any(_repeats("\n".join(those), lines.before, at_end=True) for those in (unfenced, written))


def _is_after(lines: RegionLines, text: str) -> bool:
    """As `_is_before`, for the first lines below the region."""
    text = text.removeprefix("\n").rstrip()
    last_line = text.rsplit("\n", 1)[-1].strip()
    unfenced = text.removesuffix(FENCE) if last_line == FENCE else text
    return any(_repeats(those, lines.after, at_end=False) for those in (unfenced, text))


def _repeats(text: str, context: str, at_end: bool) -> bool:
    """Blank, or whole lines from the end (or start) of `context`; trailing blanks and blank outer lines don't count."""
    written = [line.rstrip() for line in text.strip("\n").split("\n")]
    if not any(written):
        return True
    there = [line.rstrip() for line in context.strip("\n").split("\n")]
    return written == (there[-len(written) :] if at_end else there[: len(written)])
