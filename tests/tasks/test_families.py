"""Each family on a few lines written for it: the change sets that it finds, by hand."""

import ast
import random

import pytest

from gapo_cli.tasks.families.catalogue import all_families
from gapo_cli.tasks.families.source_file import SourceFile

CASES = {
    "compare_with_none": ("if a is None:\n    b = c is not None\n", [("if a == None:", "if a is None:"), ("    b = c != None", "    b = c is not None")]),
    "not_in": ("if a not in b:\n    return c.d not in e\n", [("if not a in b:", "if a not in b:"), ("    return not c.d in e", "    return c.d not in e")]),
    "double_quotes": ("a = 'x'\nb = f('y', 'z')\nc = 'it\"s'\n", [("a = 'x'", 'a = "x"'), ("b = f('y', 'z')", 'b = f("y", "z")')]),
    "percent_to_fstring": (
        "a = '%s is %r' % (b, c)\nd = 'n=%d' % e.f\ng = '%5d' % h\ni = '%s' % j(k)\n",
        [("a = '%s is %r' % (b, c)", "a = f'{b} is {c!r}'"), ("d = 'n=%d' % e.f", "d = f'n={e.f}'")],
    ),
    "plain_super": (
        "class A(B):\n    def f(self):\n        super().f()\n    def g(self):\n        return super().g(1)\n",
        [("        super(A, self).f()", "        super().f()"), ("        return super(A, self).g(1)", "        return super().g(1)")],
    ),
    "subscript_to_get": (
        "a = b[key]\nreturn c.d['x']\nb[key] = 1\ndel b[key]\ne = List[int]\n",
        [("a = b[key]", "a = b.get(key)"), ("return c.d['x']", "return c.d.get('x')")],
    ),
}  # fmt: skip


def parsed(text: str) -> SourceFile:
    body = text if not text.startswith(("return", "if")) and "return" not in text else f"def function():\n{indent(text)}"
    return SourceFile.parse("module.py", body)


def indent(text: str) -> str:
    return "".join(f"    {line}\n" for line in text.splitlines())


@pytest.mark.parametrize("family", CASES)
def test_family_finds_exactly_the_changes_written_by_hand(family):
    text, expected = CASES[family]
    file = parsed(text)
    found = [changes for changes in all_families()[family](file, random.Random(0)) if changes]
    assert len(found) == 1
    shifted = file.lines[0].startswith("def function")
    strip = (lambda line: line.removeprefix("    ")) if shifted else (lambda line: line)
    assert [(strip(old), strip(new)) for _, (old, new) in sorted(found[0].items())] == expected


SAMPLE = '''\
import logging


class Store(Base):
    """Keeps things."""

    def __init__(self, items, limit=10):
        super().__init__(items)
        self.items = items
        self.limit = limit

    def find(self, items, key, limit, default=None):
        if key is None or key not in items:
            print('no key', key)
            return default
        if limit not in items:
            limit = 10
        entry = lookup(items, key)
        print('found', entry)
        return items[key] if entry is None else check(entry, key)

    def add(self, key, value):
        super().add(key)
        try:
            self.items.append(lookup(key, value))
            self.items.append(check(value, key))
            value = self.items[key]
            size = 10
        except KeyError:
            raise ValueError('bad %s' % key)
        except IndexError:
            raise ValueError('worse %s' % key)
        return value, size, f"{size}"
'''


@pytest.mark.parametrize("family", all_families())
def test_every_change_has_the_real_line_on_one_side_and_another_text_on_the_other(family):
    file = SourceFile.parse("store.py", SAMPLE)
    for seed in range(20):
        for changes in all_families()[family](file, random.Random(seed)):
            for line, (old, new) in changes.items():
                assert file.lines[line] in (old, new)
                assert old != new
                assert file.usable[line]


# a class's super and a parameter's default need a body around them, so whole files are parsed after the change
@pytest.mark.parametrize("family", all_families())
def test_a_file_with_all_changes_of_a_set_made_is_still_python(family):
    file = SourceFile.parse("store.py", SAMPLE)
    made = 0
    for seed in range(20):
        for changes in all_families()[family](file, random.Random(seed)):
            for side in (0, 1):
                lines = [changes[number][side] if number in changes else line for number, line in enumerate(file.lines)]
                ast.parse("\n".join(lines))
            made += len(changes) > 1
    assert made, f"the sample has nothing for {family} to change twice"


def test_a_renamed_variable_leaves_attributes_keywords_and_formatted_strings_alone():
    text = "def f(size):\n    a.size = g(size=size)\n    return size\n\n\ndef h(count):\n    return f'{count}' + count\n"
    file = SourceFile.parse("m.py", text)
    renamed = all_families()["rename_variable"](file, random.Random(1))
    (changes,) = [found for found in renamed if 1 in found]
    new = changes[2][1].removeprefix("    return ")
    assert changes[0][1] == f"def f({new}):"
    assert changes[1][1] == f"    a.size = g(size={new})"
    assert not any(5 in found for found in renamed)  # count stands inside an f-string


def test_lines_in_strings_comments_and_long_lines_are_not_usable():
    text = 'a = """one\ntwo"""\nb = 1  # why\nc = "' + "x" * 80 + '"\nd = 2\n"doc"\n'
    assert SourceFile.parse("m.py", text).usable[:6] == [False, False, False, False, True, False]
