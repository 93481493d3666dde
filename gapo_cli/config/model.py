"""The sections `model` and `model.lora`."""

from __future__ import annotations

from dataclasses import dataclass

from gapo_cli.config.checks import one_of, positive, require

DTYPES = ("float32", "bfloat16")


@dataclass(frozen=True)
class LoraConfig:
    """Low-rank adapters (arXiv:2106.09685) instead of training all weights. `rank` 0: off. `alpha`: an adapter's output is
    scaled by alpha / rank (None: by 1). `dropout`: of what goes into an adapter, in the supervised stage only. `targets`:
    the ends of the names of the matrices that get one."""

    rank: int = 0
    alpha: float | None = None
    dropout: float = 0.0
    targets: tuple[str, ...] = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")

    def __post_init__(self) -> None:
        require(self.rank >= 0, f"model.lora.rank={self.rank}: need 0 (off) or more")
        require(
            self.alpha is None or self.alpha > 0, f"model.lora.alpha={self.alpha}: need a number above 0, or null for the rank"
        )
        require(0 <= self.dropout < 1, f"model.lora.dropout={self.dropout}: need 0 to below 1")
        require(bool(self.targets), "model.lora.targets=[]: need at least one name, as [q_proj,v_proj]")


@dataclass(frozen=True)
class ShapeConfig:
    """The figures of a decoder with gated feed-forward layers (Llama, Mistral, Qwen2, Qwen3) from which its parameters,
    memory and arithmetic follow. `head_size`: the width of one head; `attention_bias`: on queries, keys and values;
    `query_key_norm`: queries and keys are normalised head by head."""

    layers: int
    hidden_size: int
    heads: int
    key_value_heads: int
    head_size: int
    feed_forward_size: int
    vocabulary: int
    tied_embeddings: bool = False
    attention_bias: bool = False
    query_key_norm: bool = False

    def __post_init__(self) -> None:
        positive(
            "model.shape",
            layers=self.layers,
            hidden_size=self.hidden_size,
            heads=self.heads,
            key_value_heads=self.key_value_heads,
            head_size=self.head_size,
            feed_forward_size=self.feed_forward_size,
            vocabulary=self.vocabulary,
        )
        require(
            self.heads % self.key_value_heads == 0,
            f"model.shape.key_value_heads={self.key_value_heads}: need a divisor of heads={self.heads}",
        )


@dataclass(frozen=True)
class ModelConfig:
    """`path`: a folder, a hub name, `asset:NAME` for weights shipped with the package, or `gguf:PACKAGE` for those of an
    installed package. `context_length`: tokens of prompt and answer together. `chat`: prompts go through the tokenizer's
    chat template; `thinking`: what that is told as enable_thinking (None: nothing). `dtype`: what the weights are held in,
    beside what `trainer.dtype` computes in; bfloat16, half the memory, is for weights that are not trained. `lora`: train
    adapters instead of the weights; of an adapter's folder at `path`, the settings are its own. `shape`: what gapo plan counts
    with where the model's config.json is not on this machine."""

    name: str
    path: str
    context_length: int
    chat: bool = False
    thinking: bool | None = None
    trust_remote_code: bool = False
    dtype: str = "float32"
    lora: LoraConfig = LoraConfig()
    shape: ShapeConfig | None = None

    def __post_init__(self) -> None:
        one_of("model.dtype", self.dtype, DTYPES)
        positive("model", context_length=self.context_length)
