"""A policy whose answers all run to the token limit, so that every rival writes as much."""

from __future__ import annotations

from gapo_cli.models.loaded import LoadedModel


class Endless(LoadedModel):
    """No token ends an answer."""

    eos_token_ids = ()
    pad_token_id = 0

    @classmethod
    def of(cls, loaded: LoadedModel) -> Endless:
        return cls(**vars(loaded))
