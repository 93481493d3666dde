"""Zed's example files: both forms, both cursors, several right answers, clones, and the way back."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
from git_parts import Repository
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gapo_cli.errors import DataError, UserError
from gapo_cli.interfaces import no_progress
from gapo_cli.records import EditTask, Hint, HistoryEvent, Source
from gapo_cli.tasks.zed.cursor import read_cursor
from gapo_cli.tasks.zed.example import Example
from gapo_cli.tasks.zed.markdown import read_markdown, write_markdown
from gapo_cli.tasks.zed.reading import read_task
from gapo_cli.tasks.zed.writing import FORMS, write_task
from gapo_cli.tasks.zed_examples import ZedExamples

EVALS = Path(__file__).parents[4] / "shared" / "data" / "zed_evals"
SHAPES = """\
+++
repository_url = "https://host.example/someone/shapes"
revision = "REVISION"
tags = ["rename"]
+++

## Edit History

```diff
--- a/src/shapes.py
+++ b/src/shapes.py
@@ -1,2 +1,2 @@
-def area(r):
+def area(radius):
     return math.pi * r * r
```

// User accepted prediction:
```diff
--- a/src/shapes.py
+++ b/src/shapes.py
@@ ... @@
-import cmath
+import math
```

## Notes

```
This block is in no known section.
```

## Cursor Position

```src/shapes.py
def area(radius):
    return math.pi * r * r
#                     ^[CURSOR_POSITION]
```

## Expected Patch

```diff
--- a/src/shapes.py
+++ b/src/shapes.py
@@ -7,9 +7,9 @@
 def area(radius):
-    return math.pi * r * r
+    return math.pi * radius<|user_cursor|> * radius
```

```diff
--- a/src/shapes.py
+++ b/src/shapes.py
@@ -1,2 +1,2 @@
 def area(radius):
-    return math.pi * r * r
+    return math.pi * radius ** 2
```

## Rejected Patch

```diff
--- a/src/shapes.py
+++ b/src/shapes.py
@@ -1,2 +1,2 @@
-def area(radius):
+def area(r):
     return math.pi * r * r
```
"""


def tasks_of(path, **settings):
    return ZedExamples(str(path), **settings).build(no_progress).splits["eval"]


@pytest.fixture
def shapes(tmp_path):
    path = tmp_path / "shapes.md"
    path.write_text(SHAPES)
    return path


def test_an_example_is_a_task_in_the_excerpt_of_its_file(shapes):
    (task,) = tasks_of(shapes)
    assert (task.id, task.path, task.language) == ("shapes", "src/shapes.py", "python")
    assert task.excerpt == task.region == "def area(radius):\n    return math.pi * r * r"
    assert task.cursor == (40, 40)  # 18 of the first line and 22
    assert task.targets == (
        "def area(radius):\n    return math.pi * radius * radius",
        "def area(radius):\n    return math.pi * radius ** 2",
    )
    assert task.cursor_after == 18 + 27
    assert task.rejected == ("def area(r):\n    return math.pi * r * r",)
    assert [event.predicted for event in task.history] == [False, True]
    assert task.history[1].diff == "@@ ... @@\n-import cmath\n+import math\n"
    assert task.labels == {"family": "rename"} and task.source.repo == "https://host.example/someone/shapes"
    assert not task.no_edit


def test_the_json_form_says_the_same(shapes, tmp_path):
    (task,) = tasks_of(shapes)
    inline = replace(
        read_markdown(SHAPES), cursor_position="def area(radius):\n    return math.pi * r<|user_cursor|> * r", name="a"
    )
    (tmp_path / "one.json").write_text(json.dumps(inline.to_json()))
    (tmp_path / "two.jsonl").write_text("\n".join(json.dumps(inline.to_json() | {"name": name}) for name in ("", "b")) + "\n")
    assert tasks_of(tmp_path / "one.json") == (replace(task, id="a"),)
    assert [one.id for one in tasks_of(tmp_path / "two.jsonl")] == ["two-0", "b"]


def test_columns_of_the_marker_line_are_bytes_of_the_line_above():
    assert read_cursor("é = 1\n#  ^[CURSOR_POSITION]\nx\n\n") == ("é = 1\nx", 2)
    assert read_cursor("  ab\n  # <[CURSOR_POSITION]") == ("  ab", 2)
    assert read_cursor("ab\n// <[CURSOR_POSITION]\n") == ("ab", 0)
    for wrong, why in (
        ("ab\n", "marks no cursor"),
        ("x\n# [CURSOR_POSITION]", "neither"),
        ("# ^[CURSOR_POSITION]", "no line above"),
    ):
        with pytest.raises(DataError, match=why):
            read_cursor(wrong)


def test_an_excerpt_ends_where_its_file_ends_it():
    def read(position, patch=""):
        return read_task(Example("a.py", position, expected_patches=(patch,)), "a", "eval", 0, 350, None)

    assert read("x = 1\n^[CURSOR_POSITION]\n\n").excerpt == "x = 1"  # as Zed: line ends behind the marker line are none of it
    assert read("<|user_cursor|>x = 1").excerpt == "x = 1" and read("<|user_cursor|>x = 1\n").excerpt == "x = 1\n"
    assert read("x = 1\r\n^[CURSOR_POSITION]\r\n").excerpt == "x = 1\r\n"  # half a line end is none
    # neither side has a line end at the end of the file: none is deleted, whether or not the excerpt shows one
    end = "\\ No newline at end of file\n"
    patch = f"--- a/a.py\n+++ b/a.py\n@@ -1 +1 @@\n-x = 1\n{end}+x = 2\n{end}"
    assert read("<|user_cursor|>x = 1\n", patch).target == "x = 2\n" and read("<|user_cursor|>x = 1", patch).target == "x = 2"
    # a side alone: the line end is the edit
    assert read("<|user_cursor|>x = 1\n", patch.replace(f"1\n{end}", "1\n")).target == "x = 2"
    assert read("<|user_cursor|>x = 1", patch.removesuffix(end)).target == "x = 2\n"


@pytest.mark.parametrize("form", FORMS)
def test_an_excerpt_without_a_last_line_end_is_written_as_it_is(form):
    task = EditTask("a", Source("made", "eval"), "python", "a.py", "y = 1\nx = é1", (6, 12), "x = é2", cursor=(11, 11))
    example = FORMS[form][1](write_task(task, form))
    assert read_cursor(example.cursor_position) == (task.excerpt, 11) and "excerpt" not in example.ours


def test_an_example_without_an_expected_patch_wants_no_edit(shapes):
    text = SHAPES[: SHAPES.index("## Expected")]
    shapes.write_text(text)
    (task,) = tasks_of(shapes)
    assert task.no_edit and task.target == task.region and task.alternatives == ()
    shapes.write_text(text + "## Expected Patch\n\n```diff\n```\n")
    assert tasks_of(shapes)[0].no_edit


def test_what_a_patch_shows_of_the_file_beyond_the_excerpt_is_added_to_it(shapes):
    wider = SHAPES.replace(" def area(radius):\n-    return math.pi * r * r\n+    return math.pi * radius ** 2\n",
                           " \n def area(radius):\n-    return math.pi * r * r\n-    # end\n+    return 0\n")  # fmt: skip
    shapes.write_text(wider)
    (task,) = tasks_of(shapes)
    assert task.excerpt == "\ndef area(radius):\n    return math.pi * r * r\n    # end" and task.cursor == (41, 41)
    assert task.targets[0].endswith("radius * radius\n    # end") and task.targets[1].endswith("    return 0")


def test_a_mistake_is_one_sentence(shapes, tmp_path):
    def refused(text, why, **settings):
        shapes.write_text(text)
        with pytest.raises(DataError, match=why):
            tasks_of(shapes, **settings)

    refused(SHAPES.replace("-    return math.pi * r * r\n+    return math.pi * radius **", "-    gone\n+    return math.pi * radius **"),
            r"shapes\.md: expected patch 2: hunk 1 does not apply: its context, which begins with 'def area")  # fmt: skip
    refused(SHAPES.replace("## Cursor Position", "## Place"), "has no section 'Cursor Position'")
    refused(SHAPES.replace('tags = ["rename"]', "tags = ["), "front matter is no TOML")
    elsewhere = SHAPES.replace("+++ b/src/shapes.py\n@@ -7", "+++ b/src/other.py\n@@ -7")
    only_elsewhere = elsewhere.replace(
        "+++ b/src/shapes.py\n@@ -1,2 +1,2 @@\n def", "+++ b/src/third.py\n@@ -1,2 +1,2 @@\n def"
    )
    refused(
        only_elsewhere, r"expected patch 1 edits src/other\.py and not the cursor's file, src/shapes\.py, the only one that"
    )
    refused(SHAPES, "its repository someone/shapes is not under data.repos", repos=str(tmp_path))
    with pytest.raises(UserError, match=r"data\.repos=nowhere: is not a folder"):
        ZedExamples(str(shapes), repos="nowhere")
    shapes.write_text(only_elsewhere)
    (tmp_path / "right.md").write_text(SHAPES)
    set_ = ZedExamples(str(tmp_path), on_error="skip").build(no_progress)
    assert set_.report["skipped"] == 1 and "skipped 1 examples" in set_.report["notes"][0] and len(set_.splits["eval"]) == 1


def test_a_misspelt_field_is_named_and_other_fields_are_kept():
    row = {"cursor_path": "a.py", "cursor_position": "<|user_cursor|>x = 1\n"}
    with pytest.raises(DataError, match=r"^field 'expected_patch' is unknown; did you mean expected_patches\?$"):
        Example.from_json(row | {"expected_patch": "--- a/a.py"})
    with pytest.raises(DataError, match=r"^section 'expected patches' is unknown; did you mean expected patch\?$"):
        read_markdown(SHAPES.replace("## Expected Patch", "## Expected Patches"))
    others = {"predictions": [], "prompt": None, "names": ["of a later version"], "rating": "positive"}
    assert Example.from_json(row | {"name": "a"} | others).rest == others


def test_of_a_patch_that_edits_other_files_the_part_in_the_cursors_file_is_the_answer(shapes):
    other = "--- a/src/other.py\n+++ b/src/other.py\n@@ -1 +1 @@\n-import shapes\n+import shape\n"
    whole = SHAPES.replace("+    return math.pi * radius ** 2\n", f"+    return math.pi * radius ** 2\n{other}")
    elsewhere = whole.replace("+++ b/src/shapes.py\n@@ -7", "+++ b/src/third.py\n@@ -7")
    shapes.write_text(elsewhere)
    built = ZedExamples(str(shapes)).build(no_progress)
    (task,) = built.splits["eval"]
    assert task.targets == ("def area(radius):\n    return math.pi * radius ** 2",)
    assert task.cursor_after is None  # it was the first patch's
    assert task.raw["left_out"] == ["expected patch 1 edits src/third.py", "expected patch 2 edits src/other.py"]
    assert built.report["notes"] == [
        "1 examples have patches that edit other files too: the part in the cursor's file is the task"
    ]
    for form, (_, read) in FORMS.items():
        assert read_task(read(write_task(task, form)), task.id, "eval", 0, 350, None) == task


def test_with_a_clone_the_task_is_the_whole_file_after_the_history(shapes, tmp_path):
    repository = Repository(tmp_path / "repos" / "shapes")
    whole = "import cmath\n\ndef area(r):\n    return math.pi * r * r\n\nprint(area(2))\n"
    revision = repository.commit("first", src__shapes_py=whole)
    repository.commit("second", src__shapes_py="x = 1\n")
    shapes.write_text(SHAPES.replace("REVISION", revision))
    (task,) = tasks_of(shapes, repos=str(tmp_path / "repos"))
    assert task.excerpt == "import math\n\ndef area(radius):\n    return math.pi * r * r\n\nprint(area(2))\n"
    assert task.at_file_start and task.excerpt[: task.cursor[0]].endswith("math.pi * r")
    assert "radius ** 2" in task.alternatives[0] and task.target[: task.cursor_after].endswith("math.pi * radius")
    with pytest.raises(DataError, match=r"its revision REVISION is not in .*shapes; fetch it there"):
        shapes.write_text(SHAPES)
        tasks_of(shapes, repos=str(tmp_path / "repos"))
    with pytest.raises(DataError, match="the edit history, src/shapes.py: hunk 1 does not apply"):
        shapes.write_text(SHAPES.replace("REVISION", "HEAD"))
        tasks_of(shapes, repos=str(tmp_path / "repos"))


def test_examples_left_out_for_want_of_a_clone_are_read_again_when_it_is_there(shapes, tmp_path):
    shapes.write_text(SHAPES.replace("REVISION", "main"))
    repos = tmp_path / "repos"
    repos.mkdir()
    source = ZedExamples(str(shapes), repos=str(repos), on_error="skip")
    name = "https://host.example/someone/shapes main"
    assert source.fingerprint()["commits"] == {name: "missing"} and source.build(no_progress).report["skipped"] == 1
    repository = Repository(repos / "shapes")
    whole = "import cmath\n\ndef area(r):\n    return math.pi * r * r\n"
    first = repository.commit("first", src__shapes_py=whole)
    repository.git("branch", "-M", "main")
    assert source.fingerprint()["commits"] == {name: first} and source.build(no_progress).report["skipped"] == 0
    # the branch moves
    second = repository.commit("second", src__shapes_py=f"{whole}x = 1\n")
    assert source.fingerprint()["commits"] == {name: second}


@pytest.mark.parametrize("name", ["notes.md", "one.json", "some.jsonl"])
def test_a_file_that_is_not_utf_8_is_named_or_skipped(name, shapes, tmp_path):
    (tmp_path / name).write_bytes(b"caf\xe9\n")
    with pytest.raises(DataError, match=rf"{name}: not UTF-8$"):
        tasks_of(tmp_path)
    built = ZedExamples(str(tmp_path), on_error="skip").build(no_progress)
    assert [task.id for task in built.splits["eval"]] == ["shapes"]
    assert built.report["skipped_rows"] == [f"{tmp_path / name}: not UTF-8"]


def test_files_of_one_name_in_several_folders_are_several_tasks(tmp_path):
    for folder in ("a", "b"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "x.md").write_text(SHAPES)
    row = {"cursor_path": "a.py", "cursor_position": "x<|user_cursor|>"}
    (tmp_path / "b" / "y.jsonl").write_text(f"{json.dumps(row)}\n" * 2)
    assert [task.id for task in tasks_of(tmp_path)] == ["a/x", "b/x", "b/y-0", "b/y-1"]


def test_a_written_markdown_file_says_what_the_read_one_said():
    example = read_markdown(SHAPES)
    assert read_markdown(write_markdown(example)) == example


TASK = EditTask(
    id="set/7",
    source=Source("made", "train", 7, repo="https://host.example/a/b", revision="abc"),
    language="python",
    path="a.py",
    excerpt="x = 1\ny = x\nz = y\n",
    editable=(6, 12),
    target="y = 2\n",
    cursor=(8, 8),
    history=(HistoryEvent("edit", "b.py", "@@ -1 +1 @@\n-a\n+b\n", predicted=True), HistoryEvent("edit", "a.py", "@@ -1 +1 @@\n-c\n+d\n")),
    alternatives=("y = 3\n",),
    cursor_after=5,
)  # fmt: skip


@pytest.mark.parametrize("form", FORMS)
def test_a_task_is_written_in_the_formats_own_fields_and_read_again(form, tmp_path):
    path = tmp_path / f"one.{form}"
    path.write_text(write_task(TASK, form))
    assert ZedExamples(str(path)).build(no_progress).splits["train"] == (TASK,)
    example = FORMS[form][1](path.read_text())
    # only what the format has no place for stands apart
    assert set(example.ours) == {"editable", "source"}
    assert example.expected_patches[0].endswith(" x = 1\n-y = x\n+y = 2<|user_cursor|>\n z = y\n")


REGIONS = st.text("ab<|`#\n", max_size=12)


@settings(suppress_health_check=[HealthCheck.too_slow], deadline=None, max_examples=60)
@given(
    st.sampled_from(list(FORMS)),
    REGIONS,
    REGIONS,
    REGIONS,
    st.lists(REGIONS, max_size=3),
    st.none() | st.integers(0, 9),
    st.booleans(),
)
def test_any_task_comes_back(form, before, region, after, others, cursor, whole):
    target, *rest = [*others, region]
    excerpt = before + region + after
    task = replace(
        TASK,
        excerpt=excerpt,
        editable=(len(before), len(before) + len(region)),
        target=target,
        alternatives=tuple(rest),
        rejected=tuple(others),
        cursor=None if cursor is None else (min(cursor, len(excerpt)),) * 2,
        cursor_after=None if cursor is None else min(cursor, len(target)),
        history=TASK.history if whole else (HistoryEvent("open", "b.py"), HistoryEvent("rename", "c.py", old_path="b.py")),
        hints=() if whole else (Hint("related_file", "b.py", "x\n", (0, 1), 2, "import", 3),),
    )
    from gapo_cli.tasks.zed.reading import read_task

    assert read_task(FORMS[form][1](write_task(task, form)), "", "eval", 0, 350, None) == task


def test_real_examples_are_read_and_come_back():
    if not EVALS.is_dir():
        pytest.skip("the ten example files are not here")
    set_ = ZedExamples(str(EVALS)).build(no_progress)
    tasks = {task.id: task for task in set_.splits["eval"]}
    assert len(tasks) == 10 and set_.report["notes"] == ["passed over 1 .md files without a section for the cursor"]
    assert sum(len(task.targets) for task in tasks.values()) == 19
    assert [event.predicted for event in tasks["flask--rename-accepted-prediction"].history] == [False, True, False]
    # the two that say where the cursor goes do it in the older form
    assert {name for name, task in tasks.items() if task.cursor_after is not None} == {
        "flask--add-import-statement",
        "zed--add-eprintln",
    }
    for task in tasks.values():
        assert task.before + task.region + task.after == task.excerpt and not task.is_noop
        for form in FORMS:
            example = FORMS[form][1](write_task(task, form))
            assert isinstance(example, Example) and "excerpt" not in example.ours and "target" not in example.ours
