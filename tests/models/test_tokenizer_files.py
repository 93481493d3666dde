"""Tokenizers as servers read them: the folder beside an exported model's own files, where one is needed."""

import json
import shutil
from pathlib import Path

import pytest
from parts import Listening
from transformers import AutoTokenizer, PreTrainedTokenizerFast

import gapo_cli.assets
from gapo_cli.models.tokenizer_files import SERVED_TOKENIZER, save_for_servers, save_tokenizer
from gapo_cli.stages.export import export

NANO = Path(gapo_cli.assets.__file__).parent / "nano-clean"
TEXT = "<|marker_1|>if some_path == None:\n\treturn []\n"


def ids(tokenizer):
    return tokenizer(TEXT)["input_ids"]


def test_a_tokenizer_that_cannot_be_written_is_an_error_of_the_machine(tmp_path):
    class Full:
        def save_pretrained(self, folder):
            raise Exception("No space left on device (os error 28)")  # noqa: TRY002 - what the tokenizers library raises

    with pytest.raises(OSError, match="No space left") as caught:
        save_tokenizer(Full(), tmp_path)
    assert (caught.value.filename, caught.value.strerror) == (str(tmp_path), "No space left on device (os error 28)")


def test_servers_get_a_tokenizer_of_their_own_where_they_would_split_the_models_text_otherwise(tmp_path):
    display = Listening()
    export(NANO, tmp_path / "out", "auto", display)
    assert display.said[-1].endswith(f"serve it with --tokenizer {tmp_path / 'out' / SERVED_TOKENIZER}")
    ours = ids(PreTrainedTokenizerFast.from_pretrained(NANO))
    assert ids(AutoTokenizer.from_pretrained(tmp_path / "out")) != ours
    assert ids(AutoTokenizer.from_pretrained(tmp_path / "out" / SERVED_TOKENIZER)) == ours


def test_a_tokenizer_that_servers_read_right_stands_in_the_models_folder_alone(tmp_path):
    for path in NANO.glob("tokenizer*.json"):
        shutil.copy(path, tmp_path)
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "llama"}))
    save_for_servers(PreTrainedTokenizerFast.from_pretrained(NANO), tmp_path)
    assert not (tmp_path / SERVED_TOKENIZER).exists()
