"""The zeta data set itself is not part of the project: its tests are skipped where it does not lie beside the checkout."""

import json
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gapo_cli.edits.matching import exact_match
from gapo_cli.errors import DataError, UserError
from gapo_cli.interfaces import no_progress
from gapo_cli.prompts.parts.zed_text import CURSOR, REGION_END, REGION_START, START_OF_FILE, zeta_raw
from gapo_cli.records import EditTask, HistoryEvent, Source
from gapo_cli.tasks.zeta import Zeta, parse_events, parse_row, render_row

ZETA = Path(__file__).parents[2].parent / "shared" / "data" / "zeta"
needs_zeta = pytest.mark.skipif(not (ZETA / "train.jsonl").is_file(), reason=f"the zeta data set is not at {ZETA}")

INPUT = (
    "```src/a.rs\n<|start_of_file|>\nuse std;\n<|editable_region_start|>\nfn f() {\n    g(<|user_cursor_is_here|>\n}\n"
    "<|editable_region_end|>\nfn h() {}\n```"
)
OUTPUT = (
    "```src/a.rs\n<|start_of_file|>\nuse std;\n<|editable_region_start|>\nfn f() {\n    g();\n}\n<|editable_region_end|>\n"
    "fn h() {}\n```"
)
EVENTS = 'User edited "src/a.rs":\n```diff\n@@ -2,1 +2,1 @@\n-    \n+    g(\n```'
ROW = {"events": EVENTS, "input": INPUT, "output": OUTPUT, "rejected": "", "assertions": ""}
REGION = "fn f() {\n    g(\n}\n"


@pytest.fixture(scope="module")
def splits():
    return Zeta(str(ZETA)).build(no_progress).splits


def rows(split: str) -> list[dict[str, str]]:
    return [json.loads(line) for line in (ZETA / f"{split}.jsonl").read_text(encoding="utf-8").split("\n") if line]


@needs_zeta
@pytest.mark.parametrize(("split", "count"), [("train", 418), ("eval", 33)])
def test_every_row_comes_back_byte_for_byte_also_from_disk(splits, split, count):
    tasks = splits[split]
    assert len(tasks) == count
    for task, row in zip(tasks, rows(split), strict=True):
        assert render_row(task) == row, task.id
        stored = EditTask.from_dict(json.loads(json.dumps(task.to_dict())))
        assert render_row(stored) == row, task.id


@needs_zeta
def test_no_row_of_the_data_set_is_kept_as_a_whole_text(splits):
    assert not [task.id for tasks in splits.values() for task in tasks if "verbatim" in zeta_raw(task)]


@needs_zeta
def test_the_one_input_without_a_closing_fence_is_marked(splits):
    assert [task.id for tasks in splits.values() for task in tasks if "closing" in zeta_raw(task)] == ["zeta/eval/17"]


@needs_zeta
@pytest.mark.parametrize(("split", "unchanged"), [("train", 57), ("eval", 10)])
def test_copying_the_region_is_right_on_the_rows_that_change_nothing_and_on_no_other(splits, split, unchanged):
    right = [task for task in splits[split] if exact_match(task.region, task.target)]
    assert len(right) == unchanged
    assert not any(exact_match(task.region, task.target) for task in splits[split] if not task.is_noop)


@needs_zeta
def test_languages_and_history_of_the_data_set(splits):
    tasks = [task for split in splits.values() for task in split]
    assert sum(task.language == "rust" for task in tasks) == 263  # 242 + 21 paths that end in .rs
    # three paths are empty, four are `untitled`, three are scripts without an extension; one says `go` and no path
    assert sum(task.language == "unknown" for task in tasks) == 10
    assert splits["train"][8].language == "go"
    assert sum(not task.history for task in tasks) == 16
    assert all(task.cursor is not None for task in tasks)
    assert all(event.diff.startswith("@@") for task in tasks for event in task.history if event.kind == "edit")


def test_a_row_becomes_a_task():
    task = parse_row(ROW | {"assertions": "calls g"}, "eval", 3)
    assert (task.id, task.source, task.language, task.path) == (
        "zeta/eval/3", Source("zeta", "eval", 3, licence="Apache-2.0"), "rust", "src/a.rs",
    )  # fmt: skip
    assert task.excerpt == f"use std;\n{REGION}fn h() {{}}\n"
    assert (task.region, task.target) == (REGION, "fn f() {\n    g();\n}\n")
    assert task.excerpt[: task.cursor[0]].endswith("    g(")
    assert task.at_file_start
    assert task.assertions == "calls g"
    assert task.history == (HistoryEvent("edit", "src/a.rs", "@@ -2,1 +2,1 @@\n-    \n+    g(\n"),)
    assert task.raw is None


def dpo(rejected: str) -> EditTask:
    row = ROW | {"rejected": rejected}
    task = parse_row(row, "dpo", 0)
    assert render_row(task) == row
    return task


def test_a_rejected_excerpt_gives_its_region():
    task = dpo(OUTPUT.replace("g();", "g(1);"))
    assert task.rejected == ("fn f() {\n    g(1);\n}\n",)
    assert task.raw is None


def test_a_rejected_excerpt_that_equals_the_output_is_kept():
    task = dpo(OUTPUT)
    assert task.rejected == (task.target,)


def test_a_rejected_excerpt_without_its_start_marker_begins_after_the_lines_above():
    task = dpo(OUTPUT.replace(REGION_START + "\n", "").replace("g();", "g(1);"))
    assert task.rejected == ("fn f() {\n    g(1);\n}\n",)
    assert zeta_raw(task) == {"rejected": [REGION_START]}


def test_a_rejected_excerpt_without_its_end_marker_ends_before_the_lines_below():
    task = dpo(OUTPUT.replace(REGION_END + "\n", "").replace("g();", "g(1);"))
    assert task.rejected == ("fn f() {\n    g(1);\n}\n",)
    assert zeta_raw(task) == {"rejected": [REGION_END]}


@pytest.mark.parametrize("ending", ["```", ""])
def test_a_rejected_excerpt_that_breaks_off_in_its_region_gives_what_there_is(ending):
    task = dpo(OUTPUT[: OUTPUT.index("}\n" + REGION_END)] + ending)
    assert task.rejected == ("fn f() {\n    g();\n",)
    assert zeta_raw(task)["rejected"] == [REGION_END]


def test_a_rejected_text_without_any_marker_is_a_region_as_a_whole():
    assert dpo("g();\n").rejected == ("g();\n",)


@pytest.mark.parametrize(
    ("change", "kept"),
    [
        (lambda text: text.removesuffix("\n```"), {"closing": ""}),
        (lambda text: text.removeprefix("```src/a.rs\n"), {"opening": ""}),
        (lambda text: text.removesuffix("fn h() {}\n```").removesuffix("\n"), {"closing", "verbatim"}),
        (lambda text: text.replace(START_OF_FILE + "\n", ""), {}),
        (lambda text: text.replace("src/a.rs", ""), {}),
    ],
)  # fmt: skip
def test_an_unusual_fence_comes_back(change, kept):
    row = ROW | {"input": change(INPUT), "output": change(OUTPUT)}
    task = parse_row(row, "train", 0)
    assert render_row(task) == row
    assert (zeta_raw(task) if isinstance(kept, dict) else set(zeta_raw(task))) == kept
    assert (task.region, task.target) == (REGION, "fn f() {\n    g();\n}\n")


def test_text_outside_the_region_that_the_output_changes_comes_back():
    row = ROW | {"output": OUTPUT.replace("use std;", "use core;")}
    task = parse_row(row, "train", 0)
    assert render_row(task) == row
    assert set(zeta_raw(task)["verbatim"]) == {"output"}


def test_events_of_every_kind_are_read():
    text = (
        'User opened file: "a.py"\n\nUser edited file: "a.py":\n\n```diff\n@@ -1,1 +1,1 @@\n-x\n+`y`\n```\n\n'
        'User renamed "a.py" to "b \\"c\\".py":\n\nUser edited "b.py":\n```diff\n```'
    )
    history, words = parse_events(text)
    assert history == (
        HistoryEvent("open", "a.py"),
        HistoryEvent("edit", "a.py", "@@ -1,1 +1,1 @@\n-x\n+`y`\n"),
        HistoryEvent("rename", 'b \\"c\\".py', old_path="a.py"),
        HistoryEvent("edit", "b.py", ""),
    )
    assert words is not None  # `edited file:` and the colon of the renaming are not today's words


def test_a_header_inside_a_diff_is_code():
    history, words = parse_events('User edited "a.md":\n```diff\n+User edited "b":\nUser edited "c":\n```')
    assert history == (HistoryEvent("edit", "a.md", '+User edited "b":\nUser edited "c":\n'),)
    assert words is None


PIECES = st.sampled_from([
    "User edited ", "User edited file: ", "User opened file: ", "User renamed ", '"a.py"', '"', ":", " to ", "\n", "\n\n", "```diff\n",
    "```", "\n```", "@@ -1 +1 @@\n", "+x\n", "é\u2028", "\r\n",
])  # fmt: skip
SECTION = st.lists(PIECES, max_size=14).map("".join)
EVENT_TEXT = st.one_of(st.text(max_size=60), SECTION, st.lists(st.sampled_from([EVENTS, EVENTS.replace("edited", "edited file:"), "\n\n",
                                                                               "\n", 'User opened file: "b"']), max_size=6).map("".join))  # fmt: skip


@given(EVENT_TEXT)
def test_any_events_text_comes_back(events):
    row = ROW | {"events": events}
    task = parse_row(row, "train", 0)
    assert render_row(task) == row
    assert "verbatim" not in zeta_raw(task)


EXCERPT_PIECES = st.lists(
    st.sampled_from(["```a.py\n", "```", "\n", "x = 1\n", "y", START_OF_FILE + "\n", REGION_START + "\n", REGION_END + "\n", REGION_START,
                     REGION_END, CURSOR, "é\u2028\x0b\r"]),
    max_size=14,
).map("".join)  # fmt: skip


@settings(max_examples=300)
@given(st.one_of(EXCERPT_PIECES, st.just(INPUT)), st.one_of(EXCERPT_PIECES, st.just(OUTPUT)), EXCERPT_PIECES)
def test_any_row_comes_back_or_is_a_data_error(before, output, rejected):
    row = ROW | {"input": before, "output": output, "rejected": rejected}
    try:
        task = parse_row(row, "train", 0)
    except DataError:
        return
    assert render_row(task) == row


@given(
    st.text(alphabet="ab\n `é\r", max_size=30),
    st.text(alphabet="ab\n `é\r", max_size=30),
    st.text(alphabet="ab\n é", max_size=10),
)
def test_a_usual_row_needs_nothing_kept(region, target, after):
    region, target, after = (text and text + "\n" for text in (region, target, after))
    written = f"```p/q.go\n{REGION_START}\n%s{REGION_END}\n{after}```"
    row = ROW | {"input": written % (CURSOR + region), "output": written % target}
    task = parse_row(row, "train", 0)
    assert render_row(task) == row
    assert (task.region, task.target, task.after, task.raw) == (region, target, after, None)


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"input": INPUT.replace(REGION_END, "")}, "field 'input' has no region"),
        ({"input": INPUT.replace(CURSOR, CURSOR * 2)}, "user_cursor_is_here|> 2 times"),
        ({"output": OUTPUT.replace(REGION_START, "")}, "field 'output' has no region"),
        ({"output": None}, "field 'output' is missing"),
        ({"events": 3}, "field 'events' must be a string, got a number"),
        ({"events": "\ud800"}, "field 'events' has half of a surrogate pair"),
    ],
)
def test_a_row_that_is_no_task_names_file_line_and_reason(tmp_path, change, sentence):
    (tmp_path / "eval.jsonl").write_text(json.dumps(ROW) + "\n" + json.dumps(ROW | change) + "\n")
    with pytest.raises(DataError) as error:
        Zeta(str(tmp_path)).build(no_progress)
    assert str(error.value).startswith(f"{tmp_path / 'eval.jsonl'}:2: ")
    assert sentence in str(error.value)


def test_the_splits_are_the_files_that_there_are(tmp_path):
    (tmp_path / "dpo.jsonl").write_text(json.dumps(ROW | {"rejected": OUTPUT}) + "\n")
    built = Zeta(str(tmp_path)).build(no_progress)
    assert {split: len(tasks) for split, tasks in built.splits.items()} == {"dpo": 1}
    assert built.splits["dpo"][0].source.split == "dpo"


@pytest.mark.parametrize(("name", "what"), [("empty", "has no train.jsonl"), ("nowhere", "is not a folder")])
def test_a_folder_without_the_data_set_is_a_users_mistake(tmp_path, name, what):
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=what):
        Zeta(str(tmp_path / name)).fingerprint()


def test_rows_from_the_hub_become_the_same_tasks(monkeypatch):
    import datasets

    asked = []
    monkeypatch.setattr(datasets, "load_dataset", lambda name, revision: asked.append((name, revision)) or {"eval": [ROW]})
    built = Zeta(revision="abc").build(no_progress)
    assert asked == [("zed-industries/zeta", "abc")]
    assert built.splits["eval"] == (parse_row(ROW, "eval", 0),)


def test_a_hub_that_cannot_be_reached_says_what_to_do(monkeypatch):
    import datasets

    def unreachable(name, revision):
        raise ConnectionError("no route")

    monkeypatch.setattr(datasets, "load_dataset", unreachable)
    with pytest.raises(
        UserError, match=r"zed-industries/zeta could not be fetched from the hub \(ConnectionError\).*data.path=FOLDER"
    ):
        Zeta().build(no_progress)


def test_the_fingerprint_follows_the_files_and_the_revision(tmp_path):
    path = tmp_path / "eval.jsonl"
    path.write_text(json.dumps(ROW) + "\n")
    first = Zeta(str(tmp_path)).fingerprint()
    path.write_text(json.dumps(ROW) + "\n\n")
    assert Zeta(str(tmp_path)).fingerprint() != first
    assert Zeta(revision="a").fingerprint() != Zeta(revision="b").fingerprint()
