"""The folder that verl trains from: rows, settings, parts, tokenizer and run.sh; whole, or not there.

Prompts are handed over as token ids: transformers' AutoTokenizer rebuilds the tokenizers of some model types, and the same text would
be other tokens.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.integrations.verl_limits import named
from gapo_cli.integrations.verl_parts import HandedOver, shipped_estimators
from gapo_cli.integrations.verl_settings import (
    OWN_ESTIMATOR,
    PARTS_FILE,
    TOKENIZER_FOLDER,
    TRAIN_FILE,
    VALIDATION_FILE,
    VERL,
    Cluster,
    Handed,
    settings_lines,
)
from gapo_cli.models.prompt_tokens import encode_texts
from gapo_cli.models.special_tokens import end_tokens, ids_without_token
from gapo_cli.models.tokenizer_files import save_tokenizer
from gapo_cli.rollouts.sampling import with_stops
from gapo_cli.storage.files import write_json, write_text
from gapo_cli.storage.whole_folder import whole_folder

if TYPE_CHECKING:
    from gapo_cli.rollouts.encoding import EncodedTask

SETTINGS_FILE, RECORD_FILE, RUN_FILE, README_FILE = "settings.txt", "handover.json", "run.sh", "README.md"
RUN = """\
#!/usr/bin/env bash
# Trains with verl what gapo handed over; further words are verl's overrides and win. Where it was stopped, it goes on.
set -euo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")"
settings=()
while IFS= read -r line; do
    [[ -z "$line" || "$line" == "#"* ]] || settings+=("${line//'$FOLDER'/$PWD}")
done < settings.txt
exec "${PYTHON:-python3}" -m verl.trainer.main_ppo "${settings[@]}" "$@"
"""


@dataclass(frozen=True)
class PartsAsWritten:
    """The pluggable parts as the composed yaml has them: a `_target_` and its settings."""

    template: Mapping[str, Any]
    reward: Mapping[str, Any]
    estimator: Mapping[str, Any]


def write_handover(
    folder: Path,
    experiment: Experiment,
    parts: PartsAsWritten,
    cluster: Cluster,
    model: Path,
    tokenizer: Any,
    training: Sequence[EncodedTask],
    held_out: Sequence[EncodedTask],
) -> None:
    """`model`: the local folder of `experiment.model`; `training`, `held_out`: in the order in which they are to be asked. Raises
    UserError for too few tasks, and for stop texts that verl cannot stop at."""
    steps = experiment.trainer.prompts_per_step
    if len(training) < steps:
        raise UserError(
            f"trainer.prompts_per_step={steps}: there are {len(training)} training tasks that fit; need at most that"
        )
    parts_file = handed_over(experiment, parts, model, tokenizer)
    name, settings = estimator_of(parts.estimator)
    longest = max(len(one.token_ids) for one in (*training, *held_out))
    handed = Handed(model_path(experiment, model), name, settings, len(training), longest)
    lines = settings_lines(experiment, cluster, handed)
    with whole_folder(folder) as written:
        written.mkdir()
        write_rows(written / TRAIN_FILE, training)
        write_rows(written / VALIDATION_FILE, held_out)
        parts_file.write(written / PARTS_FILE)
        save_tokenizer(tokenizer, written / TOKENIZER_FOLDER)
        write_text(written / SETTINGS_FILE, "".join(f"{line}\n" for line in lines))
        write_text(written / RUN_FILE, RUN)
        write_text(written / README_FILE, readme(experiment, cluster))
        write_json(written / RECORD_FILE, {"trainer": "verl", "version": VERL, "model": handed.model})
    (folder / RUN_FILE).chmod(0o755)


def handed_over(experiment: Experiment, parts: PartsAsWritten, model: Path, tokenizer: Any) -> HandedOver:
    """With the tokens that end an answer: those of the model's files, and the stop texts', each of which must be one token, for
    verl's engine reads no text. Raises UserError for another."""
    from transformers import AutoConfig, GenerationConfig

    config = AutoConfig.from_pretrained(model, trust_remote_code=experiment.model.trust_remote_code).get_text_config()
    generation = GenerationConfig.from_pretrained(model) if (model / "generation_config.json").is_file() else None
    ends = end_tokens(tokenizer, config, generation)
    stops = list(with_stops(experiment.sampling, experiment.template).stop)
    stop_ids = []
    for text, ids in zip(stops, encode_texts(tokenizer, stops), strict=True):
        if len(ids) != 1:
            raise UserError(
                f"the stop text {text!r} is {len(ids)} tokens of this model: verl can stop at one token only; choose another prompt="
            )
        stop_ids += [one for one in ids if one not in ends]
    return HandedOver(
        template=parts.template,
        reward=parts.reward,
        overlong=experiment.algorithm.overlong,
        max_new_tokens=experiment.sampling.max_new_tokens,
        end_ids=ends,
        stop_ids=stop_ids,
        phantom_ids=ids_without_token(tokenizer, config.vocab_size),
    )


def estimator_of(part: Mapping[str, Any]) -> tuple[str, dict[str, Any]]:
    """The name that an estimator is registered under in verl, and the settings that go with it."""
    settings = {name: value for name, value in part.items() if name != "_target_"}
    for name, shipped in shipped_estimators().items():
        if shipped["_target_"] == part["_target_"]:
            return name, settings
    return OWN_ESTIMATOR, dict(part)


def model_path(experiment: Experiment, folder: Path) -> str:
    """What verl is told: a name on the hub as it is, everything else as a folder."""
    path = experiment.model.path
    local = path.startswith(("asset:", "gguf:")) or Path(path).expanduser().is_dir()
    return str(folder.resolve()) if local else path


def write_rows(path: Path, tasks: Sequence[EncodedTask]) -> None:
    """One row a task, in verl's columns; its agent loop reads `prompt_token_ids`, and the reward `task`."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = [
        {
            "data_source": one.task.source.dataset,
            "prompt": [{"role": "user", "content": one.task.id}],  # verl asks for one; it is never tokenised
            "reward_model": {"style": "rule", "ground_truth": one.task.target},
            "extra_info": {
                "index": number,
                "task": json.dumps(one.task.to_dict()),
                "prompt_token_ids": list(one.token_ids),
            },
        }
        for number, one in enumerate(tasks)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def readme(experiment: Experiment, cluster: Cluster) -> str:
    """Ten lines, and a line for each setting that verl does otherwise."""
    lines = [
        "# A training run for verl, written by gapo",
        "",
        f"Needs on every machine: `pip install verl=={VERL}`, its vLLM, and `gapo-cli`; this folder under the same path.",
        f"Start, on {cluster.nodes} machine(s) with {cluster.gpus} GPU(s) each, in a Ray cluster of them or on one: `./run.sh`",
        "Overrides of verl go after it, as `./run.sh trainer.n_gpus_per_node=4`; `settings.txt` has all that gapo's settings say.",
        "A run that was stopped goes on from its newest checkpoint when it is started again.",
        "Back to a plain model: `gapo handover verl --back FOLDER my_model`, then `gapo eval model.path=my_model`.",
        "",
        "What verl does otherwise:",
        "",
        *(f"- {sentence}" for sentence in named(experiment)),
    ]
    return "".join(f"{line}\n" for line in lines)
