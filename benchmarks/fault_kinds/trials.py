"""A run that nothing befell, and runs that something does: what every kind of fault is tried with."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

STEPS = 4
SETTINGS = [
    "experiment=debug", "data.limit=48", "sampling.group_size=2", "sampling.max_new_tokens=8", f"trainer.steps={STEPS}", "trainer.threads=1",
    "trainer.checkpoint_every=2", "trainer.prompts_per_step=2", "trainer.prompts_per_mini_batch=2", "evaluation.tasks=2",
    "evaluation.samples=0", "evaluation.every_steps=0",
]  # fmt: skip


@dataclass(frozen=True)
class Tried:
    """`said`: what came out; `code`: the exit code; `then`: what was done about it; `recovered`: the run ended as the whole one,
    None where it is another run by what was asked for."""

    fault: str
    code: int
    said: str
    then: str
    recovered: bool | None


class Trials:
    """Runs commands in `folder`, where the run that nothing befell lies in `whole`. `data`: where the task set lies or goes."""

    def __init__(self, folder: Path, data: Path, driver: Any) -> None:
        self.folder, self.data, self.driver = folder, data, driver
        self.settings = ["train", *SETTINGS, f"data.directory={data}"]

    def make_whole(self) -> None:
        """Raises SystemExit where the run fails with nothing befalling it."""
        done = self.train("hydra.run.dir=whole")
        if done["status"]:
            raise SystemExit(done["output"])

    def beside(self, name: str, driver: Any) -> Trials:
        """Others in a folder of their own, with the same whole run."""
        others = Trials(self.folder.parent / name, self.data, driver)
        shutil.copytree(self.folder / "whole", others.folder / "whole")
        return others

    def train(self, *words: str, **befalls: Any) -> dict[str, Any]:
        """A training run; `befalls` it what tests/kill_driver.py can do."""
        return self.driver.run([*self.settings, *words], self.folder, befalls)

    def gapo(self, *words: str) -> dict[str, Any]:
        return self.driver.run(list(words), self.folder, {})

    def recovered(self, run: Path, *, stopped: bool = False) -> bool:
        """Whether a run's folder holds the same as the whole one's. `stopped`: what a stop leaves does not
        count: the batch at hand, and of the numbered checkpoints all but the last, since one more is written and an older one goes for it."""
        from gapo_cli.runs.contents import differences

        found = differences(self.folder / "whole", run)
        left = [
            one
            for one in found
            if one.startswith(("stopped/", "checkpoints/step-")) and f"step-{STEPS:05d}" not in one.split()[0]
        ]
        return found == (left if stopped else [])

    def whole_copy(self, name: str) -> Path:
        """The finished run again, as one that was killed at its end."""
        run = self.folder / name
        shutil.copytree(self.folder / "whole", run)
        (run / "outcome.json").write_text('{"status": "running"}')
        return run

    def ends_whole(self, *words: str, stopped: bool = False) -> bool:
        """Whether a training run with `words` ends as the whole one; the first word says in which folder."""
        ended = self.train(*words)["status"]
        return ended == 0 and self.recovered(self.folder / words[0].split("=", 1)[1], stopped=stopped)


def tried(fault: str, ended: dict[str, Any], then: str, recovered: bool | None, said: str = "gapo: ") -> Tried:
    """`said`: how the line begins that tells of the fault."""
    line = next((line for line in ended["output"].splitlines() if line.startswith(said)), "nothing")
    return Tried(fault, ended["status"], line, then, recovered)
