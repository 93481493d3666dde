import pytest

from gapo_cli.errors import UserError
from gapo_cli.records import HistoryEvent, Source
from gapo_cli.tasks.git.commit_tasks import Step, TaskShape, tasks_of_commit
from gapo_cli.tasks.git.file_edits import EditedFile, LineChange, join_changes

SOURCE = Source("git", "", repo="r", revision="c" * 40)


def steps_of(old: list[str], *changes: LineChange, path: str = "x.py") -> list[Step]:
    file = EditedFile(path, tuple(old), join_changes(old, changes, join=0))
    return [Step(HistoryEvent("edit", path, diff), file, index) for index, diff in enumerate(file.diffs(1))]


def made(steps: list[Step], **shape):
    return tasks_of_commit("git/r/c", steps, SOURCE, None, TaskShape(**shape))


def lines(count: int) -> list[str]:
    return [f"line_{number} = {number}" for number in range(1, count + 1)]


def test_the_next_edits_place_is_the_region_and_the_edits_before_it_are_made():
    old = ["a", "b", "c", "  old(b)", "d", "old(c)", "e"]
    steps = steps_of(old, LineChange(1, 2, ("b", "b2")), LineChange(3, 4, ("  b2(b)",)), LineChange(5, 6, ("b2(c)",)))
    tasks, rejects = made(steps, margin=(1, 1), context_lines=1)
    assert rejects == {"nothing before it": 1}
    first, second = tasks
    assert (first.id, first.path, first.language) == ("git/r/c/1", "x.py", "python")
    assert (first.before, first.region, first.after) == ("b2\n", "c\n  old(b)\nd\n", "old(c)\n")
    assert first.target == "c\n  b2(b)\nd\n"
    assert first.excerpt[first.cursor[0] :].startswith("old(b)")
    assert [event.diff for event in first.history] == ["@@ -1,3 +1,4 @@\n a\n-b\n+b\n+b2\n c\n"]
    assert not first.at_file_start
    # the region after the second edit shows that one made as well
    assert (second.before, second.region, second.target, second.after) == ("  b2(b)\n", "d\nold(c)\ne\n", "d\nb2(c)\ne\n", "")
    assert len(second.history) == 2
    assert first.labels == {"family": "replace", "history": "same file", "kind": "near"}


def test_the_region_ends_before_the_next_edit():
    old = [*lines(4), "x", "y"]
    steps = steps_of(old, LineChange(0, 1, ("line_2",)), LineChange(2, 3, ("line_2",)), LineChange(4, 5, ("line_2",)))
    (task, _), _ = made(steps, margin=(5, 5))
    assert task.region == "line_2\nline_2 = 2\nline_3 = 3\nline_4 = 4\n"
    assert task.after == "x\ny\n"
    assert task.at_file_start


def test_the_cursor_stands_at_the_end_of_the_line_after_which_lines_are_added():
    steps = steps_of(lines(5), LineChange(0, 1, ("use",)), LineChange(3, 3, ("  use",)))
    (task,), _ = made(steps, margin=(1, 1))
    assert (task.region, task.target) == ("line_3 = 3\nline_4 = 4\n", "line_3 = 3\n  use\nline_4 = 4\n")
    assert task.excerpt[: task.cursor[0]].endswith("line_3 = 3") and task.excerpt[task.cursor[0]] == "\n"


def test_lines_added_at_the_top_of_a_file_have_the_cursor_at_its_start():
    steps = steps_of(["a"], LineChange(0, 0, ("use",)), path="a.py") + steps_of(["b"], LineChange(0, 0, ("use",)), path="b.py")
    (task,), _ = made(steps)
    assert (task.cursor, task.region, task.target) == ((0, 0), "b\n", "use\nb\n")
    assert task.labels == {"family": "insert", "history": "other file", "kind": "cross file"}


def test_a_file_that_was_empty_has_no_region():
    steps = steps_of(["a"], LineChange(0, 1, ("b",)), path="a.py") + steps_of([], LineChange(0, 0, ("b",)), path="b.py")
    assert made(steps) == ([], {"nothing before it": 1, "too long": 1})


FIRST = LineChange(0, 1, ("known = 1",))


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (LineChange(5, 6, ("line_6  =  6",)), "whitespace only"),
        (LineChange(5, 6, ("line_6", "=6")), "whitespace only"),
        (LineChange(5, 5, ("known",) * 7), "mostly new text"),
        (LineChange(5, 16, ("known",) * 10), "too long"),
        (LineChange(5, 6, ("known" * 250,)), "too long"),
        (LineChange(5, 6, ("line_6 = 7ff2fd5dd3a438d62fae5866ddae78cf",)), "new words"),
        (LineChange(5, 6, ("unheard = of",)), "new words"),
    ],
)
def test_edits_that_nobody_should_be_asked_to_predict_are_counted_by_reason(change, reason):
    assert made(steps_of(lines(30), FIRST, change)) == ([], {"nothing before it": 1, reason: 1})


def test_half_of_the_new_words_may_stand_nowhere_and_old_ones_do_not_count():
    # of "known" and "of" one is shown; "line_6" was there before
    tasks, _ = made(steps_of(lines(30), FIRST, LineChange(5, 6, ("line_6 = known.of",))))
    assert len(tasks) == 1
    tasks, _ = made(steps_of(lines(30), FIRST, LineChange(5, 6, ("line_6 = known.of",))), max_new_words=0.49)
    assert tasks == []


def test_words_of_the_history_and_of_its_paths_are_shown_words():
    renamed = Step(HistoryEvent("rename", "fresh.py", old_path="stale.py"))
    tasks, rejects = made([renamed, *steps_of(lines(9), LineChange(5, 6, ("import fresh",)))])
    assert (len(tasks), rejects) == (1, {})  # "import" is new, "fresh" is not
    assert tasks[0].history == (renamed.event,)


def test_edits_of_blanks_are_made_but_not_shown():
    steps = steps_of(
        lines(30), LineChange(0, 1, ("line_1=1",)), LineChange(9, 10, ("line_1",)), LineChange(20, 21, ("line_1",))
    )
    tasks, rejects = made(steps)
    assert rejects == {"nothing before it": 1, "only blanks before it": 1}
    assert [event.diff for event in tasks[0].history] == [steps[1].event.diff]
    assert "line_1=1\n" in tasks[0].excerpt


def test_long_history_is_left_out_and_so_are_the_oldest_events_beyond_the_limit():
    steps = steps_of(
        lines(60), LineChange(0, 1, ("x" * 3000,)), *(LineChange(at, at + 1, ("line_9",)) for at in (10, 20, 30, 40))
    )
    tasks, rejects = made(steps, history_events=2)
    assert rejects == {"nothing before it": 1, "history too long": 1}
    assert [len(task.history) for task in tasks] == [1, 2, 2]
    assert tasks[2].history == (steps[2].event, steps[3].event)


def test_of_many_tasks_of_a_commit_some_are_drawn_the_same_ones_each_time():
    steps = steps_of(lines(100), *(LineChange(at, at + 1, ("line_9",)) for at in range(0, 100, 5)))
    tasks, rejects = made(steps)
    assert rejects == {"nothing before it": 1, "over tasks_per_commit": 15}  # 20 edits, 19 to predict, 4 drawn
    assert made(steps) == (tasks, rejects)
    drawn = {tuple(task.id for task in made(steps, seed=seed)[0]) for seed in range(5)}
    assert len(drawn) > 1
    assert all(len(ids) == 4 for ids in drawn)


def test_context_has_so_many_lines_and_characters():
    steps = steps_of(lines(60), FIRST, LineChange(30, 31, ("known",)))
    (task,), _ = made(steps, margin=(1, 1), context_lines=3)
    assert task.before == "line_27 = 27\nline_28 = 28\nline_29 = 29\n"
    # 13 characters a line: two fit into 27
    (task,), _ = made(steps, margin=(1, 1), max_context=27)
    assert (task.before, task.after) == ("line_28 = 28\nline_29 = 29\n", "line_33 = 33\nline_34 = 34\n")


def test_the_same_edit_in_the_same_place_gets_the_same_margins():
    one, two = (made(steps_of(lines(30), FIRST, LineChange(20, 21, ("known",)), path=path))[0][0] for path in ("a.py", "b.py"))
    assert (one.region, one.target) == (two.region, two.target)


@pytest.mark.parametrize(
    ("option", "sentence"),
    [
        ({"tasks_per_commit": 0}, "data.source.tasks_per_commit=0: need at least 1"),
        ({"margin": [0, 2]}, r"data.source.margin=\[0, 2\]: need two whole numbers, the first at least 1"),
        ({"margin": [3]}, "need two whole numbers"),
        ({"max_new_words": 1.5}, "data.source.max_new_words=1.5: need 0 to 1"),
        ({"context_lines": -1}, "data.source.context_lines=-1: need 0 or more"),
    ],
)
def test_wrong_options_are_named_with_what_is_allowed(option, sentence):
    with pytest.raises(UserError, match=sentence):
        TaskShape(**option)


def test_kinds_tell_how_far_the_edit_lies_from_the_last_thing_done():
    steps = steps_of(lines(90), LineChange(0, 1, ("line_9",)), LineChange(30, 31, ("line_9",)), LineChange(61, 62, ("line_9",)))
    tasks, _ = made(steps)
    # 30 rows further down, then 31
    assert [task.labels["kind"] for task in tasks] == ["near", "far"]


def test_a_half_typed_edit_is_begun_in_the_excerpt_and_in_the_history():
    steps = steps_of(lines(20), LineChange(0, 1, ("call(line_1)",)), LineChange(9, 10, ("call(line_10)",)))
    (task,), _ = made(steps, half_typed=1.0, margin=(1, 1))
    (whole,), _ = made(steps, margin=(1, 1))
    begun = task.region.split("\n")[1]
    assert "call(line_10)".startswith(begun) and begun not in ("", "call(line_10)")
    assert task.target == whole.target == "line_9 = 9\ncall(line_10)\nline_11 = 11\n"
    assert task.excerpt[: task.cursor[0]].endswith(f"\n{begun}") and task.excerpt[task.cursor[0]] == "\n"
    assert task.history[:-1] == whole.history
    assert f"-line_10 = 10\n+{begun}\n" in task.history[-1].diff and task.labels["kind"] == "half typed"
    assert made(steps, half_typed=1.0, margin=(1, 1)) == made(steps, half_typed=1.0, margin=(1, 1))


def test_a_half_typed_insertion_is_a_line_more():
    steps = steps_of(lines(20), LineChange(0, 1, ("use(line_1)",)), LineChange(9, 9, ("use(line_9)",)))
    (task,), _ = made(steps, half_typed=1.0, margin=(1, 1))
    first, begun, last = task.region.split("\n")[:-1]
    assert (first, last) == ("line_9 = 9", "line_10 = 10") and "use(line_9)".startswith(begun)
    assert task.target == "line_9 = 9\nuse(line_9)\nline_10 = 10\n"
    assert f" line_9 = 9\n+{begun}\n line_10 = 10\n" in task.history[-1].diff


def test_when_a_commit_is_done_there_is_nothing_left_to_predict():
    steps = steps_of(lines(20), LineChange(0, 1, ("line_9",)), LineChange(9, 10, ("line_9",)), path="a.py")
    steps += steps_of(lines(20), LineChange(4, 5, ("line_9",)), path="b.py")
    tasks, _ = made(steps, no_edit=0.5, margin=(1, 1))
    # two edits to predict, so two of the commit being done: one a file
    assert [task.no_edit for task in tasks] == [False, False, True, True]
    done = {task.path: task for task in tasks[2:]}
    for task in done.values():
        assert task.target == task.region and task.labels["kind"] == "no edit" and len(task.history) == 3
        assert task.history[-1].path == task.path
    assert done["a.py"].region == "line_9 = 9\nline_9\nline_11 = 11\n"
    assert made(steps, no_edit=0.0)[0] == [*made(steps, no_edit=0.5)[0][:2]]


@pytest.mark.parametrize(("setting", "value"), [("half_typed", 1.5), ("no_edit", 1.0)])
def test_shares_outside_their_range_are_refused(setting, value):
    with pytest.raises(UserError, match=rf"data\.source\.{setting}={value}"):
        TaskShape(**{setting: value})
