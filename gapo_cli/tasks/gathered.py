"""Tasks as a source reads them one by one: by split, each name once, and what is no task stops the reading or is skipped."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

from gapo_cli.errors import DataError
from gapo_cli.records import EditTask


@dataclass
class Gathered:
    """`on_error`: what a row that is no task does, stop or skip. `repeated`: the sentence about a name that was used before, with
    {id} and {place}. `skipped`: a sentence for each row left out; `places`: task id → where it was read."""

    on_error: str
    repeated: str
    splits: dict[str, list[EditTask]] = field(default_factory=dict)
    places: dict[str, str] = field(default_factory=dict)
    skipped: list[str] = field(default_factory=list)

    def add(self, place: str, read: Callable[[], EditTask]) -> None:
        """Takes the task of `read`, which raises DataError where there is none. Raises DataError naming the place, unless such rows
        are skipped."""
        try:
            task = read()
            if task.id in self.places:
                raise DataError(self.repeated.format(id=task.id, place=self.places[task.id]))
        except DataError as error:
            if self.on_error == "stop":
                raise DataError(f"{place}: {error}") from error
            self.skipped.append(f"{place}: {error}")
            return
        self.places[task.id] = place
        self.splits.setdefault(task.source.split, []).append(task)
