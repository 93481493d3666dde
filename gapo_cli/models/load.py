"""Models in Hugging Face format: loaded, checked and saved. Safetensors only; no model's sampling defaults get in."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from gapo_cli.config.checks import one_of, require
from gapo_cli.config.model import DTYPES, ModelConfig
from gapo_cli.errors import CheckpointError, UserError, first_line
from gapo_cli.models.folders import ADAPTER_CONFIG, base_of, check_files, find_folder, is_adapter
from gapo_cli.models.linear import use_onednn
from gapo_cli.models.loaded import LoadedModel
from gapo_cli.models.lora import has_adapter, load_adapter, save_adapter
from gapo_cli.models.packing.shared_prefix import take_shared_prefixes
from gapo_cli.models.prompt_tokens import encode_prompt_texts, prompt_text
from gapo_cli.models.saving import model_folder
from gapo_cli.models.special_tokens import begin_tokens, end_tokens, hide_rows, ids_without_token
from gapo_cli.models.tokenizer_files import load_tokenizer, quiet, save_tokenizer
from gapo_cli.records import Prompt

ALIGNMENT = 64
"""Bytes; of every tensor that torch makes itself on a CPU."""


def load_model(config: ModelConfig, device: str = "cpu", dtype: str = "float32") -> LoadedModel:
    """The model at `config.path` in eval mode on `device`; of an adapter's folder, its base with the adapter on.
    Raises CheckpointError for a path that is no model or a folder that is damaged, UserError for a device, dtype or context
    length that is not available."""
    one_of("trainer.dtype", dtype, DTYPES)
    require(
        config.dtype == "float32" or dtype == "bfloat16",
        f"model.dtype={config.dtype}: needs trainer.dtype=bfloat16, because weights in half precision are computed in it too",
    )
    _check_device(device)
    folder = find_folder(config)
    adapter = folder if is_adapter(folder) else None
    base, folder = _find_base(config, adapter) if adapter else (config, folder)
    check_files(base, folder)
    own_tokenizer = adapter is not None and (adapter / "tokenizer_config.json").is_file()
    tokenizer = load_tokenizer(config, adapter if own_tokenizer else folder)
    loaded = take_over(_load_weights(base, folder), tokenizer, config, device, dtype)
    _check_fit(loaded)
    if adapter is None:
        return loaded
    adapted = load_adapter(loaded.model, config, adapter).eval()
    use_onednn(adapted)
    return replace(loaded, model=adapted)


def take_over(model: Any, tokenizer: Any, config: ModelConfig, device: str = "cpu", dtype: str = "float32") -> LoadedModel:
    """A model in eval mode on `device`, with this package's attention and matrix products, and without sampling defaults."""
    model = model.to(device).eval()
    align(model)
    take_shared_prefixes(model)
    settings = model.config.get_text_config()
    ends = end_tokens(tokenizer, settings, model.generation_config)
    model.generation_config = _neutral_generation_config(tokenizer, ends)
    use_onednn(model)
    phantoms = ids_without_token(tokenizer, settings.vocab_size)
    if phantoms:
        hide_rows(model.get_output_embeddings(), phantoms)
    return LoadedModel(model, tokenizer, config, device, dtype, ends, begin_tokens(tokenizer), phantoms)


def _find_base(config: ModelConfig, adapter: Path) -> tuple[ModelConfig, Path]:
    """The base that an adapter's files name, and its folder. Raises CheckpointError where that is not a whole model."""
    base = replace(config, path=base_of(adapter))
    try:
        folder = find_folder(base)
    except CheckpointError as error:
        file = adapter / ADAPTER_CONFIG
        raise CheckpointError(
            f"{error}; it is the base that {file} names, correct base_model_name_or_path there if it has moved"
        ) from error
    if is_adapter(folder):
        raise CheckpointError(
            f"model.path={config.path}: its base {base.path} is an adapter itself; merge that by `gapo export` first"
        )
    return base, folder


def save_model(loaded: LoadedModel, folder: Path) -> None:
    """Writes config, safetensors and tokenizer so that transformers and vLLM load `folder`; of a model with adapters, the
    adapter, so that peft loads it. All or nothing: the files are written beside it and take its place at the end; a folder
    that stood there before stays whole until then. Raises CheckpointError if it cannot be written (a full disk)."""
    with model_folder(folder) as written, quiet():
        if has_adapter(loaded.model):
            save_adapter(loaded.model, written)
        else:
            loaded.model.save_pretrained(written)
        save_tokenizer(loaded.tokenizer, written)


def encode_prompt(loaded: LoadedModel, prompt: Prompt) -> tuple[int, ...]:
    """Token ids of a prompt, as `prompt_tokens.prompt_text` writes it. Raises UserError where model.chat and the kind of
    prompt do not go together."""
    return encode_prompts(loaded, [prompt])[0]


def encode_prompts(loaded: LoadedModel, prompts: Sequence[Prompt]) -> list[tuple[int, ...]]:
    """`encode_prompt` of each, in one call of the tokenizer."""
    texts = [prompt_text(loaded.tokenizer, loaded.config, prompt) for prompt in prompts]
    return encode_prompt_texts(loaded.tokenizer, loaded.config, texts)


def _load_weights(config: ModelConfig, folder: Path) -> Any:
    from safetensors import SafetensorError
    from transformers import AutoModelForCausalLM

    try:
        with quiet():
            model, loading = AutoModelForCausalLM.from_pretrained(
                folder,
                dtype=torch.float32 if config.dtype == "float32" else "auto",
                attn_implementation="sdpa",
                use_safetensors=True,
                trust_remote_code=config.trust_remote_code,
                output_loading_info=True,
            )
    except (OSError, ValueError, RuntimeError, KeyError, ImportError, SafetensorError) as error:
        raise CheckpointError(f"model.path={config.path}: {folder} does not load ({first_line(error)})") from error
    if loading["missing_keys"]:
        missing = ", ".join(sorted(loading["missing_keys"])[:3])
        raise CheckpointError(f"model.path={config.path}: the weights in {folder} lack {missing}; copy or save the model again")
    if config.dtype == "bfloat16":
        hold_in_bfloat16(model)
    return model.eval()


def align(model: Any) -> None:
    """Weights that lie in the memory of their file begin where its header ends, and a matrix product's last bits depend on that: moved
    to where a weight that was made here lies, a checkpoint computes what the model that it was written from computed."""
    for parameter in model.parameters():
        if parameter.data_ptr() % ALIGNMENT:
            parameter.data = parameter.data.clone()


@torch.no_grad()
def hold_in_bfloat16(model: Any) -> None:
    """Matrices of linear layers in bfloat16, all other weights in float32: what passes in bfloat16 autocast then compute is
    bit for bit what they compute with float32 weights. A head that is tied to the embedding stays float32 with it."""
    embedding = model.get_input_embeddings().weight
    for module in model.modules():
        for parameter in module.parameters(recurse=False):
            half = isinstance(module, torch.nn.Linear) and parameter is not embedding
            parameter.data = parameter.data.to(torch.bfloat16 if half else torch.float32)


def _check_device(device: str) -> None:
    try:
        kind = torch.device(device).type
    except RuntimeError as error:
        raise UserError(f"trainer.device={device}: need cpu or cuda") from error
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"trainer.device={device}: torch finds no CUDA device here; use trainer=cpu, or trainer.device=cpu with smaller batches"
        )


def _check_fit(loaded: LoadedModel) -> None:
    """Raises for what would go wrong silently later: too few positions, a window or a state instead of full attention,
    a tokenizer larger than the embeddings, no end token, logits that are not the head of the hidden states."""
    config, model, tokenizer = loaded.config, loaded.model, loaded.tokenizer
    settings = model.config.get_text_config()
    positions = getattr(settings, "max_position_embeddings", None)
    if positions is not None and config.context_length > positions:
        raise UserError(
            f"model.context_length={config.context_length}: {config.path} has {positions} positions; need at most that"
        )
    kinds = set(getattr(settings, "layer_types", None) or ["full_attention"])
    if kinds - {"full_attention", "sliding_attention"}:
        raise UserError(
            f"model.path={config.path}: its layers are {', '.join(sorted(kinds))}; gapo needs attention over all tokens"
        )
    window = getattr(settings, "sliding_window", None)
    if window is not None and config.context_length > window:
        raise UserError(
            f"model.context_length={config.context_length}: {config.path} looks back {window} tokens; need at most that"
        )
    if len(tokenizer) > settings.vocab_size:
        raise CheckpointError(
            f"model.path={config.path}: the tokenizer has {len(tokenizer)} tokens, the model {settings.vocab_size}; they do not belong together"
        )
    if not loaded.eos_token_ids:
        raise CheckpointError(
            f"model.path={config.path}: neither its tokenizer nor its config nor its generation_config names an end token (eos_token)"
        )
    tokens = torch.arange(8, device=model.device)[None] % settings.vocab_size
    with torch.inference_mode(), loaded.autocast():
        plain = model.get_output_embeddings()(model.get_decoder()(input_ids=tokens, use_cache=False).last_hidden_state)
        if not plain.isfinite().all():
            raise CheckpointError(f"model.path={config.path}: {_why_not_finite(model)}; copy or train the model again")
        if not torch.allclose(plain, model(input_ids=tokens, use_cache=False).logits, rtol=1e-4, atol=1e-5):
            raise UserError(f"model.path={config.path}: it scales or caps its logits after the head, which gapo does not do")


def _why_not_finite(model: Any) -> str:
    broken = [name for name, parameter in model.named_parameters() if not parameter.isfinite().all()]
    if not broken:
        return "its logits are not finite (NaN or infinite), though its weights are"
    return f"NaN or infinity among its weights ({', '.join(broken[:3])}{', ...' if len(broken) > 3 else ''})"


def _neutral_generation_config(tokenizer: Any, ends: tuple[int, ...]) -> Any:
    """Where answers end and nothing else: temperature, top-p, penalties of the model's makers never act here."""
    from transformers import GenerationConfig

    pad = tokenizer.pad_token_id
    return GenerationConfig(eos_token_id=list(ends), pad_token_id=pad if pad is not None or not ends else ends[0])
