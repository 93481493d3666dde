"""Where a model's files are, and whether they are all there: folders, assets of the package, the Hugging Face hub."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from pathlib import Path

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import CheckpointError

ALLOWED_PATHS = "need a folder in Hugging Face format, a hub name such as Qwen/Qwen2.5-Coder-0.5B, asset:NAME or gguf:PACKAGE"
ASSETS = Path(__file__).resolve().parent.parent / "assets"
HUB_NAME = re.compile(r"[\w.-]+(/[\w.-]+)?", re.ASCII)
CONFIG, ADAPTER_CONFIG = "config.json", "adapter_config.json"
TOKENIZER_FILES = ("*.json", "*.model", "*.txt", "*.jinja")
MODEL_FILES = (*TOKENIZER_FILES, "*.safetensors")
SECOND_COPIES = ("consolidated*", "original/*")
"""The same weights again in their makers' own format, as Mistral's and Meta's repositories have them."""
HUB_SNAPSHOTS = "snapshots"
"""The folder of the hub's cache that the downloaded models lie in."""


def find_folder(config: ModelConfig, files: Sequence[str] = MODEL_FILES) -> Path:
    """The local folder that `config.path` stands for; of a hub model, `files` are downloaded, or taken from the cache; what
    lies in a package as GGUF is converted, or taken from the cache."""
    path = config.path
    if path.startswith("asset:"):
        folder = ASSETS / path.removeprefix("asset:")
        if not folder.is_dir():
            names = ", ".join(sorted(f"asset:{entry.parent.name}" for entry in ASSETS.glob("*/config.json"))) or "none"
            raise CheckpointError(f"model.path={path}: the package has no such weights (it has: {names})")
        return folder
    if path.startswith("gguf:"):
        from gapo_cli.models.gguf_package import converted_folder

        return converted_folder(path)
    folder = Path(path).expanduser()
    if folder.is_dir():
        return folder
    if folder.exists():
        raise CheckpointError(f"model.path={path}: this is a file; {ALLOWED_PATHS}")
    if not HUB_NAME.fullmatch(path) or path.startswith("."):
        raise CheckpointError(f"model.path={path}: no such folder; {ALLOWED_PATHS}")
    return _download(config, files)


def holds_model(folder: Path) -> bool:
    """A whole model or an adapter lies there."""
    return any((folder / name).is_file() for name in (CONFIG, ADAPTER_CONFIG))


def is_adapter(folder: Path) -> bool:
    """The folder holds an adapter and not a whole model."""
    return (folder / ADAPTER_CONFIG).is_file() and not (folder / CONFIG).is_file()


def base_of(folder: Path) -> str:
    """The `model.path` of the base that an adapter belongs to. Raises CheckpointError for a damaged folder."""
    try:
        base = json.loads((folder / ADAPTER_CONFIG).read_text(encoding="utf-8"))["base_model_name_or_path"]
    except (ValueError, KeyError, TypeError) as error:
        raise CheckpointError(f"{folder / ADAPTER_CONFIG}: damaged ({error}); copy or save the adapter again") from error
    if not isinstance(base, str) or not base:
        raise CheckpointError(
            f"{folder / ADAPTER_CONFIG}: names no base_model_name_or_path; write a folder or a hub name there"
        )
    return base


def _download(config: ModelConfig, files: Sequence[str]) -> Path:
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import GatedRepoError, HFValidationError, LocalEntryNotFoundError, RepositoryNotFoundError

    path = config.path
    patterns = [*files, *(("*.py",) if config.trust_remote_code else ())]
    try:
        return Path(snapshot_download(path, allow_patterns=patterns, ignore_patterns=list(SECOND_COPIES)))
    except GatedRepoError as error:
        raise CheckpointError(
            f"model.path={path}: the hub asks for a login; accept its terms and run: hf auth login"
        ) from error
    except (RepositoryNotFoundError, HFValidationError) as error:
        raise CheckpointError(f"model.path={path}: neither a folder nor a model on the hub; {ALLOWED_PATHS}") from error
    except LocalEntryNotFoundError as error:
        raise CheckpointError(
            f"model.path={path}: no such folder, and the Hugging Face hub cannot be reached for a model of that name; {ALLOWED_PATHS}"
        ) from error
    except OSError as error:  # a full disk, a server's error
        raise CheckpointError(
            f"model.path={path}: could not be downloaded from the hub ({error}); try again or name a folder"
        ) from error


def check_files(config: ModelConfig, folder: Path) -> None:
    """Raises CheckpointError for a missing config, missing weights or a file of weights that is cut short."""
    from safetensors import SafetensorError, safe_open

    if not (folder / "config.json").is_file():
        raise CheckpointError(f"model.path={config.path}: {folder} has no config.json; {ALLOWED_PATHS}")
    index = folder / "model.safetensors.index.json"
    names = ["model.safetensors"]
    if index.is_file():
        try:
            names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise CheckpointError(f"{index}: damaged ({error}); copy or save the model again") from error
    for name in names:
        file = folder / name
        if not file.is_file():
            raise CheckpointError(
                f"{file}: missing; gapo loads safetensors weights only, so copy the file or save the model again"
            )
        try:
            with safe_open(file, framework="pt"):
                pass
        except SafetensorError as error:
            raise CheckpointError(f"{file}: damaged or cut short ({error}); copy or save the model again") from error
