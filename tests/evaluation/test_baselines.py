import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from parts import small_task

from gapo_cli.edits.rules.replacement import LONGEST_LINE, MOST_CHANGES, MOST_TOKENS, Change, changes_of, replace_baseline
from gapo_cli.evaluation.baselines import copy_baseline, measure_baselines
from gapo_cli.records import EditTask, HistoryEvent, Source


def task(region: str, *edits: tuple[str, str], target: str = "?") -> EditTask:
    """A task whose history changed each first text into the second, one line each."""
    diffs = [f"@@ -1,1 +1,1 @@\n-    {old}\n+    {new}\n" for old, new in edits]
    return task_with_diffs(region, *diffs, target=target)


def task_with_diffs(region: str, *diffs: str, target: str = "?") -> EditTask:
    return small_task(region=region, target=target, before="first\n", after="last\n", diffs=diffs)


def test_without_history_the_region_is_copied():
    assert replace_baseline(task("x = 1\n")) == copy_baseline(task("x = 1\n")) == "x = 1\n"


def test_events_without_a_diff_teach_nothing():
    opened = EditTask("t", Source("hand", "eval"), "python", "a.py", "x\n", (0, 2), "y\n", history=(
        HistoryEvent("open", "b.py"), HistoryEvent("rename", "c.py", old_path="b.py")))  # fmt: skip
    assert replace_baseline(opened) == "x\n"


@pytest.mark.parametrize(
    ("old", "new", "region", "expected"),
    [
        # a word, everywhere in the region, never inside another word
        ("print(a)", "log.info(a)", "print(b)\npprint(c)\n", "log.info(b)\npprint(c)\n"),
        ("count = 0", "total = 0", "count += len(counts)\n", "total += len(counts)\n"),
        # an attribute is not the variable of the same name
        ("self.size = n", "self.length = n", "size = self.size\n", "size = self.length\n"),
        ("size = n", "length = n", "size = self.size\n", "length = self.size\n"),
        # an operator needs a neighbour, or every == would change
        ("if a == None:", "if a is None:", "if b == None and c == 3:\n", "if b is None and c == 3:\n"),
        # an argument is removed with its comma, whether it is first, last or alone
        ("foo(a, key=1)", "foo(a)", "foo(b, c, key=1)\n", "foo(b, c)\n"),
        ("foo(a, key=1)", "foo(a)", "foo(key=1, b=2)\n", "foo(key=1, b=2)\n"),
        ("foo(key=1)", "foo()", "foo(a, key=1)\nfoo(key=1, b=2)\n", "foo(a)\nfoo(b=2)\n"),
        # an argument is added to calls of the same function only
        ("foo(a)", "foo(a, key=1)", "foo(bar(b), c)\n", "foo(bar(b), c, key=1)\n"),
        ("foo()", "foo(key=1)", "x = foo(b)\n", "x = foo(b, key=1)\n"),
        ("foo(a)", "foo(self, a)", "foo(b) + foo()\n", "foo(self, b) + foo(self)\n"),
        # insertions: the same neighbours, or the same word before, in lines that begin alike
        ("def f(self):", "def f(self) -> None:", "def g(a, b):\n    if (a):\n", "def g(a, b) -> None:\n    if (a):\n"),
        ("def f(name, x):", "def f(name: str, x):", "def g(y, name):\n", "def g(y, name: str):\n"),
        ("except KeyError:", "except KeyError as e:", "except OSError:\n    x:\n", "except OSError as e:\n    x:\n"),
        # what is put around an argument is put around arguments
        (
            "f.append(fd)",
            "f.append(list(fd))",
            "if fd is None:\n    g.append(fd)\n",
            "if fd is None:\n    g.append(list(fd))\n",
        ),
        # templates: what was kept is a hole
        ("x = d['a']", "x = d.get('a')", "y = e[key]\n", "y = e.get(key)\n"),
        ("if not a in b:", "if a not in b:", "if not c.d in e:\n", "if c.d not in e:\n"),
        ("super(A, self).go()", "super().go()", "super(B, self).stop()\n", "super().stop()\n"),
        # quotes, and the words inside of strings
        ("open('a')", 'open("a")', "f('b', 'c\"d')\n", 'f("b", \'c"d\')\n'),
        ("x = 'http://a'", "x = 'https://a'", "y = 'http://b'\n", "y = 'https://b'\n"),
    ],
)
def test_one_change_is_repeated(old, new, region, expected):
    assert replace_baseline(task(region, (old, new))) == expected


@pytest.mark.parametrize(
    ("old", "new", "region"),
    [
        ("foo(a)", "foo(a, key=1)", "foo(b, key=1)\n"),
        ("use(name)", "use(str(name))", "use(str(name))\n"),
        ("def f(self):", "def f(self) -> None:", "def g(self) -> None:\n"),
        ("x = a", "x = b", "y = c\n"),
    ],
)
def test_what_is_done_already_or_found_nowhere_is_left_alone(old, new, region):
    assert replace_baseline(task(region, (old, new))) == region


def test_a_rule_that_does_not_explain_its_own_line_is_not_used():
    # one of two equal words was changed: the call, not the keyword
    assert replace_baseline(task("name(1, name=2)\n", ("name(3, name=4)", "title(3, name=4)"))) == "title(1, name=2)\n"


def test_different_changes_of_the_history_are_all_repeated():
    repeated = replace_baseline(task("old_a(old_b)\n", ("x = old_a", "x = new_a"), ("y = old_b", "y = new_b")))
    assert repeated == "new_a(new_b)\n"


def test_of_two_changes_of_the_same_word_the_later_one_wins():
    assert replace_baseline(task("f(old)\n", ("a = old", "a = first"), ("b = old", "b = second"))) == "f(second)\n"


def test_a_line_that_is_typed_in_two_steps_is_one_change():
    assert replace_baseline(task("f(old)\n", ("a = old", "a = ne"), ("a = ne", "a = new"))) == "f(new)\n"
    assert replace_baseline(task("f(old)\n", ("a = old", "a = ne"), ("a = ne", "a = old"))) == "f(old)\n"


def test_several_lines_of_one_hunk_are_paired_in_order():
    diff = "@@ -1,3 +1,3 @@\n-a = one\n-b = two\n+a = uno\n+b = due\n c\n"
    assert replace_baseline(task_with_diffs("f(one, two)\n", diff)) == "f(uno, due)\n"


def test_a_block_that_changed_its_length_teaches_nothing():
    diff = "@@ -1,2 +1,1 @@\n-a = one\n-b = two\n+a = uno\n"
    assert replace_baseline(task_with_diffs("f(one, two)\n", diff)) == "f(one, two)\n"


def test_a_minified_line_teaches_nothing():
    rest = "x" * LONGEST_LINE
    assert replace_baseline(task("f(old)\n", (f"old {rest}", f"new {rest}"))) == "f(old)\n"


def test_an_added_line_is_added_below_lines_of_the_same_kind():
    diff = "@@ -1,1 +1,2 @@\n     def sync(self):\n+        log.info('sync')\n"
    region = "def next(self):\n    return 1\n"
    assert replace_baseline(task_with_diffs(region, diff)) == "def next(self):\n    log.info('next')\n    return 1\n"
    assert replace_baseline(task_with_diffs("x = 1\n", diff)) == "x = 1\n"


def test_an_added_line_is_added_above_where_the_diff_shows_only_what_follows():
    diff = "@@ -1,1 +1,2 @@\n+@final\n def a(self):\n"
    assert replace_baseline(task_with_diffs("    def b(self, c):\n", diff)) == "    @final\n    def b(self, c):\n"


def test_a_line_is_added_to_a_region_that_does_not_end_its_last_line():
    diff = "@@ -1,1 +1,2 @@\n def a():\n+    trace('a')\n"
    assert replace_baseline(task_with_diffs("def b():", diff)) == "def b():\n    trace('b')"


def test_a_removed_line_is_removed_with_other_names():
    diff = "@@ -1,2 +1,1 @@\n total = a + b\n-print('>>>', total)\n"
    region = "    x.y = 1\n    print('>>>', x.y)\n    print('keep', x.y)\n"
    assert replace_baseline(task_with_diffs(region, diff)) == "    x.y = 1\n    print('keep', x.y)\n"


def test_a_removed_line_without_words_is_not_looked_for():
    diff = "@@ -1,2 +1,1 @@\n a\n-}\n"
    assert replace_baseline(task_with_diffs("}\n}\n", diff)) == "}\n}\n"


def test_file_headers_and_missing_final_newlines_are_no_lines():
    diff = "--- a.py\n+++ a.py\n@@ -1 +1 @@\n-x = old\n\\ No newline at end of file\n+x = new\n"
    assert changes_of((HistoryEvent("edit", "a.py", diff),)) == [Change("x = old", "x = new")]


def test_baselines_are_measured_as_greedy_answers():
    one = task("print(a)\n", ("print(x)", "log(x)"), target="log(a)\n")
    still = EditTask("s", Source("hand", "eval"), "go", "b.go", "y\n", (0, 2), "y\n")
    measured = measure_baselines([one, still])
    assert measured["copy"].overall.exact_match.value == 1 / 2
    assert measured["replace"].overall.exact_match.value == 1
    assert measured["replace"].overall.response_tokens is None
    with pytest.raises(ValueError, match="at least one task"):
        measure_baselines([])


def test_brackets_and_quotes_without_end_do_no_harm():
    region = 'foo((a, \'b\n\\ """ [{\n'
    assert replace_baseline(task(region, ("foo(a)", "foo(a, 1)"), ("x[1]", "x.get(1)"), ("'q'", '"q"'))) == region


CODE = st.text("ab1_ (),.[]'\"=\n\t+-@#\u2028\x0c\r", max_size=40)


@settings(max_examples=300)
@given(region=CODE, diffs=st.lists(st.one_of(CODE, CODE.map(lambda text: f"@@ -1 +1 @@\n{text}"), st.tuples(CODE, CODE).map(
    lambda pair: f"@@ -1 +1 @@\n-{pair[0]}\n+{pair[1]}\n")), max_size=3))  # fmt: skip
def test_any_history_gives_an_answer(region, diffs):
    assert isinstance(replace_baseline(task_with_diffs(region, *diffs)), str)


def test_lines_of_many_tokens_that_repeat_teach_nothing():
    # comparing two of them takes difflib seconds, and a history may hold thousands
    edit = ("ab " * (MOST_TOKENS // 2 + 1), "ba " * (MOST_TOKENS // 2 + 1))
    assert replace_baseline(task("ab ba\n", *[edit] * 1000)) == "ab ba\n"


def test_of_very_many_changes_the_newest_count():
    edits = [("old", "new"), *((f"a{number}", f"b{number}") for number in range(MOST_CHANGES))]
    assert replace_baseline(task("old(a1)\n", *edits)) == "old(b1)\n"
    assert replace_baseline(task("old(a1)\n", *edits[:-1])) == "new(b1)\n"
