"""How many floating-point operations a second the device does, given or measured by the product that the model's layers make."""

from __future__ import annotations

import time
from dataclasses import dataclass

from gapo_cli.errors import UserError
from gapo_cli.experiment import Experiment
from gapo_cli.hardware import usable_cores
from gapo_cli.interfaces import Display
from gapo_cli.planning.advice import rows_of
from gapo_cli.planning.footprint import Settings
from gapo_cli.planning.operations import Operations

PASS_ROWS = 2048
MEASURE_SECONDS = 0.3


@dataclass(frozen=True)
class Speed:
    """Operations a second of a pass over many tokens, and of decoding a token a row. `measured`: here, else as given."""

    passes: float
    decoding: float
    measured: bool

    def seconds(self, operations: Operations) -> float:
        return (operations.prompts + operations.learning) / self.passes + operations.decoding / self.decoding


def find_speed(experiment: Experiment, settings: Settings, display: Display) -> Speed:
    """As `plan.flops` gives it, for passes and decoding alike, or measured here. Raises UserError where the device is not
    here."""
    given = experiment.plan.flops
    if given is not None:
        return Speed(given, given, measured=False)
    trainer = experiment.trainer
    display.say(f"measuring how fast {trainer.device} multiplies; set plan.flops= to operations per second to skip this")
    rows = trainer.prompts_per_step * settings.sampling.group_size
    rows = min(rows, rows_of(settings.engine) or rows)
    width, inner = settings.shape.hidden_size, settings.shape.feed_forward_size
    sizes = (min(trainer.max_tokens_per_microbatch or PASS_ROWS, PASS_ROWS), min(rows, PASS_ROWS))
    passes, decoding = (measured_flops(size, width, inner, trainer.device, trainer.dtype, trainer.threads) for size in sizes)
    return Speed(passes, decoding, measured=True)


def measured_flops(rows: int, width: int, inner: int, device: str, dtype: str, threads: int) -> float:
    """Operations a second of a linear layer (width → inner) over `rows` rows, by the product that a policy's layers use."""
    import torch

    from gapo_cli.models.linear import use_onednn

    kind = torch.device(device).type
    if kind == "cuda" and not torch.cuda.is_available():
        raise UserError(
            f"trainer.device={device}: torch finds no CUDA device here; give its operations per second, such as plan.flops=4e14"
        )
    torch.set_num_threads(threads or usable_cores())
    holder = torch.nn.Sequential(torch.nn.Linear(width, inner, bias=False)).to(device)
    use_onednn(holder)
    rows_of_numbers = torch.ones(rows, width, device=device)
    with torch.inference_mode(), torch.autocast(kind, dtype=torch.bfloat16, enabled=dtype == "bfloat16"):
        holder(rows_of_numbers)
        calls, started = 0, time.perf_counter()
        while (elapsed := time.perf_counter() - started) < MEASURE_SECONDS:
            holder(rows_of_numbers)
            if kind == "cuda":
                torch.cuda.synchronize(device)
            calls += 1
    return 2.0 * rows * width * inner * calls / elapsed
