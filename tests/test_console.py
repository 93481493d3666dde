"""What a running command shows, on a terminal and elsewhere."""

import io

import pytest
from rich.console import Console

from gapo_cli.console import COLUMNS, IMPORTANT, ConsoleDisplay, cells, metrics_table


class Clock:
    def __init__(self):
        self.now = 0.0

    def __call__(self):
        return self.now


def display_on(terminal=False, **settings):
    stream, clock = io.StringIO(), Clock()
    console = Console(file=stream, force_terminal=terminal, width=100, highlight=False, color_system=None, legacy_windows=False)
    return ConsoleDisplay(console, clock=clock, **settings), stream, clock


def test_a_row_without_terminal_is_a_line_of_the_columns_it_has():
    display, stream, _ = display_on()
    display.metrics({"step": 3, "critic/score/mean": 0.51234, "actor/entropy": 0.25, "perf/throughput": 9.0})
    assert stream.getvalue() == "step 3  reward 0.512  entropy 0.250\n"


def test_rows_that_no_column_knows_are_not_shown():
    display, stream, _ = display_on()
    display.metrics({"perf/throughput": 9.0})
    assert stream.getvalue() == ""


def test_columns_that_no_row_has_are_left_out_of_the_table():
    rows = [cells({"step": 0, "val/exact_match": 0.25}), cells({"step": 1, "critic/score/mean": 0.5})]
    table = metrics_table(rows)
    assert [column.header for column in table.columns] == ["step", "reward", "val exact"]
    assert [list(column.cells) for column in table.columns] == [["0", "1"], ["", "0.500"], ["0.250", ""]]


def test_progress_without_terminal_is_told_every_ten_seconds_with_the_time_left():
    display, stream, clock = display_on()
    display.progress("work", 0, 100)
    for clock.now, done in ((1.0, 5), (9.0, 45), (12.0, 60), (13.0, 65), (23.0, 92)):
        display.progress("work", done, 100)
    # 60 in 12 s: 40 more take 8 s; 92 in 23 s: 8 more take 2 s
    assert stream.getvalue() == "work: 60/100, 8 s left\nwork: 92/100, 2 s left\n"


def test_work_that_is_over_within_two_seconds_shows_nothing_on_a_terminal_either():
    display, stream, clock = display_on(terminal=True)
    with display:
        display.progress("work", 0, 10)
        clock.now = 1.9
        display.progress("work", 9, 10)
        display.progress("work", 10, 10)
    assert stream.getvalue() == ""


def test_longer_work_gets_a_bar_on_a_terminal_that_goes_when_it_is_done():
    display, stream, clock = display_on(terminal=True)
    with display:
        display.progress("long [work]", 0, 10)
        clock.now = 2.5
        display.progress("long [work]", 5, 10)
        assert "long [work]" in drawn(display)
        assert "5/10" in drawn(display)
        display.progress("long [work]", 10, 10)
        assert "long" not in drawn(display)
    assert "long [work]" in stream.getvalue()


def drawn(display):
    stream = io.StringIO()
    Console(file=stream, width=100, color_system=None).print(display.renderable())
    return stream.getvalue()


def test_the_live_table_on_a_terminal_keeps_the_last_rows():
    display, stream, _ = display_on(terminal=True)
    with display:
        for step in range(40):
            display.metrics({"step": step, "critic/score/mean": 0.5})
        shown = drawn(display)
    assert " 39" in shown
    assert " 25" in shown
    assert " 24" not in shown
    assert "reward" in stream.getvalue()


def test_jobs_side_by_side_show_marked_lines_of_their_evaluations_only():
    display, stream, _ = display_on(prefix="[tau=0.3] ", only_evaluations=True)
    display.metrics({"step": 1, "critic/score/mean": 0.5})
    display.metrics({"step": 2, "val/exact_match": 0.5})
    display.say("done [bold]")
    assert stream.getvalue() == "[tau=0.3] step 2  val exact 0.500\n[tau=0.3] done [bold]\n"


def test_what_is_said_when_all_is_done_stands_after_the_table():
    display, stream, _ = display_on(terminal=True)
    with display:
        display.progress("training", 0, 1)
        display.metrics({"step": 1, "critic/score/mean": 0.5})
        display.say("still going")
        assert display.live is not None
        display.progress("training", 1, 1)
        display.say("checkpoint: here")
        assert display.live is None
    shown = stream.getvalue()
    assert shown.index("still going") < shown.rindex("0.500") < shown.index("checkpoint: here")


def test_text_breaks_between_words_and_never_inside_a_path():
    display, stream, _ = display_on(terminal=True)
    path = "/" + "long/" * 30
    display.say(f"{'word ' * 30}{path}")
    lines = stream.getvalue().splitlines()
    assert lines[-1] == path
    assert all(set(line.split()) == {"word"} and len(line) <= 100 for line in lines[:-1])


def test_a_pipe_gets_whole_lines(capsys):
    with ConsoleDisplay() as display:
        display.say("word " * 100)
    assert capsys.readouterr().out.rstrip() == ("word " * 100).rstrip()


@pytest.mark.parametrize("width", [20, 40, 60, 80, 200])
def test_a_narrow_terminal_shows_fewer_columns_and_whole_numbers(width):
    row = {column.title: f"{number}.1234" for number, column in enumerate(COLUMNS)}
    console = Console(width=width, file=io.StringIO())
    console.print(metrics_table([row], width))
    heading, values = console.file.getvalue().splitlines()
    assert "…" not in heading + values
    shown = [title for title in row if row[title] in values.split()]
    assert len(shown) == len(values.split())
    assert len(shown) >= min(width // 14, len(COLUMNS)), "room is used"
    assert "step" in shown


def test_every_column_has_its_place_among_the_important_ones():
    assert sorted(IMPORTANT) == sorted(column.title for column in COLUMNS)
