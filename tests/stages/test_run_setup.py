"""What a stage does before its model is there."""

from dataclasses import replace
from types import SimpleNamespace

import pytest
from parts import Listening

from gapo_cli.processes.ranks import ALONE
from gapo_cli.stages import run_setup


@pytest.mark.parametrize(
    ("dtype", "device", "has_instructions", "said"),
    [
        ("bfloat16", "cpu", False, [run_setup.SLOW_BFLOAT16]),
        ("bfloat16", "cpu", True, []),
        ("float32", "cpu", False, []),
        ("bfloat16", "cuda", False, []),
    ],
)
def test_bfloat16_is_warned_of_on_a_processor_that_multiplies_it_element_by_element(
    dtype, device, has_instructions, said, trainer, tmp_path, monkeypatch
):
    settings = SimpleNamespace(ranks=ALONE, seed=0, trainer=replace(trainer, dtype=dtype, device=device, threads=1))
    monkeypatch.setattr(run_setup, "multiplies_bfloat16", lambda: has_instructions)
    display = Listening()
    run_setup.set_up_run(settings, tmp_path, display)
    assert display.said == said
    assert (tmp_path / "environment.json").is_file()
