"""The table of a sweep, by hand."""

import math

import pytest

from gapo_cli.reports.sweep_table import job_rows, markdown, plot, text_rows
from gapo_cli.statistics.over_seeds import JobRecord, settings_table


def job(number, setting, seed, greedy, error=None, clip=(0.1, 0.3)):
    rows = [{"step": step, "val/exact_match": value} for step, value in enumerate(greedy)]
    rows += [{"step": step, "actor/pg_clipfrac": value} for step, value in enumerate(clip, start=1)]
    return JobRecord(number, setting, seed, tuple(rows), 10.0 + number, error)


JOBS = [
    job(0, "tau=0.3", "0", (0.1, 0.5, 0.4)),
    job(1, "tau=0.3", "1", (0.1, 0.2, 0.2)),
    job(2, "tau=0.5", "0", (0.1, 0.5, 0.5)),
    job(3, "tau=0.5", "1", (0.1, 0.4, 0.5)),
    job(4, "tau=0.5", "2", (0.1, 0.9, 0.9), error="no memory"),
    job(5, "tau=0.7", "0", (), error="never started"),
]


def test_the_numbers_of_a_job_are_its_first_last_and_best_evaluation():
    values = JOBS[0].values()
    assert (values["greedy_first"], values["greedy_final"], values["greedy_best"]) == (0.1, 0.4, 0.5)
    assert values["clip_fraction"] == pytest.approx(0.2)  # mean of 0.1 and 0.3
    assert math.isnan(values["sampled_final"])


def test_a_job_that_failed_shows_nothing_after_whatever_it_had_measured():
    stopped_at_once = job(6, "tau=0.7", "1", (0.25,), error="the reward raised")
    assert job_rows([stopped_at_once]) == [("6", "tau=0.7", "1", "–", "–", "16.0 s", "FAILED: the reward raised")]
    values = stopped_at_once.values()
    assert values["greedy_first"] == 0.25
    assert math.isnan(values["greedy_final"]) and math.isnan(values["greedy_best"])


def test_settings_have_mean_and_spread_over_seeds_and_failed_jobs_count_only_as_failed():
    first, second, third = settings_table(JOBS).to_dict("records")
    assert (first["runs"], first["failed"], second["runs"], second["failed"], third["runs"], third["failed"]) == (
        2,
        0,
        2,
        1,
        0,
        1,
    )
    # 0.4 and 0.2: mean 0.3, deviations 0.1, ddof 1: sqrt(0.02 / 1)
    assert first["greedy_final_mean"] == pytest.approx(0.3)
    assert first["greedy_final_std"] == pytest.approx(math.sqrt(0.02))
    # the failed job's 0.9 does not enter
    assert second["greedy_final_mean"] == pytest.approx(0.5)
    assert second["greedy_best_mean"] == pytest.approx(0.5)
    assert math.isnan(third["greedy_final_mean"])


def test_differences_are_against_the_first_setting_of_the_same_seed():
    first, second, third = settings_table(JOBS).to_dict("records")
    # seed 0: 0.5 - 0.4 = 0.1; seed 1: 0.5 - 0.2 = 0.3; mean 0.2, spread sqrt(2 * 0.01)
    assert second["greedy_final_difference_mean"] == pytest.approx(0.2)
    assert second["greedy_final_difference_std"] == pytest.approx(math.sqrt(0.02))
    # both differences are positive: 2 of 4 sign patterns are as far from 0
    assert second["greedy_final_difference_p"] == pytest.approx(0.5)
    assert (first["greedy_final_pairs"], second["greedy_final_pairs"], third["greedy_final_pairs"]) == (0, 2, 0)
    assert math.isnan(first["greedy_final_difference_mean"])


def test_text_shows_mean_and_spread_and_says_what_is_missing():
    rows = text_rows(settings_table(JOBS))
    assert rows[1][:4] == ("tau=0.5", "2/3 (1 failed)", "0.100 ± 0.000", "0.500 ± 0.000")
    # t(0.975, 1) = 12.706; error sqrt(0.02 / 2) = 0.1
    assert rows[1][8] == "+0.200 [-1.071, +1.471]"
    assert set(rows[2][2:]) == {"–"}


def test_a_job_that_failed_says_why_whatever_characters_are_in_it():
    assert job_rows(JOBS)[4][-1] == "FAILED: no memory"
    written = markdown([job(0, "a", "0", (0.1,), error="a | b\nc")], "gapo sweep a=1,2")
    assert "FAILED: a \\| b c |" in written


def test_the_plot_is_drawn_even_where_every_job_failed(tmp_path):
    for name, jobs in (("some.png", JOBS), ("none.png", JOBS[4:])):
        plot(jobs, tmp_path / name)
        assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")
