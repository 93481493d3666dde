"""Deliberate faults: a function of the package, and the words in it that are taken out or changed."""

from __future__ import annotations

import contextlib
import importlib
import inspect
import operator
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Fault:
    """`place`: module:function or module:Class.method; `before` stands there once and becomes `after`."""

    place: str
    before: str
    after: str


FLEX = "gapo_cli.models.packing.flex_attention"
MOVED = "if isinstance(value, torch.Tensor)"
BATCH = "gapo_cli.models.packing.layout:TokenBatch.to"
DECODING = "gapo_cli.engines.decoding.schedule:Decoding"
MINI_BATCH = "gapo_cli.training.batches.mini_batches:cut_mini_batch"
RANDOM = "torch.from_numpy(uniforms(owners, self.limit))"
SAME = "one_and_same(part, last_part)))"

REFUSED = {
    "groups not moved": Fault(f"{FLEX}:FlexAttention.of", "groups.to(device), segments.to(device)", "groups, segments"),
    "blocks not moved": Fault(f"{FLEX}:FlexAttention.of", "blocks.to(device)", "blocks"),
    "blocks counted in int64": Fault(f"{FLEX}:_listed", "blocks.sum(1).int()", "blocks.sum(1)"),
    "dtypes left apart": Fault(f"{FLEX}:FlexAttention.attend_by", "one.to(value.dtype)", "one"),
    "rows not filled up": Fault(f"{FLEX}:FlexAttention.attend_by", "(0, 0, 0, beyond)", "(0, 0, 0, 0)"),
    "predictors not moved": Fault(BATCH, MOVED, f"{MOVED} and name != 'predictors'"),
    "labels not moved": Fault(BATCH, MOVED, f"{MOVED} and name != 'labels'"),
    "mask not moved": Fault(BATCH, MOVED, f"{MOVED} and name != 'attention_mask'"),
    "random numbers not moved": Fault(f"{DECODING}.__init__", f"{RANDOM}.to(self.device)", RANDOM),
    "places in cells not moved": Fault("gapo_cli.engines.decoding.completion_cache:Step._tensor", ".to(self.cells.device)", ""),
    "cache's mask not moved": Fault(
        "gapo_cli.engines.decoding.prompt_cache:PromptCache.finish", ".to(keys.device, keys.dtype)", ".to(keys.dtype)"
    ),
    "tokens not fetched": Fault(f"{DECODING}._take", "drawn.cpu().numpy()", "drawn.numpy()"),
    "token weights not moved": Fault(
        MINI_BATCH, ".repeat_interleave(lengths[places]).to(device)", ".repeat_interleave(lengths[places])"
    ),
    "engine's log-probabilities not moved": Fault(MINI_BATCH, "dtype=torch.float32, device=device", "dtype=torch.float32"),
}
"""These stop with an error."""

WRONG = {
    "blocks of the diagonal called full": Fault(f"{FLEX}:_blocks", f"{SAME}.tril(-1)", f"{SAME}.tril()"),
    "blocks of the prompt forgotten": Fault(
        f"{FLEX}:_blocks", "(prompt.any(1)[None, :] | meet(part, last_part))", "meet(part, last_part)"
    ),
    "completions look at each other": Fault(f"{FLEX}:FlexAttention.of", "(segments[query] == segments[key])", "True"),
}
"""These run, and give other numbers."""


@contextlib.contextmanager
def planted(fault: Fault) -> Iterator[None]:
    """Within, the package has the fault. Raises ValueError where the words are not there once: then the package has moved on."""
    module_name, _, path = fault.place.partition(":")
    module = importlib.import_module(module_name)
    function = operator.attrgetter(path)(module)
    function = getattr(function, "__func__", function)
    source = textwrap.dedent(inspect.getsource(function))
    if source.count(fault.before) != 1:
        raise ValueError(f"{fault.place} has {fault.before!r} {source.count(fault.before)} times, need once")
    made: dict[str, Any] = {}
    exec(source.replace(fault.before, fault.after), vars(module), made)  # noqa: S102 the package's own words
    (wrong,) = made.values()
    right = function.__code__
    function.__code__ = getattr(wrong, "__func__", wrong).__code__  # whoever has imported it by name has the fault too
    try:
        yield
    finally:
        function.__code__ = right
