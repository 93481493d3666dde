"""The files of a run's folder, each named once; the modules beside this one read and write them."""

from __future__ import annotations

from pathlib import Path

CONFIG = "config.resolved.yaml"
HYDRA = ".hydra"
"""The folder that Hydra writes: what was typed, and which yaml of each group was chosen."""
OVERRIDES = ".hydra/overrides.yaml"
CHOICES = ".hydra/hydra.yaml"
ENVIRONMENT = "environment.json"
INPUTS = "inputs.json"
OUTCOME = "outcome.json"
METRICS = "metrics.jsonl"
RANKS = "ranks"
"""The folder of what the processes above rank 0 of a run on several have said."""
REPORT = "report.html"
RERUN = "rerun.json"

ROLLOUTS = "rollouts"
"""The folder of a training run's rollouts, a parquet file a step."""
ROLLOUT_FILE = "rollouts.parquet"
"""What `gapo rollout` writes."""
ROLLOUT_PARTS = "rollouts.parts"
"""The folder of what a `gapo rollout` that is under way has finished."""
PARTS_PLAN = "plan.json"
EVALUATIONS = "eval"
EVALUATION_TABLE = "evaluation.md"
COMPARISON = "comparison.json"
SCORES = "scores.parquet"
ROBUSTNESS = "robustness.json"
ROBUSTNESS_ANSWERS = "robustness.parquet"
CASES = "cases.html"
"""The page that an evaluation writes of its cases."""
ANSWERS = "answers.jsonl"
"""What a served model has answered so far: a run that was stopped goes on from it."""
INSPECTION = "stopped"
"""The folder of the batch that a guard stopped at."""

CHECKPOINTS = "checkpoints"
BEST = "best"
BEST_RECORD = "best.json"
FINAL = "final"
SUPERVISED = "supervised.json"
LEARNER = "learner.json"
"""What a training run's learner says of itself: its stage, its title, how many steps it will make and whether it samples."""
CHECKPOINT_MANIFEST = "manifest.json"
STATE_TENSORS = "trainer_state.safetensors"
STATE_VALUES = "trainer_state.json"

SWEEP_PLAN = "sweep.json"
SWEEP_TABLE = "sweep.md"
SWEEP_VALUES = "sweep.csv"
SWEEP_PLOT = "sweep.png"

STUDY = "study.json"
STUDY_VERDICTS = "verdicts.json"
STUDY_TABLE = "study.md"
STUDY_PAGE = "study.html"

SEARCH = "search.json"
FAMILY = "family.json"
SEARCH_PAGE = "evolve.html"
SEARCH_TABLE = "evolve.md"
SEARCH_VALUES = "evolve.json"
AVERAGED = "averaged"
"""The folder of the models that individuals of a search start from, where these are means of their parents'."""

LAB_PAGE = "lab.html"
LAB_TABLE = "lab.md"
LAB_ROWS = "lab.csv"
LAB_VALUES = "lab.json"
GRADIENTS_TABLE = "gradients.md"
GRADIENTS_ROWS = "gradients.csv"
GRADIENTS_VALUES = "gradients.json"

STATISTICS = "statistics.json"
STATISTICS_TABLE = "statistics.md"
STATISTICS_PLOT = "statistics.svg"

RESULTS = {"eval": EVALUATIONS, "rollout": ROLLOUT_FILE}
"""What a verb writes that an earlier run's may not be replaced by."""

STEP_PREFIX = "step-"


def rank_log(run_dir: Path, rank: int) -> Path:
    """What a process of rank 1 and above says goes there, and not to the screen."""
    return run_dir / RANKS / f"rank-{rank:05d}.log"


def step_name(step: int) -> str:
    """How files and folders of one step are called, without their suffix."""
    return f"{STEP_PREFIX}{step:05d}"


def steps_in(folder: Path, suffix: str = "") -> dict[int, Path]:
    """Step → path of what `folder` holds of it, by rising step; nothing where there is no such folder. `suffix`: as ".json",
    "" for a folder."""
    found = {}
    for path in folder.glob(f"{STEP_PREFIX}*{suffix}") if folder.is_dir() else ():
        number = path.name.removeprefix(STEP_PREFIX).removesuffix(suffix)
        if number.isdecimal():
            found[int(number)] = path
    return dict(sorted(found.items()))
