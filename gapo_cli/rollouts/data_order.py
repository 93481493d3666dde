"""The order in which training tasks are drawn: shuffled epochs, the same for the same seed, at any place resumable."""

from __future__ import annotations

import numpy as np

from gapo_cli.errors import CheckpointError, DataError


class DataOrder:
    """Draws indices into `tasks` tasks without replacement, epoch after epoch, each epoch in a new order.

    Epoch e's order depends on (seed, e) alone, so `state` is three numbers. Raises DataError for an empty task set.
    """

    def __init__(self, tasks: int, seed: int) -> None:
        if tasks < 1:
            raise DataError("the training split has no tasks: need at least 1; look at the task set's manifest and data.limit")
        self.tasks = tasks
        self.seed = seed
        self.epoch = 0
        self.position = 0
        self._order = self._shuffled(0)

    def draw(self, count: int) -> list[int]:
        """The next `count` task indices; a draw may run over the end of an epoch."""
        drawn: list[int] = []
        while len(drawn) < count:
            if self.position == self.tasks:
                self.epoch += 1
                self.position = 0
                self._order = self._shuffled(self.epoch)
            taken = self._order[self.position : self.position + count - len(drawn)]
            self.position += len(taken)
            drawn.extend(int(index) for index in taken)
        return drawn

    @property
    def state(self) -> dict[str, int]:
        return {"tasks": self.tasks, "seed": self.seed, "epoch": self.epoch, "position": self.position}

    def restore(self, state: dict[str, int]) -> None:
        """Goes to where `state` was taken. Raises CheckpointError where tasks or seed are not the same."""
        for name, ours in (("tasks", self.tasks), ("seed", self.seed)):
            if state[name] != ours:
                raise CheckpointError(
                    f"resume: the checkpoint was trained with {name}={state[name]}, this run has {name}={ours}; "
                    "give the data and seed settings that the run was started with"
                )
        self.epoch = state["epoch"]
        self.position = state["position"]
        self._order = self._shuffled(self.epoch)

    def _shuffled(self, epoch: int) -> np.ndarray:
        return np.random.default_rng([self.seed, epoch]).permutation(self.tasks)
