"""The nano model's tokenizer: byte-level BPE in which a copied identifier is the same tokens everywhere.

Blanks are glued to punctuation and keywords, never to identifiers, and words are split at `_` and at a change of case;
so `self._start(` and `x = _start` share the tokens of `_start`, and copying needs no second spelling of a word.
"""

from __future__ import annotations

from collections.abc import Iterable

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from gapo_cli.prompts.nano import MARKERS

PAD, END = "<|pad|>", "<|end|>"
_KEYWORDS_BETWEEN = "not in|is not|in|is|and|or|if|else|as|import|for"
_KEYWORDS_BEFORE = (
    "def|class|return|if|elif|while|for|not|raise|import|from|with|assert|yield|await|async|del|lambda|except|super"
)
PIECES = (
    rf" (?:{_KEYWORDS_BETWEEN}) "
    rf"|\b(?:{_KEYWORDS_BEFORE}) "
    r"|\n *"  # a line's end and the next line's indentation are one piece
    r"|_+"
    r"|[A-Z]?[a-z]+|[A-Z]+(?![a-z])|[A-Z]"
    r"|[0-9]"
    r"| ?[^\sA-Za-z0-9_]+ ?"
    r"| +|\s"
)


def train_tokenizer(texts: Iterable[str], vocabulary: int) -> PreTrainedTokenizerFast:
    """A tokenizer of exactly `vocabulary` tokens where `texts` give that many; the markers of prompts/nano.py, padding and
    end are single tokens."""
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([
        pre_tokenizers.Split(Regex(PIECES), "isolated"),
        pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
    ])  # fmt: skip
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=vocabulary,
        special_tokens=[PAD, END, *MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    tokenizer.train_from_iterator(texts, trainer)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, pad_token=PAD, eos_token=END, clean_up_tokenization_spaces=False)


def word_tokens(tokenizer: PreTrainedTokenizerFast, kept: Iterable[str]) -> list[int]:
    """Ids of the tokens that are plain words and not in `kept`: what scrambling may permute."""
    kept = set(kept)
    return sorted(
        token_id for text, token_id in tokenizer.get_vocab().items() if text.isascii() and text.isalpha() and text not in kept
    )
