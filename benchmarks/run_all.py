"""All benchmarks, or those that are named, one after the other, each in a process of its own.

    python benchmarks/run_all.py --list
    python benchmarks/run_all.py packed_layout trl_step
    python benchmarks/run_all.py --model FOLDER        SmolLM2 from there

Results go to benchmarks/results and into the pages of docs/ that have a place for them. Nothing else should run on the machine
meanwhile. A benchmark that fails is named at the end; the others go on.
"""

from __future__ import annotations

import argparse
import importlib.util
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Benchmark:
    """`minutes`: about how long it takes on two cores of an AMD EPYC, where that is known. `needs`: a package that gapo does
    not bring. `takes_model`: it has an option --model."""

    what: str
    minutes: float | None
    script: str
    arguments: tuple[str, ...] = ()
    needs: str | None = None
    takes_model: bool = True

    @property
    def missing(self) -> bool:
        return self.needs is not None and importlib.util.find_spec(self.needs) is None


BENCHMARKS = {
    "advantages": Benchmark("advantages against per-group loops", 1, "advantages.py", takes_model=False),
    "rewards": Benchmark("rewards against a dynamic programme in Python", 1, "rewards.py", takes_model=False),
    "step_profile": Benchmark("where the time of a nano and of a SmolLM2 step goes", 3, "step_profile.py"),
    "processes": Benchmark("a step on two processes against one of two threads", None, "processes.py"),
    "ranks_alone": Benchmark("what the calls for several processes cost a process alone", 2, "ranks_alone.py"),
    "scaling": Benchmark("a step's cost by prompt length, answers, prompts", 15, "scaling.py"),
    "zero_advantages": Benchmark("updates without passes for advantages of 0", 4, "zero_advantages.py"),
    "robustness_terms": Benchmark(
        "what the terms jacobian and smoothness add to an update and a step", 6, "robustness_terms.py"
    ),
    "robustness_study": Benchmark(
        "exact match under perturbations, with and without the terms; trains 30 runs",
        None,
        "robustness_study.py",
        takes_model=False,
    ),
    "baselines_cost": Benchmark("DPO's update packed against padded, PPO's against GRPO's", None, "baselines_cost.py"),
    "packed_layout": Benchmark("packed against padded training passes, with peak memory", 30, "packed_layout.py"),
    "trl_step": Benchmark("a whole training step against TRL's", 24, "trl_step.py", needs="trl"),
    "trl_step_alike": Benchmark(
        "the same, TRL with our linear layers and its head on answers only, prompts of 512",
        6,
        "trl_step.py",
        ("--alike", "--prompts", "512"),
        needs="trl",
    ),
    "trl_step_gapo": Benchmark(
        "the same without KL, GAPO with answers of advantage 0 left out", 20, "trl_step.py", ("--gapo",), needs="trl"
    ),
    "torch_engine": Benchmark("rollouts against transformers' generate", 18, "torch_engine.py"),
    "logit_chunks": Benchmark(
        "log-probabilities in chunks of tokens against all at once", 5, "logit_chunks.py", takes_model=False
    ),
    "engine_throughput": Benchmark(
        "tokens a second of engine=vllm, engine=torch and generate", None, "engine_throughput.py", needs="vllm"
    ),
    "engine_agreement": Benchmark("log-probabilities of vLLM beside the trainer's", None, "engine_agreement.py", needs="vllm"),
    "plan_memory": Benchmark("gapo plan's memory beside measured peaks", None, "plan_memory.py"),
    "kill_and_resume": Benchmark("runs killed at any moment and resumed", None, "kill_and_resume.py", takes_model=False),
    "interval_coverage": Benchmark(
        "how often 95 % intervals hold the truth, simulated", 3, "interval_coverage.py", takes_model=False
    ),
    "format_round_trips": Benchmark(
        "answers of editors' formats, written and read back; --repos adds mined tasks",
        4,
        "format_round_trips.py",
        takes_model=False,
    ),
    "fuzz_parsers": Benchmark(
        "a hundred thousand broken answers for each format's parser", 5, "fuzz_parsers.py", takes_model=False
    ),
    "format_study": Benchmark("three formats taught to nano", None, "format_study.py", takes_model=False),
    "faults": Benchmark("signals, foreign folders, full disks and other faults", None, "faults.py", takes_model=False),
    "thread_spin": Benchmark("threads that wait, on a free and on a busy machine", 8, "thread_spin.py", takes_model=False),
}


def duration(minutes: float | None) -> str:
    return "  ?" if minutes is None else f"{minutes:3.0f}"


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BENCHMARKS)}; none: all")
    arguments.add_argument("--list", action="store_true", help="what there is and how long it takes")
    arguments.add_argument("--model", help="a folder, a hub name or gguf:PACKAGE, for all that take one")
    given = arguments.parse_args()
    unknown = [name for name in given.names if name not in BENCHMARKS]
    if unknown:
        arguments.error(f"{', '.join(unknown)}: need of {', '.join(BENCHMARKS)}")
    chosen = {name: BENCHMARKS[name] for name in given.names or BENCHMARKS}
    for name, one in chosen.items():
        note = f" (left out, needs: pip install {one.needs})" if one.missing else ""
        print(f"{name:20}{duration(one.minutes)} min  {one.what}{note}")
    runnable = {name: one for name, one in chosen.items() if not one.missing}
    print(
        f"together about {sum(one.minutes or 0 for one in runnable.values()):.0f} minutes, without those of unknown length",
        flush=True,
    )
    if given.list:
        return
    failed = []
    for name, one in runnable.items():
        print(f"\n=== {name}, about {duration(one.minutes).strip()} minutes", flush=True)
        started = time.monotonic()
        model = ["--model", given.model] if given.model and one.takes_model else []
        if subprocess.run([sys.executable, str(HERE / one.script), *model, *one.arguments], check=False).returncode:
            failed.append(name)
        print(f"=== {name}: {(time.monotonic() - started) / 60:.1f} minutes", flush=True)
    if failed:
        sys.exit(f"failed: {', '.join(failed)}")


if __name__ == "__main__":
    main()
