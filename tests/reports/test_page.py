import json
import re
import shutil
from html.parser import HTMLParser

import pytest
from synthetic_run import HOSTILE, write_run

from gapo_cli.errors import UserError
from gapo_cli.reports.page import write_markdown, write_report

VOID = {"meta", "img", "link"}


class Outline(HTMLParser):
    """Every start tag with its attributes; whether tags are closed in order; the text of each script."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.scripts = [], [], []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append((tag, dict(attributes)))

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"

    def handle_data(self, data):
        if self.open and self.open[-1] == "script":
            self.scripts.append(data)


@pytest.fixture(scope="module")
def page(finished_run, tmp_path_factory):
    return write_report([finished_run], tmp_path_factory.mktemp("page") / "report.html").read_text()


def test_the_page_stands_alone(page):
    outline = Outline(page)
    assert outline.open == []
    names = {tag for tag, _ in outline.tags}
    assert not names & {"link", "img", "iframe", "object"}
    assert not any("src" in attributes for _, attributes in outline.tags)
    assert all(attributes["href"].startswith("#") for tag, attributes in outline.tags if tag == "a")
    assert "@import" not in page and "url(" not in page


def test_whatever_a_model_said_stays_text(page):
    outline = Outline(page)
    # two scripts of ours: the data and the browser; none of the hostile text opened another tag
    assert [tag for tag, _ in outline.tags].count("script") == 2
    data = json.loads(outline.scripts[0])
    group = data[0]["steps"][0]["groups"][1]
    assert group["texts"][2]["raw"] == HOSTILE
    assert group["prompt"] == f"<prompt> {HOSTILE}"
    # in the page itself not a single one of its brackets is left bare
    assert "<img" not in page and "alert(1)</" not in page


def test_the_browser_never_parses_text_as_html(page):
    script = Outline(page).scripts[-1]
    assert not re.search(
        r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|\beval\(", script.replace("never through innerHTML", "")
    )


def test_the_page_says_what_was_run_and_what_noise_the_base_has(page):
    for words in (
        "nano (noisy base)",
        "GAPO tau=0.5",
        "ExactMatchAndSimilarity",
        "only 40 % of the outcomes were the finished edit",
    ):
        assert words in page
    assert "tau: 0.5" in page  # the whole config
    assert "torch" in page


def test_the_page_shows_results_before_and_after_beside_the_baselines(page):
    assert "25.0 % → 50.0 %" in page
    assert re.search(r"\+25\.0 points, 95 % interval \+1\d\.\d to \+3\d\.\d, paired by task", page)
    for row in (
        "before, greedy",
        "after, greedy",
        "before, sampled",
        "after, sampled",
        "copy the region",
        "repeat the replacement",
    ):
        assert f'<th scope="row">{row}</th>' in page
    assert '<th scope="row">other</th>' in page
    assert "3 min 30 s" in page and "best model: step 3" in page


def test_the_page_draws_the_curves_that_there_are(page):
    titles = re.findall(r"<strong>(.*?)</strong>", page)
    # those of the metrics that the run has, in the order of CURVES
    assert titles == [
        "Exact match on held-out tasks",
        "Reward",
        "Clip fraction",
        "Entropy",
        "Gradient norm",
        "Groups without spread",
        "Shares of the groups",
    ]
    assert page.count('class="area shape-') == 5
    assert "NaN" not in re.sub(r"<script.*?</script>", "", page, flags=re.DOTALL)


def test_several_runs_are_compared_by_what_differs(finished_run, tmp_path):
    other = write_run(tmp_path / "other", tau=0.3, planned=9)
    page = write_report([finished_run, other], tmp_path / "two.html").read_text()
    assert Outline(page).open == []
    assert "<h1>2 runs</h1>" in page
    header = re.findall(r'<th scope="col">(.*?)</th>', page)
    assert header[:3] == ["run", "tau", "steps"]
    assert "the run ended after step 3 of 9" in page
    assert page.count("only 40 % of the outcomes") == 1
    assert "Held-out exact match, greedy" in page and "Held-out exact match, sampled" in page
    assert [entry["run"] for entry in json.loads(Outline(page).scripts[0])] == ["finished", "other"]


def test_a_run_that_died_at_once_still_has_a_page(tmp_path):
    run = tmp_path / "died"
    (run / "rollouts").mkdir(parents=True)
    page = write_report([run], tmp_path / "report.html").read_text()
    assert Outline(page).open == []
    for missing in ("config.resolved.yaml", "environment.json", "metrics.jsonl", "rollouts/", "eval/"):
        assert f"died: {missing}" in page
    assert "group-data" not in page


@pytest.mark.parametrize(
    "missing", ["config.resolved.yaml", "environment.json", "metrics.jsonl", "rollouts", "eval", "checkpoints"]
)
def test_any_one_missing_part_leaves_the_rest(finished_run, tmp_path, missing):
    run = shutil.copytree(finished_run, tmp_path / "run")
    path = run / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    page = write_report([run], tmp_path / "report.html").read_text()
    assert Outline(page).open == []
    assert ('<ul class="missing">' in page) == (missing != "checkpoints")
    # exact match is in the metrics as well, the baselines are not
    assert "25.0 % → 50.0 %" in page and "Exact match on held-out tasks" in page
    assert ("repeat the replacement" in page) == (missing != "eval")


def test_an_evaluation_alone_has_results_and_no_curves(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "run", ignore=shutil.ignore_patterns("metrics.jsonl", "rollouts", "*00003*"))
    page = write_report([run], tmp_path / "report.html").read_text()
    assert "model, greedy" in page and "95 % interval 14.2 to 40.2" in page  # Wilson, 10 of 40
    assert 'id="curves"' not in page


def test_an_evaluations_page_of_cases_is_linked_from_where_the_report_lies(finished_run, tmp_path):
    run = tmp_path / 'a "run" #1'
    (run / "eval").mkdir(parents=True)
    (run / "eval/step-00000.json").write_bytes((finished_run / "eval" / "step-00000.json").read_bytes())
    assert ">Cases</a>" not in write_report([run], tmp_path / "report.html").read_text()
    (run / "cases.html").write_text("")
    assert '<a href="a%20%22run%22%20%231/cases.html">Cases</a>' in write_report([run], tmp_path / "report.html").read_text()
    assert '<a href="cases.html">Cases</a>' in write_report([run], run / "report.html").read_text()
    assert "target and answer: cases.html\n" in write_markdown([run], run / "report.md").read_text()
    both = write_report([run, finished_run], tmp_path / "both.html").read_text()
    assert both.count(">Cases</a>") == 1


def test_hostile_settings_and_names_are_escaped(finished_run, tmp_path):
    run = shutil.copytree(finished_run, tmp_path / "<b>run")
    config = run / "config.resolved.yaml"
    config.write_text(config.read_text().replace("name: nano", "name: '<script>alert(3)</script>'"))
    page = write_report([run], tmp_path / "report.html").read_text()
    assert "<b>run" not in page and "<script>alert(3)" not in page
    assert Outline(page).open == []


def test_a_path_that_is_no_run_is_one_sentence(tmp_path):
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match="holds neither a run nor a sweep; name a folder that gapo train"):
        write_report([tmp_path / "empty"], tmp_path / "report.html")
    with pytest.raises(UserError, match="nowhere: no such folder"):
        write_report([tmp_path / "nowhere"], tmp_path / "report.html")
    assert not (tmp_path / "report.html").exists()


def test_markdown_holds_the_same_tables(finished_run, tmp_path):
    text = write_markdown([finished_run], tmp_path / "report.md").read_text()
    assert "- exact match, greedy: 25.0 % → 50.0 % (+25.0 points" in text
    assert "| repeat the replacement |" in text
    two = write_markdown([finished_run, write_run(tmp_path / "other", tau=0.3)], tmp_path / "two.md").read_text()
    assert "| run | tau | greedy before | greedy after |" in two
