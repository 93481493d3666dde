"""README, docs, help and comments: links resolve, what they name exists, generated pages are current, the words are plain."""

import ast
import importlib.util
import io
import re
import shlex
import tokenize
from dataclasses import fields
from pathlib import Path

import pytest
from typer.main import get_command

from gapo_cli.cli.entry import app
from gapo_cli.errors import UserError
from gapo_cli.launching.composition import command_overrides, compose_overrides, open_tree
from gapo_cli.launching.perturbation_choice import with_perturbations
from gapo_cli.records import EditTask
from gapo_cli.tasks.row_schema import EVENT_FIELDS, HINT, ROW, SOURCE

ROOT = Path(__file__).parents[1]
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "data" / "README.md", *(ROOT / "docs").rglob("*.md")])
LINK = re.compile(r"\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
CODE = re.compile(r"^```(?s:.*?)^```|^ {4}.*$", re.MULTILINE)
FILE = re.compile(r"`((?:gapo_cli|conf|benchmarks|tests|docs|\.ci)/[\w./-]+)`")
TEST = re.compile(r"`(tests/[\w/]+\.py)::(test_\w+)`")
SITUATION = re.compile(r"^- (.+)\. `(tests/[\w/]+\.py)`$", re.MULTILINE)
ADDRESS = re.compile(r"`gapo_cli\.[\w.]+`")
COMMAND = re.compile(r"^ {4}gapo (train|prepare|rollout|eval|plan|doctor)\b((?:.*\\\n)*.*)$", re.MULTILINE)
SHORTHAND = re.compile(r"`([A-Z]+)` stands for[^\n]*\n\n {4}(.*)$", re.MULTILINE)
AVOIDED = re.compile(
    r"\b(?:un)?reckon|\bhangs? on\b|\bbe had\b|\banew\b|\bthe data are others\b|\bothers break\b", re.IGNORECASE
)
"""Words that a newcomer must read twice. Instead: estimate, depends on, available, recomputed or again."""

pages = pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))


def make_reference():
    spec = importlib.util.spec_from_file_location("make_reference", ROOT / "docs" / "make_reference.py")
    module = importlib.util.module_from_spec(spec)
    # dataclasses look their module up
    importlib.sys.modules[spec.name] = module
    spec.loader.exec_module(module)
    return module


def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = HEADING.findall(CODE.sub("", page.read_text()))
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pages
def test_links_lead_to_files_and_headings_that_exist(page):
    for target in LINK.findall(CODE.sub("", page.read_text())):
        if target.startswith(("http://", "https://")):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        assert not anchor or anchor in anchors(file), target


@pages
def test_files_that_a_page_names_exist(page):
    for name in FILE.findall(page.read_text()):
        if not re.search(r"NAME|SPLIT|best_of_group", name):
            assert (ROOT / name).exists(), name


@pages
def test_addresses_in_the_code_that_a_page_names_exist(page):
    for address in ADDRESS.findall(page.read_text()):
        if "best_of_group" in address:
            continue
        parts = address.strip("`").split(".")
        module = next(
            n
            for n in range(len(parts), 0, -1)
            if (ROOT / Path(*parts[:n])).is_dir() or (ROOT / f"{'/'.join(parts[:n])}.py").is_file()
        )
        missing = parts[module:]
        if missing:
            source = (ROOT / f"{'/'.join(parts[:module])}.py").read_text()
            assert re.search(rf"^(?:class|def) {missing[0]}\b", source, re.MULTILINE), address


@pages
def test_tests_that_a_page_names_exist(page):
    for file, name in TEST.findall(page.read_text()):
        assert f"\ndef {name}(" in (ROOT / file).read_text(), f"{file}::{name}"


def test_every_situation_of_the_page_of_faults_is_the_name_of_a_test():
    situations = SITUATION.findall((ROOT / "docs" / "reference" / "reliability.md").read_text())
    assert len(situations) >= 100
    for sentence, file in situations:
        assert f"\ndef test_{sentence.lower().replace(' ', '_')}(" in (ROOT / file).read_text(), sentence


def test_every_page_is_listed_in_the_index():
    index = ROOT / "docs" / "README.md"
    linked = {(index.parent / target).resolve() for target in LINK.findall(index.read_text())}
    assert {page for page in PAGES if index.parent in page.parents and page != index} <= linked


def test_every_command_of_the_readme_exists():
    named = set(re.findall(r"`gapo ([a-z-]+)", (ROOT / "README.md").read_text()))
    assert named == set(get_command(app).commands)


def commands_of(page: Path) -> list[tuple[str, list[str]]]:
    """Verb and settings of the commands that a page gives to be typed. Left out are what needs a run that is there, and commands
    with files of the user's own."""
    text = page.read_text()
    shorthand = dict(SHORTHAND.findall(text))
    found = []
    for verb, line in COMMAND.findall(text):
        line = re.sub(r"\b[A-Z]+\b(?!=)", lambda word: shorthand.get(word[0], word[0]), line.replace("\\\n", " "))
        words = shlex.split(line, comments=True)
        if not {"--config-dir", "--rerun"} & set(words):
            of_a_run = ("-", "...", "run=", "resume=")
            found.append((verb, [word for word in words if not word.startswith(of_a_run)]))
    return found


@pytest.mark.slow
def test_every_command_of_the_pages_composes():
    commands = [(page, verb, words) for page in PAGES for verb, words in commands_of(page)]
    assert len(commands) > 80
    with open_tree(None) as hydra:
        for page, verb, words in commands:
            try:
                compose_overrides(hydra, with_perturbations(hydra, command_overrides(verb, words)))
            except UserError as error:
                pytest.fail(f"{page.name}: gapo {verb} {shlex.join(words)}: {error}")


def test_generated_pages_are_current():
    for path, text in make_reference().pages().items():
        assert path.read_text() == text, f"{path.name}: run python docs/make_reference.py"


def test_every_setting_says_what_it_means():
    tables = re.findall(r"^\| key \|.*\n\| ---.*\n((?:\|.*\n)+)", make_reference().settings_page(), re.MULTILINE)
    rows = [row for table in tables for row in table.splitlines()]
    assert len(rows) > 100
    assert [row for row in rows if row.endswith("|  |")] == []


def test_every_file_that_a_run_writes_is_in_the_page_of_files(finished_run):
    reference = make_reference()
    names = reference.file_names()
    described = {names[key] for files in reference.FILES.values() for key in files}
    beginnings = {"STEP_PREFIX"}
    folders = {"BEST", "FINAL"}  # of checkpoints
    parts_of_hydra = {"OVERRIDES", "CHOICES"}
    assert {key for key in names if names[key] not in described} <= folders | parts_of_hydra | beginnings
    written = {path.name for path in finished_run.iterdir()}
    assert written <= described


def test_every_column_of_a_rollout_file_is_in_the_page_of_rollouts(finished_run):
    import pandas as pd

    columns = pd.read_parquet(next((finished_run / "rollouts").iterdir())).columns
    page = (ROOT / "docs" / "reference" / "rollouts.md").read_text()
    assert [name for name in columns if f"`{re.sub('component_.*', 'component_NAME', name)}`" not in page] == []


def first_column(table: str) -> set[str]:
    """The names in the first cells of a table's rows."""
    return {name for cell in re.findall(r"^\| (`[^|]*`) \|", table, re.MULTILINE) for name in re.findall(r"`(\w+)`", cell)}


def test_every_field_of_a_task_is_in_the_page_of_tasks():
    page = (ROOT / "docs" / "reference" / "tasks.md").read_text()
    tables = [first_column(section) for section in page.split("\n## ")]
    assert tables == [set(ROW.checks), set(EVENT_FIELDS.checks), set(HINT.checks)]
    assert set(ROW.checks) == {field.name for field in fields(EditTask)}
    (source,) = re.findall(r"^\| `source` \|.*", page, re.MULTILINE)[:1]
    assert [name for name in SOURCE.checks if f"`{name}`" not in source] == []


def plain_words(text: str) -> list[str]:
    return [found[0] for found in AVOIDED.finditer(" ".join(text.split()))]


@pages
def test_pages_use_plain_words(page):
    assert plain_words(page.read_text()) == []


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_comments_of_yaml_files_use_plain_words(path):
    assert plain_words(path.read_text()) == []


def strings_and_comments(path: Path) -> str:
    """All strings, docstrings and comments of a module; what a template has between braces is left out."""
    source = path.read_text()
    texts = [
        node.value for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Constant) and isinstance(node.value, str)
    ]
    comments = [
        token.string.lstrip("# ")
        for token in tokenize.generate_tokens(io.StringIO(source).readline)
        if token.type == tokenize.COMMENT
    ]
    return "\n".join(texts + comments)


@pytest.mark.slow
def test_messages_docstrings_and_comments_of_the_code_use_plain_words():
    found = {
        str(path.relative_to(ROOT)): words
        for folder in ("gapo_cli", "benchmarks")
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (words := plain_words(strings_and_comments(path)))
    }
    assert found == {}


def test_the_help_of_each_command_uses_plain_words():
    for name, command in get_command(app).commands.items():
        with command.make_context(name, ["--help"], resilient_parsing=True) as context:
            text = command.get_help(context)
        assert len(text) > 100
        assert plain_words(text) == []
