"""Weights that hold a NaN, and files of tasks that are not JSON lines."""

from __future__ import annotations

import gzip
import json
import shutil
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path

from fault_kinds.trials import Trials, Tried, tried

ROWS = 20


def weights(trials: Trials) -> Iterator[Tried]:
    from safetensors.torch import load_file, save_file

    folder = trials.folder / "model"
    shutil.copytree(str(files("gapo_cli") / "assets" / "nano-noisy"), folder)
    whole = load_file(folder / "model.safetensors")
    broken = {name: tensor.clone() for name, tensor in whole.items()}
    broken["model.layers.0.mlp.up_proj.weight"][0, 0] = float("nan")
    save_file(broken, folder / "model.safetensors", metadata={"format": "pt"})
    refused = trials.train("hydra.run.dir=nan", "model.path=model")
    save_file(whole, folder / "model.safetensors", metadata={"format": "pt"})
    yield tried(
        "a NaN among the weights", refused, "whole weights", trials.ends_whole("hydra.run.dir=mended", "model.path=model")
    )


def data(trials: Trials) -> Iterator[Tried]:
    import pandas as pd

    source = next(trials.data.glob("stdlib-*/train.jsonl"))
    lines = source.read_text(encoding="utf-8").splitlines()[:ROWS]
    text = "".join(f"{line}\n" for line in lines)
    folder = trials.folder / "files"
    folder.mkdir()
    kinds = {
        "plain.jsonl": text.encode(),
        "packed.jsonl.gz": gzip.compress(text.encode()),
        "wide.jsonl": text.encode("utf-16"),
        "array.json": f"[{','.join(lines)}]".encode(),
    }
    for name, content in kinds.items():
        (folder / name).write_bytes(content)
    pd.DataFrame([json.loads(line) for line in lines]).to_parquet(folder / "table.parquet")
    expected = prepared(trials, folder / "plain.jsonl")[1]
    named = {
        "gzip": "packed.jsonl.gz",
        "UTF-16 with its mark": "wide.jsonl",
        "a JSON array": "array.json",
        "parquet": "table.parquet",
    }
    for kind, name in named.items():
        done, tasks = prepared(trials, folder / name)
        yield tried(f"tasks in {kind}", done, "nothing: they are read", done["status"] == 0 and tasks == expected)
    (folder / "paper.jsonl").write_bytes(b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n")
    refused, none = prepared(trials, folder / "paper.jsonl")
    yield tried("a PDF in place of tasks", refused, "nothing: no task set is left", none is None)


def prepared(trials: Trials, path: Path) -> tuple[dict, list[str] | None]:
    """What `gapo prepare` says of a file, and the tasks that it makes of it; None where there are none."""
    made = f"made-{path.stem}-{path.suffix[1:]}"
    done = trials.gapo("prepare", "data=jsonl", f"data.path={path}", f"data.directory={made}", f"hydra.run.dir={made}-run")
    found = sorted((trials.folder / made).glob("*/*.jsonl"))
    return done, [path.read_text(encoding="utf-8") for path in found] or None
