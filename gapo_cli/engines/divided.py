"""An engine of several ranks: each answers its share of the prompts with its own, and all get all answers.

So whoever asks it, the collector, an evaluation or a rollout, need not know of ranks. A prompt's answers depend on its seed, not
on who answers it.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines import calls
from gapo_cli.interfaces import Engine, Progress, SleepingEngine, no_progress
from gapo_cli.processes.ranks import Ranks
from gapo_cli.records import Completion


class DividedEngine:
    """`engine` is this rank's own, which says all else of itself. `answered`: the prompts that it was given since the last sync."""

    def __init__(self, engine: Engine, ranks: Ranks) -> None:
        self.engine, self.ranks = engine, ranks
        self.answered: set[tuple[int, ...]] = set()

    def __getattr__(self, name: str) -> Any:
        return getattr(self.engine, name)

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int], progress: Progress = no_progress
    ) -> list[tuple[Completion, ...]]:
        owners = self.ranks.owners([len(prompt) + sampling.max_new_tokens for prompt in prompts])
        own = [index for index, owner in enumerate(owners) if owner == self.ranks.rank]
        self.answered |= {tuple(prompts[index]) for index in own}

        def watched(what: str, done: int, total: int) -> None:
            self.ranks.look_for_stop()
            progress(what, done, total)

        def answer() -> list[tuple[Completion, ...]]:
            if not own:
                return []
            return calls.generate(
                self.engine, [prompts[index] for index in own], sampling, [seeds[index] for index in own], watched
            )

        answers = [iter(found) for found in self.ranks.gather(self.ranks.together(answer))]
        return [next(answers[owner]) for owner in owners]

    def sync(self, policy: Any) -> None:
        self.answered.clear()
        self.ranks.together(lambda: calls.sync(self.engine, policy), waiting=policy.sharded)


class DividedSleepingEngine(DividedEngine):
    """Of an engine that can give its memory back."""

    def sleep(self) -> None:
        calls.sleep(self.engine)


def divided(engine: Engine, ranks: Ranks) -> Engine:
    """The engine as all ranks use it; of a process alone the engine itself."""
    if ranks.alone:
        return engine
    return DividedSleepingEngine(engine, ranks) if isinstance(engine, SleepingEngine) else DividedEngine(engine, ranks)
