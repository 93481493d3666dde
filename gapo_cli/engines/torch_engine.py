"""Rollouts in plain torch with the policy's own weights: each prompt is run once, its completions share its cache, and
what is finished makes room for the prompts that wait. Nothing of a model's generation_config acts here."""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch

from gapo_cli.config.checks import positive
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.decoding.schedule import Decoding, Written, bytes_per_token
from gapo_cli.engines.stop_texts import whole_text
from gapo_cli.engines.token_answers import check_prompts, malformed
from gapo_cli.interfaces import EngineMemory, Progress, RolloutScale, no_progress
from gapo_cli.models.sharding import empty, fill, whole_weights
from gapo_cli.quantities import GIBIBYTE
from gapo_cli.records import Completion

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel


@dataclass(frozen=True)
class Torch:
    """The settings of the engine; called with a policy it samples with the policy's weights.

    `max_rows`: completions written at a time. `kv_cache_gib`: GiB of keys and values at a time, unless a single completion
    takes more. Larger: fewer passes; smaller: less memory.
    """

    shares_weights = True

    max_rows: int
    kv_cache_gib: float = 4.0

    def __post_init__(self) -> None:
        positive("engine", max_rows=self.max_rows, kv_cache_gib=self.kv_cache_gib)

    def memory(self, scale: RolloutScale) -> EngineMemory:
        """Keys and values, and the logits of a step beside their probabilities."""
        rows = min(self.max_rows, scale.prompts * scale.sampling.group_size)
        prompts = -(-rows // scale.sampling.group_size)
        tokens = prompts * scale.prompt_tokens + rows * scale.sampling.max_new_tokens
        shape = scale.shape
        of_token = bytes_per_token(shape.layers, shape.key_value_heads, shape.head_size, scale.dtype)
        least = (scale.prompt_tokens + scale.sampling.max_new_tokens) * of_token
        held = min(tokens * of_token, max(int(self.kv_cache_gib * GIBIBYTE), least))
        return EngineMemory({"keys and values": held, "logits of a step": 2 * 4 * rows * shape.vocabulary}, stays=False)

    def __call__(self, policy: LoadedModel) -> TorchEngine:
        kind = GatheringEngine if policy.sharded else TorchEngine
        return kind(policy, self.max_rows, self.kv_cache_gib)


@dataclass(eq=False, repr=False)
class TorchEngine:
    """Samples from `policy` itself; `max_rows` and `kv_cache_gib` as in Torch.

    The random numbers of a token depend on its prompt's seed, the completion's index in the group and the token's place
    alone. So equal seed, prompt and weights give the same completions whatever else is in the batch, as far as floating
    point allows: in a different batch logits round differently in the sixth digit, and a number that falls between two
    roundings gives another token (with the nano model 2 of 54,000 tokens). The same batch gives the same tokens.
    """

    shares_weights = True

    policy: Any
    """A LoadedModel, whose room this one does not import."""
    max_rows: int
    kv_cache_gib: float = 4.0

    def __post_init__(self) -> None:
        Torch(self.max_rows, self.kv_cache_gib)  # which checks them

    def sync(self, policy: LoadedModel) -> None:
        """Samples from `policy` from now on. Its weights are used where they are, so training it is all the syncing."""
        self.policy = policy

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        seeds: Sequence[int],
        progress: Progress = no_progress,
    ) -> list[tuple[Completion, ...]]:
        """`sampling.group_size` completions a prompt, in the order of `prompts`.

        Log-probabilities are those of the full distribution at `sampling.temperature` (at 1 where it is 0), not
        renormalised over what top-k and top-p leave. A completion ends at the first of the model's end tokens, which
        is part of `token_ids` and not of `text` ("stop"), with the first text of `sampling.stop`, which is part of both
        ("stop"), or at `sampling.max_new_tokens` ("length"). Other special
        tokens stay in the text: templates use them as markers. Raises UserError for a prompt that is empty or does not
        leave room for `sampling.max_new_tokens` in the context.
        """
        check_prompts(prompts, sampling, self.policy.config.context_length)
        if not prompts:
            return []
        with self._sampling_mode():
            written = Decoding(self.policy, self.max_rows, self.kv_cache_gib, prompts, seeds, sampling, progress).run()
        size = sampling.group_size
        return [
            tuple(self._completion(prompt, written, index * size + place, sampling.stop) for place in range(size))
            for index, prompt in enumerate(prompts)
        ]

    @contextlib.contextmanager
    def _sampling_mode(self) -> Iterator[None]:
        model = self.policy.model
        training = model.training
        model.eval()
        try:
            with torch.inference_mode(), self.policy.autocast():
                yield
        finally:
            model.train(training)

    def _completion(self, prompt: Sequence[int], written: Written, index: int, stops: Sequence[str]) -> Completion:
        length, stopped = int(written.lengths[index]), bool(written.stopped[index])
        tokens = written.tokens[index, :length].tolist()
        return Completion(
            token_ids=tuple(tokens),
            logprobs=tuple(written.logprobs[index, :length].tolist()),
            text=whole_text(self.policy.tokenizer, prompt[-1], tokens, self.policy.eos_token_ids, stops),
            finish_reason="stop" if stopped else "length",
            malformed=malformed(self.policy, tokens),
        )


@dataclass(eq=False, repr=False)
class GatheringEngine(TorchEngine):
    """For a policy whose weights are shared by ranks (trainer.shard=true): each samples from a copy that has all of them. `sync` fills
    it, on all ranks, and `sleep` lets it go, so it is there while answers are sampled and not while the policy learns."""

    copied: Any = field(init=False)
    asleep: bool = field(default=True, init=False)

    def __post_init__(self) -> None:
        super().__post_init__()
        self.copied = copy.deepcopy(self.policy.frame)
        self.sync(self.policy)

    def sync(self, policy: LoadedModel) -> None:
        fill(self.copied, whole_weights(policy.model))
        self.policy = replace(policy, model=self.copied.to(policy.device), frame=None)
        self.asleep = False

    def sleep(self) -> None:
        empty(self.copied)
        self.asleep = True

    def generate(
        self, prompts: Sequence[Sequence[int]], sampling: SamplingConfig, seeds: Sequence[int], progress: Progress = no_progress
    ) -> list[tuple[Completion, ...]]:
        if self.asleep:  # other ranks may have no prompts, and so would not help to gather
            raise RuntimeError("the engine was put to sleep and has had no sync since")
        return super().generate(prompts, sampling, seeds, progress)
