"""Low-rank adapters (LoRA, arXiv:2106.09685) through peft: made, loaded and saved; and the starting model seen through them.

The base's weights are frozen and shared: the model that training started from needs no second copy, it is the same
weights with the adapters off or, where training started from an adapter, with that one on.
"""

from __future__ import annotations

import contextlib
import importlib.util
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch

from gapo_cli.config.model import LoraConfig, ModelConfig
from gapo_cli.errors import CheckpointError, UserError, did_you_mean, first_line
from gapo_cli.models.folders import ADAPTER_CONFIG
from gapo_cli.models.linear import use_onednn

if TYPE_CHECKING:
    from gapo_cli.models.loaded import LoadedModel

ADAPTER_WEIGHTS = "adapter_model.safetensors"
POLICY, START = "default", "start"
"""The names of the adapter that is trained and of the frozen one that training started from."""

BEYOND_PLAIN_LORA = (
    "modules_to_save", "use_dora", "lora_bias", "layer_replication", "target_parameters", "trainable_token_indices",
)  # fmt: skip
"""Settings of peft with which an adapter is more than a product added to each of some matrices."""


def has_adapter(model: Any) -> bool:
    return hasattr(model, "peft_config")


def add_adapter(model: Any, config: LoraConfig, base: str) -> Any:
    """The model with new adapters, which change nothing yet; all else is frozen. `base`: what the adapter's files will name
    as the model they belong to. Raises UserError for targets that the model does not have."""
    peft = _import_peft(f"model.lora.rank={config.rank}")
    _check_targets(model, config.targets)
    settings = peft.LoraConfig(
        r=config.rank,
        lora_alpha=config.rank if config.alpha is None else config.alpha,
        lora_dropout=config.dropout,
        target_modules=list(config.targets),
        task_type="CAUSAL_LM",
    )
    adapted = peft.get_peft_model(model, settings)
    settings.base_model_name_or_path = base  # peft has put the path there that the model was loaded from
    return adapted


def load_adapter(model: Any, config: ModelConfig, folder: Path) -> Any:
    """The base `model` with the adapter of `folder`, ready to be trained on. Raises CheckpointError where the adapter is
    damaged, of another kind or for another base, UserError where `config.lora` asks for another one."""
    peft = _import_peft(f"model.path={config.path}")
    _check_weights(folder)
    try:
        settings = peft.PeftConfig.from_pretrained(str(folder))
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(
            f"{folder / ADAPTER_CONFIG}: damaged ({first_line(error)}); copy or save the adapter again"
        ) from error
    beyond = [name for name in BEYOND_PLAIN_LORA if getattr(settings, name, None)]
    if not isinstance(settings, peft.LoraConfig) or beyond or settings.bias != "none":
        raise CheckpointError(
            f"model.path={config.path}: gapo loads adapters that are plain LORA, and this one is {settings.peft_type} with bias="
            f"{getattr(settings, 'bias', None)}{''.join(f', {name}' for name in beyond)}; merge it with peft and name the merged model"
        )
    try:
        adapted = peft.PeftModel.from_pretrained(model, str(folder), is_trainable=True)
    except (ValueError, RuntimeError, KeyError) as error:
        raise CheckpointError(f"model.path={config.path}: the adapter does not fit its base ({first_line(error)})") from error
    _check_all_there(adapted, folder)
    return adapted


def save_adapter(model: Any, folder: Path) -> None:
    """Writes the trained adapter so that peft loads it; of its base it holds the name."""
    model.save_pretrained(str(folder), selected_adapters=[POLICY], save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)  # a form to be filled in for the hub


class StartingModel:
    """The model that training started from, for `completion_logprobs`: made of the policy's own weights. `start`: the
    adapter that the policy started from; None: from the bare base. While it runs nothing else may use the policy."""

    def __init__(self, policy: LoadedModel, start: Path | None) -> None:
        self.model = policy.model
        self.start = start
        if start is not None:
            self.model.load_adapter(str(start), adapter_name=START, is_trainable=False)
            self.model.set_adapter(POLICY)
            use_onednn(self.model)  # as the policy's adapter: equal weights give equal numbers

    def get_decoder(self) -> Any:
        return self._hidden_states

    def get_output_embeddings(self) -> Any:
        return self.model.get_output_embeddings()  # has no adapter

    def _hidden_states(self, **inputs: Any) -> Any:
        with torch.no_grad(), self._switched():
            return self.model.get_decoder()(**inputs)

    @contextlib.contextmanager
    def _switched(self) -> Iterator[None]:
        if self.start is None:
            with self.model.disable_adapter():
                yield
            return
        self.model.set_adapter(START, inference_mode=True)
        try:
            yield
        finally:
            self.model.set_adapter(POLICY)


def _import_peft(setting: str) -> Any:
    if importlib.util.find_spec("peft") is None:
        raise UserError(f"{setting} needs: pip install 'gapo-cli[lora]'")
    logging.getLogger("bitsandbytes").setLevel(logging.ERROR)  # peft loads it; kernels of 4-bit weights are no concern of ours
    import peft

    return peft


def _check_targets(model: Any, targets: tuple[str, ...]) -> None:
    """Raises UserError for a name that no matrix of the layers ends in; peft would pass over it in silence."""
    names = [name for name, module in model.get_decoder().named_modules() if isinstance(module, torch.nn.Linear)]
    known = sorted({name.rsplit(".", 1)[-1] for name in names})
    for target in targets:
        if not any(name == target or name.endswith(f".{target}") for name in names):
            near = did_you_mean(target, known)
            raise UserError(
                f"model.lora.targets: the model's layers have no {target}; {near + ' ' if near else 'need some of '}({', '.join(known)})"
            )


def _check_weights(folder: Path) -> None:
    from safetensors import SafetensorError, safe_open

    file = folder / ADAPTER_WEIGHTS
    if not file.is_file():
        raise CheckpointError(
            f"{file}: missing; gapo loads safetensors weights only, so copy the file or save the adapter again"
        )
    try:
        with safe_open(file, framework="pt"):
            pass
    except SafetensorError as error:
        raise CheckpointError(f"{file}: damaged or cut short ({error}); copy or save the adapter again") from error


def _check_all_there(adapted: Any, folder: Path) -> None:
    """Raises CheckpointError where tensors of the adapter are missing in its file: peft would leave them as they were made."""
    import peft
    from safetensors import safe_open

    with safe_open(folder / ADAPTER_WEIGHTS, framework="pt") as stored:
        missing = sorted(set(peft.get_peft_model_state_dict(adapted, save_embedding_layers=False)) - set(stored.keys()))
    if missing:
        raise CheckpointError(f"{folder / ADAPTER_WEIGHTS}: lacks {', '.join(missing[:3])}; copy or save the adapter again")
