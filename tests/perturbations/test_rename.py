"""The consistent rename: everywhere alike, in its way of writing; strings, comments, keywords and libraries stay."""

import random

import pytest
from parts import small_task

from gapo_cli.perturbations.names import parts_of, replaceable
from gapo_cli.perturbations.quotes import quoted
from gapo_cli.perturbations.rename import Rename, Swap, renamed
from gapo_cli.records import DoesNotApply, Hint

SWAP = Swap.of([("account", "ledger")])


def test_words_are_told_apart_in_every_way_of_writing():
    assert parts_of("userName") == parts_of("user_name") == parts_of("UserName") == parts_of("USER_NAME") == ["user", "name"]
    assert parts_of("HTTPServer2x") == ["http", "server", "x"]


def test_a_word_is_replaced_in_each_identifier_as_it_is_written():
    text = "account, Account, ACCOUNT, account_id, accountId, AccountStore, MAX_ACCOUNT, accountant, accounts"
    found = SWAP(text)
    assert found == "ledger, Ledger, LEDGER, ledger_id, ledgerId, LedgerStore, MAX_LEDGER, accountant, accounts"
    assert SWAP(found) == text


def test_history_excerpt_answer_and_related_file_change_together():
    task = small_task(
        region="save(account_id)\n", target="save(account_key)\n", before="account_id = 1\n", after="log(account_id)\n",
        diffs=("@@ -1 +1 @@\n-load(account_id)\n+load(account_key)\n",), cursor=(19, 19), cursor_after=8,
        rejected=("save(account)\n",), hints=(Hint("related_file", "b.py", "account_id\n"),),
    )  # fmt: skip
    changed = renamed(task, SWAP)
    assert changed.excerpt == "ledger_id = 1\nsave(ledger_id)\nlog(ledger_id)\n"
    assert (changed.region, changed.target, changed.rejected) == (
        "save(ledger_id)\n",
        "save(ledger_key)\n",
        ("save(ledger)\n",),
    )
    assert changed.history[0].diff == "@@ -1 +1 @@\n-load(ledger_id)\n+load(ledger_key)\n"
    assert changed.hints[0].text == "ledger_id\n"
    # the cursor stood before `save`, four letters in it, and after `sav`: both in text that stays
    assert (task.excerpt[15:19], changed.excerpt[14:18], changed.cursor) == ("save", "save", (18, 18))
    assert changed.cursor_after == 8


def test_a_cursor_inside_a_renamed_name_stays_as_far_into_it_as_it_reaches():
    assert [SWAP.moved("x account y", offset) for offset in (0, 2, 3, 8, 9, 10)] == [0, 2, 3, 8, 8, 9]


@pytest.mark.parametrize(
    ("line", "stays"),
    [
        ("plain(walrus)", False),
        ("plain('a walrus')", True),
        ("plain()  # the walrus", True),
        ('"""A walrus."""', True),
        ("import walrus", True),
        ("from x import walrus", True),
        ("plain.walrus()", True),
        ("self.walrus()", False),
        ("open(path, walrus=1)", True),
        ("@walrus", True),
        ("__walrus__ = 1", True),
        ("walruses = [walrus]", True),
        ("walr = 1", True),
        ('cut = """a walrus', True),
    ],
)
def test_a_word_that_something_else_owns_or_that_is_quoted_is_left_alone(line, stays):
    task = small_task(region="use(walrus)\n", target="keep(walrus)\n", after=f"{line}\n")
    assert ("walrus" not in replaceable(task)) == stays


@pytest.mark.parametrize(
    "fields",
    [
        {"instruction": "Rename the walrus."},
        {"assertions": "it keeps the walrus"},
        {"tests": "assert walrus"},
        {"path": "walrus.py"},
        {"hints": (Hint("diagnostic", "a.py", "walrus is unknown"),)},
        {"hints": (Hint("related_file", "notes.md", "walrus"),)},
    ],
)
def test_a_word_that_prose_tests_or_paths_have_is_left_alone(fields):
    task = small_task(region="use(walrus)\n", target="keep(walrus)\n")
    assert "walrus" in replaceable(task)
    assert "walrus" not in replaceable(small_task(region="use(walrus)\n", target="keep(walrus)\n", **fields))


def test_keywords_and_builtins_are_no_names():
    assert replaceable(small_task(region="return print(range)\n", target="yield len(async_walrus)\n")) == ["walrus"]


@pytest.mark.parametrize(
    ("language", "reason"),
    [("markdown", "a language whose names are not known"), ("python", "no name that is the task's own alone")],
)
def test_where_there_is_nothing_to_rename_it_says_why(language, reason):
    task = small_task(region="pass\n", target="return\n", language=language)
    assert Rename()(task, random.Random(0)) == DoesNotApply(reason)


def test_a_region_that_ends_inside_a_name_is_not_renamed():
    task = small_task(region="use(walrus, wal", target="keep(walrus, wal", after="rus)\n")
    assert Rename(words=9)(task, random.Random(0)) == DoesNotApply("the region begins or ends inside a name")


@pytest.mark.parametrize(
    ("language", "text", "ambiguous"),
    [
        ("python", "x = 'a' # it's\n", False),
        ("python", 'x = """a\n', True),
        ("python", "end of it.\n'''\n", True),
        ("python", "x = 'cut\n", True),
        ("rust", "fn f<'a>(x: &'a str) -> char { 'x' } // it's\n", False),
        ("javascript", "`a ${b}` /* c */", False),
        ("javascript", "/* cut", True),
        ("lua", "x = 1 -- it's\n", False),
        ("unknown", "it's", False),
    ],
)
def test_a_quote_that_is_left_open_makes_a_text_ambiguous(language, text, ambiguous):
    assert quoted(text, language).ambiguous == ambiguous
