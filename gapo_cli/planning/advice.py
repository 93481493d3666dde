"""What to change where a run does not fit the device: which key to what value, and how many bytes that saves."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, is_dataclass, replace
from typing import Any

from gapo_cli.interfaces import Learner, LookingBack
from gapo_cli.planning.footprint import Settings, memory
from gapo_cli.training.outline import AsGroups

WORTH_SAYING = 0.01
"""Share of the peak that a change must save."""
RANK = 64
HALF = "bfloat16"
FEWER = 4
"""By what the engine's completions at a time, or its memory for keys and values, are divided."""


@dataclass(frozen=True)
class Change:
    """`words`: what to type. `saves`: bytes of the peak, made alone. `price`: what it costs."""

    words: str
    saves: int
    price: str


@dataclass(frozen=True)
class Advice:
    """`changes`: each by itself. `together`: the words that, one after the other, make the run fit, or all that help where
    nothing does; `peak`: bytes that are needed then."""

    changes: tuple[Change, ...]
    together: tuple[str, ...]
    peak: int
    fits: bool


def advise(settings: Settings, told: AsGroups, available: int) -> Advice:
    """For a run that needs more than `available` bytes; settings are named as its learner names them."""

    def peak_of(changed: Settings) -> int:
        return memory(changed, told.groups, told.asked).peak

    before = peak_of(settings)
    worth = WORTH_SAYING * before
    alone = [(words, price, before - peak_of(changed)) for words, price, changed in possible(settings)]
    together: list[str] = []
    now, peak = settings, before
    while peak > available:
        step = next(((words, changed) for words, _, changed in possible(now) if peak - peak_of(changed) > worth), None)
        if step is None:
            break
        together.append(step[0])
        now, peak = step[1], peak_of(step[1])
    learner = told.experiment.learner
    changes = tuple(Change(named_by(learner, words), saved, price) for words, price, saved in alone if saved > worth)
    return Advice(changes, tuple(named_by(learner, words) for words in together), peak, peak <= available)


def named_by(learner: Learner, words: str) -> str:
    """The words with the learner's own names of settings."""
    for name, here in learner.keys.items():
        words = words.replace(name, here)
    return words


def possible(settings: Settings) -> Iterator[tuple[str, str, Settings]]:
    """(words, price, the settings after it) of what is left to change, the cheapest first."""
    trainer, model, algorithm = settings.trainer, settings.model, settings.algorithm

    def of_trainer(words: str, price: str, **values: Any) -> tuple[str, str, Settings]:
        return f"trainer.{words}", price, replace(settings, trainer=replace(trainer, **values))

    if trainer.layout == "padded":
        yield of_trainer("layout=packed", "nothing", layout="packed")
    if trainer.logprob_chunk_tokens == 0:
        yield of_trainer("logprob_chunk_tokens=auto", "the head's work twice", logprob_chunk_tokens="auto")
    if trainer.dtype == "bfloat16" and trainer.reference_dtype == "float32":
        yield of_trainer("reference_dtype=bfloat16", "nothing", reference_dtype="bfloat16")
    least = model.context_length - 1  # the longest row of a single answer
    if not trainer.max_tokens_per_microbatch or trainer.max_tokens_per_microbatch > least:
        price = "the prompt again for each part of a divided group"
        yield of_trainer(f"max_tokens_per_microbatch={least}", price, max_tokens_per_microbatch=least)
    if not trainer.gradient_checkpointing:
        yield of_trainer("gradient_checkpointing=true", "a third more arithmetic", gradient_checkpointing=True)
    rows = rows_of(settings.engine)
    if rows is not None and rows > settings.sampling.group_size:
        fewer = max(settings.sampling.group_size, rows // FEWER)
        yield (
            f"engine.max_rows={fewer}",
            "more decoding steps",
            replace(settings, engine=replace(settings.engine, max_rows=fewer)),
        )
    room = setting_of(settings.engine, "kv_cache_gib")
    if room is not None:
        engine = replace(settings.engine, kv_cache_gib=room / FEWER)
        yield f"engine.kv_cache_gib={room / FEWER:g}", "fewer answers at a time", replace(settings, engine=engine)
    if trainer.optimizer.name == "adamw" and not trainer.shard:
        eight = replace(trainer.optimizer, name="adamw_8bit")
        yield of_trainer("optimizer.name=adamw_8bit", "moments in 8 bits, by bitsandbytes", optimizer=eight)
    if algorithm.critic == "copy":
        shared = replace(settings, algorithm=replace(algorithm, critic="head"))
        yield "algorithm.critic=head", "policy and critic share a trunk", shared
    if trainer.dtype == "float32" and not settings.adapters:
        yield of_trainer("dtype=bfloat16", "passes in half precision", dtype="bfloat16")
    if settings.processes > 1 and can_share(settings):
        yield of_trainer("shard=true", "weights are sent in each pass", shard=True)
    if algorithm.needs_reference and not settings.adapters:
        keys = [f"algorithm.terms.{name}.coefficient=0" for name in algorithm.reference_terms]
        words = " ".join(keys + ["algorithm.ppo.kl_in_reward=0"] * (algorithm.kl_in_reward > 0))
        free = replace(settings, algorithm=algorithm.without_reference())
        yield words, "nothing holds the policy near its start", free
    if model.dtype == "float32":
        half = f"trainer.dtype={HALF} model.dtype={HALF}" if trainer.dtype == "float32" else f"model.dtype={HALF}"
        lora = replace(model.lora, rank=model.lora.rank or RANK)
        held = replace(settings, model=replace(model, dtype=HALF, lora=lora), trainer=replace(trainer, dtype=HALF, shard=False))
        if settings.adapters:
            yield half, "frozen weights in half precision", held
        else:
            whole = "trainer.shard=false " if trainer.shard else ""
            yield f"{whole}model.lora.rank={RANK} {half}", "adapters are trained; the weights, frozen, in half precision", held


def can_share(settings: Settings) -> bool:
    """Whether processes may share the weights, and do not yet (`gapo_cli.experiment.check_sharing`)."""
    algorithm, trainer = settings.algorithm, settings.trainer
    whole = settings.adapters or algorithm.critic is not None or trainer.optimizer.name != "adamw"
    return not (trainer.shard or whole or any(isinstance(term, LookingBack) for term in algorithm.terms.values()))


def rows_of(engine: Any) -> int | None:
    """The most completions that the engine decodes at a time, where it says so."""
    return setting_of(engine, "max_rows")


def setting_of(engine: Any, name: str) -> Any:
    """A setting that `replace` can change; None where the engine has none of that name."""
    return getattr(engine, name) if is_dataclass(engine) and any(field.name == name for field in fields(engine)) else None
