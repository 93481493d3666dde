"""The mistakes a user can make: one sentence each, exit code 2, no traceback.

A part of the user's that fails is one of them. Whatever a reward, an estimator, a template or a source raises, or gives instead of
what it should, becomes a `PartError`: the task, the part, and the lines of the user's that the error came through.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import os
import sysconfig
import traceback
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self


class UserError(ValueError):
    """A wrong value, file or combination. The message names the value, what is allowed and what to do."""


class DataError(UserError):
    """Bad rows or missing task sets. The message names the file and, where there is one, the line."""


class CheckpointError(UserError):
    """A checkpoint or model folder that is missing, damaged or does not fit."""


class StorageError(UserError):
    """A file or folder that cannot be written: a full disk, a read-only folder, another process at work there."""


class EndedElsewhere(Exception):
    """What breaks off the work of a part here and is no failure of it."""


class NotFiniteError(UserError):
    """A model whose outputs are no numbers any more: nothing can be learnt from it, and no checkpoint is made of it."""


NOT_FINITE = (
    "the model's outputs are not finite: an update has made its weights diverge; lower trainer.optimizer.learning_rate, "
    "and go back to an earlier checkpoint"
)


LONGEST = 500
"""Characters of an error that are shown: the rest of a longer one is in the traceback of --debug."""
OUT_OF_MEMORY = ("can't allocate memory", "out of memory", "bad_alloc", "ALLOC_FAILED")
"""Of the allocators of CPUs, of CUDA's driver, of C++ and of CUDA's libraries, all of which torch raises as RuntimeError."""


def first_line(error: BaseException) -> str:
    """What an error says in one line that any terminal can show, its kind where it says nothing."""
    return shown_line(words_of(error)) or type(error).__name__


def words_of(error: BaseException) -> str:
    """All that an error says; "" where its own class fails to say it."""
    try:
        return str(error)
    except Exception:  # noqa: BLE001 - a class of somebody's own may raise anything
        return ""


def shown_line(text: str) -> str:
    """The first line that holds something, at most LONGEST characters; control characters are written as in Python's source."""
    line = next((line.strip() for line in text.splitlines() if line.strip()), "")
    shown = "".join(one if one.isprintable() else _escaped(one) for one in line[:LONGEST])
    return shown + ("..." if len(line) > LONGEST else "")


def _escaped(character: str) -> str:
    return " " if character.isspace() and character > " " else character.encode("unicode_escape").decode()


def is_out_of_memory(error: BaseException) -> bool:
    """The error says that memory ran out, whoever raised it; torch, whose error is a RuntimeError, is not imported for this."""
    if isinstance(error, MemoryError):
        return True
    return isinstance(error, RuntimeError) and any(phrase in words_of(error) for phrase in OUT_OF_MEMORY)


def did_you_mean(value: str, choices: Iterable[str]) -> str:
    """`did you mean gapo?` for the nearest choice, or "" where none is near."""
    near = difflib.get_close_matches(value, list(choices), n=1, cutoff=0.5)
    return f"did you mean {near[0]}?" if near else ""


FRAMES_SHOWN = 3
"""The innermost so many; --debug shows all."""
LIBRARIES = tuple(
    {os.path.realpath(sysconfig.get_path(name)) + os.sep for name in ("stdlib", "platstdlib")}
    | {str(Path(__file__).resolve().parent) + os.sep}
)
INSTALLED = {"site-packages", "dist-packages"}
"""Where Python and gapo itself lie, and the folders of packages in any environment (one may take those of another): their lines are
not the user's."""


class PartError(UserError):
    """A part failed. `batch`: the groups that were at work, for whoever can keep them."""

    def __init__(self, sentence: str, batch: Sequence[Any] = ()) -> None:
        super().__init__(sentence)
        self.batch = tuple(batch)

    def about(self, whom: str, batch: Sequence[Any] = ()) -> Self:
        """The same failure with a word about whom it concerns, such as "task a/1"."""
        return self._saying(f"{whom}: {self}", batch or self.batch)

    def with_batch(self, batch: Sequence[Any]) -> Self:
        """The same failure with the groups that were at work."""
        return self._saying(str(self), batch)

    def kept_in(self, path: Path) -> Self:
        """The same failure with the file where its batch was kept, for nobody else to keep."""
        return self._saying(f"{self}; the answers at hand are in {path}", ())

    def with_hint(self, hint: str) -> Self:
        """The same failure with what can be done about it."""
        return self._saying(f"{self}; {hint}", self.batch)

    def _saying(self, sentence: str, batch: Sequence[Any]) -> Self:
        told = type(self)(sentence, batch)
        told.__cause__ = self.__cause__ or self
        return told


@contextlib.contextmanager
def batch_at_work(batch: Callable[[], Sequence[Any]]) -> Iterator[None]:
    """A PartError that passes has the groups that were at work, where it had none."""
    try:
        yield
    except PartError as failure:
        raise (failure if failure.batch else failure.with_batch(batch())) from failure.__cause__


@contextlib.contextmanager
def batch_kept(keep: Callable[[Sequence[Any]], Path]) -> Iterator[None]:
    """A PartError that passes says in which file `keep` has put its batch, where it has one."""
    try:
        yield
    except PartError as failure:
        raise (failure.kept_in(keep(failure.batch)) if failure.batch else failure) from failure.__cause__


def name_of(part: object) -> str:
    """The class of a part; of a function its own name."""
    return getattr(part, "__name__", type(part).__name__)


def is_gapos(part: object) -> bool:
    """The part is one of gapo's own, not of a user's."""
    return type(part).__module__.split(".")[0] == __name__.split(".")[0]


@contextlib.contextmanager
def part_at_work(key: str, part: object, whom: str = "") -> Iterator[None]:
    """Turns what `part`, chosen by the setting `key`, raises within into a PartError. A part that calls `exit`, or whose own task
    was cancelled, has failed too. What gapo itself says passes, as it is a sentence already; a UserError that the part has raised in
    a line of its own is told of with the part. Memory that runs out passes, which has advice of its own, and so does what a
    person, a scheduler or another process breaks off."""
    try:
        yield
    except (KeyboardInterrupt, EndedElsewhere):
        raise
    except BaseException as error:
        if is_out_of_memory(error) or (isinstance(error, UserError) and not _is_parts_own(error)):
            raise
        own_sentence = isinstance(error, UserError) and words_of(error).strip()
        said = first_line(error) if own_sentence else f"raised {type(error).__name__}: {first_line(error)}"
        failure = PartError(f"{key}={name_of(part)}: {said}{own_lines(error, part)}")
        raise (failure.about(whom) if whom else failure) from error


def _is_parts_own(error: UserError) -> bool:
    """It was raised by a line of the user's. The other kinds of UserErrors decide what becomes of a run, and stay what they are."""
    frames = traceback.extract_tb(error.__traceback__)
    return type(error) in (UserError, DataError) and bool(frames) and _is_own(frames[-1].filename)


def own_lines(error: BaseException, part: object = None) -> str:
    """The user's own lines of a traceback, outermost first, as " (at rewards.py:12 in __call__)"; "" where there are none."""
    module = inspect.getmodule(part) or inspect.getmodule(type(part))
    home = getattr(module, "__file__", None)
    frames = [one for one in traceback.extract_tb(error.__traceback__) if one.filename == home or _is_own(one.filename)]
    places = [f"{_short(one.filename)}:{one.lineno} in {one.name}" for one in frames[-FRAMES_SHOWN:]]
    return f" (at {', '.join(places)})" if places else ""


def _is_own(file: str) -> bool:
    installed = not INSTALLED.isdisjoint(Path(file).parts)
    return not (file.startswith("<") or installed or os.path.realpath(file).startswith(LIBRARIES))


def _short(file: str) -> str:
    inside = os.path.relpath(file)
    return file if inside.startswith(os.pardir) else inside
