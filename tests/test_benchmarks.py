"""The benchmarks run: on shapes so small that their numbers say nothing, with their results elsewhere."""

import contextlib
import gc
import importlib
import importlib.util
import json
import sys
import time
from pathlib import Path

import pytest
from parts import smallest, write_tasks

BENCHMARKS = Path(__file__).parents[1] / "benchmarks"


@pytest.fixture(autouse=True)
def little_garbage():
    """Before each measurement garbage is collected, for which all that the tests have imported need not be gone through."""
    gc.freeze()


@pytest.fixture
def benchmark(monkeypatch, tmp_path):
    """Runs a benchmark with arguments; its results as JSON."""
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    (tmp_path / "performance.md").write_text("before\n<!-- packed_layout -->\nold\n<!-- end of packed_layout -->\nafter\n")

    def run(name, *arguments, published=None):
        for module in ("tables", name):
            loaded = importlib.import_module(module)
            for constant in ("RESULTS", "PAGES"):
                if hasattr(loaded, constant):
                    monkeypatch.setattr(loaded, constant, tmp_path)
        monkeypatch.setattr(sys, "argv", [name, "--threads", "1", "--repeats", "2", *arguments])
        sys.modules[name].main()
        return json.loads((tmp_path / f"{published or name}.json").read_text())["rows"]

    return run


def test_all_of_them_are_in_run_all_and_can_be_imported(benchmark):
    shared = {"measure", "tables", "stopwatch", "our_step", "source_prompts", "endless", "run_all"}
    shared |= {"prefix_grouper_pass", "waiting_run"}
    on_a_gpu = {"gpu", "random_qwen", "timed_parts"}  # by itself, and writes no page
    scripts = {path.stem for path in BENCHMARKS.glob("*.py")} - shared - on_a_gpu
    known = importlib.import_module("run_all").BENCHMARKS.values()
    assert {Path(one.script).stem for one in known} == scripts
    for name in sorted(scripts):
        importlib.import_module(name)


@pytest.mark.slow
def test_processes(benchmark, warm_python, tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder)
    before = str(BENCHMARKS.parent)
    rows = benchmark("processes", "--models", "nano", "--before", before, "--repeats", "1", "--overrides", *words)
    assert [row["rival"] for row in rows] == ["one process", "one process, before"]
    assert all(len(row[key]) == 1 for row in rows for key in ("ours_seconds", "rival_seconds"))


@pytest.mark.slow
def test_ranks_alone(benchmark, tiny_model_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    words = smallest(write_tasks(tmp_path / "mine.jsonl"), tiny_model_folder)
    (row,) = benchmark("ranks_alone", "--models", "nano", "--repeats", "1", "--overrides", *words)
    assert row["calls"][0] > 5
    assert 0 < row["calls_seconds"][0] < row["cpu_seconds"][0]


@pytest.mark.slow
def test_the_script_for_a_gpu_runs_all_its_parts_on_next_to_nothing(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    monkeypatch.chdir(tmp_path)
    arguments = ["--tiny", "--device", "cpu", "--threads", "1", "--output", str(tmp_path / "gpu.json")]
    monkeypatch.setattr(sys, "argv", ["gpu", *arguments])
    importlib.import_module("gpu").main()
    parts = json.loads((tmp_path / "gpu.json").read_text())["parts"]
    of_size = [f"{part}, {size}" for size in ("tiny", "tiny, LoRA") for part in ("passes", "memory", "steps")]
    assert list(parts) == ["agreement", "recompilations", "doctor", *of_size]
    assert {name: part["ended"] for name, part in parts.items() if part["ended"] != "done"} == {}
    assert parts["agreement"]["found"]["float32, packed"]["gradient_apart"] < 1e-5
    assert {check["holds"] for check in parts["doctor"]["found"]["float32"]["checks"]} == {True}


def test_a_part_that_fails_or_takes_too_long_leaves_the_others_their_time(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCHMARKS))
    parts = importlib.import_module("timed_parts").TimedParts(tmp_path / "parts.json", seconds=100, about={})

    def fails(found):
        found["so far"] = 1
        raise ValueError("no such kernel")

    def never_ends(found):
        found["so far"] = 2
        while True:
            with contextlib.suppress(Exception):
                time.sleep(1)

    parts.run("fails", 10, fails)
    parts.run("never ends", 0.1, never_ends)
    parts.run("good", 10, lambda found: found.update(answer=3))
    parts.seconds = 0
    parts.run("late", 10, fails)
    kept = json.loads((tmp_path / "parts.json").read_text())["parts"]
    assert [(part["ended"], part["found"]) for part in kept.values()] == [
        ("ValueError: no such kernel", {"so far": 1}),
        ("OutOfTime: used its 0 seconds", {"so far": 2}),
        ("done", {"answer": 3}),
        ("not begun: out of time", {}),
    ]


@pytest.mark.slow
@pytest.mark.parametrize("of_gapo", [False, True])
def test_trl_step(benchmark, tiny_model_folder, of_gapo):
    pytest.importorskip("trl", reason="TRL is not installed: pip install 'gapo-cli[trl]'")
    size = ["--prompts", "40", "--new-tokens", "8", "--repeats", "4"]
    name = "trl_step_gapo" if of_gapo else "trl_step"
    words = ["--model", str(tiny_model_folder), *size, *(["--gapo"] if of_gapo else [])]
    (row,) = benchmark("trl_step", *words, published=name)
    assert len(row["cpu_seconds"]["ours"]) == len(row["cpu_seconds"]["rival"]) == 4
    passes = {part: found["ours"] > 0 for part, found in row["parts"].items()}
    assert passes["forward and backward"] and passes["rollouts"]
    assert passes["reference pass"] is not of_gapo
    assert (row["parts"]["reference pass"]["rival"] > 0) is not of_gapo


@pytest.mark.slow
def test_packed_layout(benchmark, tiny_model_folder, tmp_path):
    row, *others = benchmark("packed_layout", "--model", str(tiny_model_folder), "--shapes", "40,8,4", "--no-memory")
    # the second rival is a package that not every machine has
    assert [other["rival"] for other in others] == (["prefix_grouper"] if importlib.util.find_spec("prefix_grouper") else [])
    # padded 4 x (40 + 7) tokens, packed 40 + 4 x 7
    assert row["theory_tokens"] == pytest.approx(188 / 68)
    assert len(row["cpu_seconds"]["ours"]) == len(row["cpu_seconds"]["rival"]) == 2
    page = (tmp_path / "performance.md").read_text()
    assert "| 40, 8, 4 |" in page
    assert "old" not in page
    assert page.startswith("before") and page.endswith("after\n")
    # the command for the same again has the changed options and no path
    again = "python benchmarks/packed_layout.py --shapes 40,8,4 --repeats 2 --threads 1 --no-memory"
    assert f"Run it again: `{again}`" in (tmp_path / "packed_layout.md").read_text()


@pytest.mark.slow
def test_scaling(benchmark, tiny_model_folder, tmp_path):
    sizes = ["--lengths", "16", "32", "--group-sizes", "2", "4", "--prompts", "1", "2", "--prompt", "32", "--group-size", "2"]
    rows = benchmark("scaling", "--model", str(tiny_model_folder), "--layers", "0", "--new-tokens", "4", *sizes)
    assert [(row["prompts"], row["prompt"], row["group_size"]) for row in rows] == [
        (1, 16, 2), (1, 32, 2), (1, 32, 2), (1, 32, 4), (1, 16, 2), (2, 16, 2),
    ]  # fmt: skip
    # twice the prompts are twice the operations
    assert rows[5]["theory_seconds"] == pytest.approx(2 * rows[4]["theory_seconds"])
    assert (tmp_path / "scaling.svg").is_file()


@pytest.mark.slow
def test_step_profile(benchmark, tiny_model_folder, tmp_path):
    tasks = write_tasks(tmp_path / "tasks.jsonl")
    overrides = [*smallest(tasks, tiny_model_folder), f"data.directory={tmp_path / 'data'}"]
    (row,) = benchmark("step_profile", "--models", "nano", "--overrides", *overrides)
    assert len(row["cpu_seconds"]) == 2
    assert {"rollouts", "forward", "loss and backward", "optimizer", "rewards", "rollouts to parquet", "all else"} <= set(
        row["parts"][0]
    )
    for cpu, parts in zip(row["cpu_seconds"], row["parts"], strict=True):
        assert sum(parts.values()) == pytest.approx(cpu)


@pytest.mark.slow
def test_torch_engine(benchmark, tiny_model_folder):
    sizes = ["--prompt-tokens", "24", "--group-size", "3", "--new-tokens", "5"]
    rows = benchmark("torch_engine", "--model", str(tiny_model_folder), *sizes)
    assert [row["rival"] for row in rows] == ["generate", "generate, our linear layers"]
    assert all(len(row["cpu_seconds"]["ours"]) == len(row["cpu_seconds"]["rival"]) == 2 for row in rows)


@pytest.mark.slow
def test_zero_advantages(benchmark, tiny_model_folder, monkeypatch):
    sizes = ["--groups", "8", "--prompts", "3", "--prompt", "12", "--answer", "4"]
    rows = benchmark("zero_advantages", "--model", str(tiny_model_folder), *sizes, "--repeats", "1")
    assert [(row["setting"], row["rival"]) for row in rows] == [
        ("nano", "every completion"), ("nano", "whole groups left out"),
        ("smollm2-135m", "every completion"), ("smollm2-135m", "whole groups left out"),
    ]  # fmt: skip
    assert all(0.5 < row["zero_share"] < 1 and row["computed_tokens"] < 0.5 for row in rows)
    assert all(len(row["cpu_seconds"]["ours"]) == 1 for row in rows)


@pytest.mark.slow
def test_robustness_terms(benchmark, tiny_model_folder):
    sizes = ["--groups", "4", "--prompts", "4", "--prompt", "12", "--answer", "4"]
    rows = benchmark("robustness_terms", "--model", str(tiny_model_folder), *sizes, "--models", "smollm2-135m")
    assert [row["rival"] for row in rows] == [
        "jacobian, a quarter of the prompts", "jacobian, every prompt", "smoothness", "jacobian, a quarter, and smoothness",
    ]  # fmt: skip
    assert all(len(row["share_of_step"]) == 2 and row["setting"] == "smollm2-135m" for row in rows)


@pytest.mark.slow
def test_baselines_cost(benchmark, tiny_model_folder):
    sizes = ["--groups", "4", "--prompts", "2", "--prompt", "12", "--answer", "4"]
    rows = benchmark("baselines_cost", "--model", str(tiny_model_folder), *sizes, "--repeats", "1")
    assert [(row["setting"], row["rival"]) for row in rows] == [
        (f"{model}: {first}", second)
        for model in ("nano", "smollm2-135m")
        for first, second in (("DPO, packed", "DPO, padded"), ("GRPO", "PPO, critic=copy"), ("GRPO", "PPO, critic=head"))
    ]
    assert all(len(row["cpu_seconds"]["ours"]) == len(row["cpu_seconds"]["rival"]) == 1 for row in rows)
    assert all(len(row["step_ratio"]) == 1 for row in rows if row["rival"].startswith("PPO"))


@pytest.mark.slow
def test_logit_chunks(benchmark):
    rows = benchmark("logit_chunks", "--tokens", "12", "--width", "8", "--vocabulary", "50", "--chunks", "5", "12")
    assert [row["setting"] for row in rows] == ["5", "12"]
    assert all(len(row["cpu_seconds"]["ours"]) == len(row["cpu_seconds"]["rival"]) == 2 for row in rows)


def test_thread_spin(benchmark, monkeypatch, tmp_path):
    monkeypatch.setattr(importlib.import_module("thread_spin"), "gapo", lambda: [sys.executable, "-c", "pass"])
    free, busy = benchmark("thread_spin", "--jobs", "1", "--data", str(tmp_path))
    assert (free["setting"], busy["setting"]) == ("free", "beside 1 busy processes")
    assert all(
        len(row[cost][side]) == 2
        for row in (free, busy)
        for cost in ("cpu_seconds", "wall_seconds")
        for side in ("ours", "rival")
    )
    assert str(tmp_path) not in (tmp_path / "thread_spin.md").read_text()
