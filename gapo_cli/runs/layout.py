"""The files of a run's folder, each named once; the modules beside this one read and write them."""

from __future__ import annotations

CONFIG = "config.resolved.yaml"
HYDRA = ".hydra"
"""The folder that Hydra writes: what was typed, and which yaml of each group was chosen."""
OVERRIDES = ".hydra/overrides.yaml"
CHOICES = ".hydra/hydra.yaml"
ENVIRONMENT = "environment.json"
INPUTS = "inputs.json"
OUTCOME = "outcome.json"
METRICS = "metrics.jsonl"
REPORT = "report.html"
RERUN = "rerun.json"

ROLLOUTS = "rollouts"
"""The folder of a training run's rollouts, a parquet file a step."""
ROLLOUT_FILE = "rollouts.parquet"
"""What `gapo rollout` writes."""
EVALUATIONS = "eval"
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

LAB_PAGE = "lab.html"
LAB_TABLE = "lab.md"
LAB_ROWS = "lab.csv"
LAB_VALUES = "lab.json"

STATISTICS = "statistics.json"
STATISTICS_TABLE = "statistics.md"
STATISTICS_PLOT = "statistics.svg"

RESULTS = {"eval": EVALUATIONS, "rollout": ROLLOUT_FILE}
"""What a verb writes that an earlier run's may not be replaced by."""
CLOCKS = ("time_s", "timing_s/", "perf/")
"""How the keys of metrics begin that are read off a clock: no two runs have the same, resumed or not."""
