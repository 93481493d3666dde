"""The counter of prompt budgets counts what the model will see."""

import subprocess
import sys

import pytest

from gapo_cli.errors import CheckpointError
from gapo_cli.models.token_counter import TokenCounter
from gapo_cli.prompts.zeta1 import Zeta1
from gapo_cli.records import EditTask, Source


def test_it_counts_the_models_own_tokens(tiny_model_folder):
    counter = TokenCounter(str(tiny_model_folder))
    # one token a byte: é has two, <eos> is one token of its own
    assert [counter(text) for text in ("", "ab", "é", "a<eos>")] == [0, 2, 2, 2]


def test_a_templates_budget_is_kept_in_tokens(tiny_model_folder):
    task = EditTask("t", Source("made", "eval"), "python", "m.py", "é\n" * 60 + "x\n", (120, 122), "y\n")
    counter = TokenCounter(str(tiny_model_folder))
    full, cut = Zeta1().render(task), Zeta1(budget=500, counter=counter).render(task)
    assert len(full.text) < 500 < counter(full.text)  # 60 of the characters have two tokens
    assert 497 < counter(cut.text) <= 500  # a line more would be three tokens more
    assert cut.cut[0].startswith("excerpt: ")


def test_nothing_is_loaded_before_a_count_is_asked_for(tmp_path):
    template = Zeta1(budget=500, counter=TokenCounter(str(tmp_path / "nowhere")))
    task = EditTask("t", Source("made", "eval"), "python", "m.py", "x\n", (0, 2), "y\n")
    with pytest.raises(
        CheckpointError,
        match="nowhere: no such folder; .*; prompt.budget counts its tokens, or characters with prompt.counter=null",
    ):
        template.render(task)


@pytest.mark.slow
def test_counting_does_not_import_torch(tiny_model_folder):
    code = (
        "import sys; from gapo_cli.models.token_counter import TokenCounter\n"
        "print(TokenCounter(sys.argv[1])('ab'), 'torch' in sys.modules)"
    )
    shown = subprocess.run(
        [sys.executable, "-c", code, str(tiny_model_folder)], capture_output=True, text=True, check=True
    ).stdout
    assert shown.split() == ["2", "False"]
