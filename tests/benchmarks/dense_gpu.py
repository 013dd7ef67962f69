"""Dense LSTMs on a GPU: groups of programs, the same loop position by position, and cuDNN.

    python tests/benchmarks/dense_gpu.py [--units 512 768] [--batch 16] [--length 1024] [-o dense_gpu.json]

The products with inputs count on all sides.  Each way runs in turn, so that a drift of clocks meets all alike; medians
with quartiles of times between events, in milliseconds, and microseconds of one position.
"""

from __future__ import annotations

import argparse
import json
import platform
import statistics
from collections.abc import Callable, Mapping
from pathlib import Path
from types import ModuleType

import torch
import triton

import lsrl
from lsrl.backends.module_loader import load_module

Way = Callable[[], None]
REPEATS = 30


def module(units: int, *, groups: bool) -> ModuleType:
    """The emitted LSTM in bfloat16; without groups it runs position by position."""
    compiled = lsrl.compile("std/lstm", target="triton", sizes={"D": units, "H": units}, dtype="bfloat16")
    made = load_module(compiled.source, f"dense_{units}_{groups}")
    if not groups:
        vars(made)["tiles_at_once"] = lambda *_: 0
    return made


def emitted(made: ModuleType, x: torch.Tensor, *, backward: bool) -> Way:
    params = {name: param.requires_grad_(backward) for name, param in made.init(0, "cuda").items()}

    def run() -> None:
        with torch.set_grad_enabled(backward):
            outputs, _ = made.apply(params, {"x": x})
            if backward:
                torch.autograd.grad(outputs["h"].float().sum(), list(params.values()))

    return run


def library(x: torch.Tensor, type_: torch.dtype, *, backward: bool) -> Way:
    layer = torch.nn.LSTM(x.shape[-1], x.shape[-1], batch_first=True, device="cuda", dtype=type_)
    given = x.to(type_)

    def run() -> None:
        with torch.set_grad_enabled(backward):
            found, _ = layer(given)
            if backward:
                torch.autograd.grad(found.float().sum(), list(layer.parameters()))

    return run


def measured(ways: Mapping[str, Way]) -> dict[str, list[float]]:
    """Milliseconds of every run of every way, which take turns."""
    times: dict[str, list[float]] = {name: [] for name in ways}
    for run in ways.values():
        for _ in range(3):
            run()
    for _ in range(REPEATS):
        for name, run in ways.items():
            start, stop = (torch.cuda.Event(enable_timing=True) for _ in range(2))
            torch.cuda.synchronize()
            start.record()
            run()
            stop.record()
            torch.cuda.synchronize()
            times[name].append(start.elapsed_time(stop))
    return times


def rows(units: int, batch: int, length: int) -> list[dict[str, object]]:
    """One size, forward alone and with backward."""
    x = torch.randn(batch, length, units, device="cuda", dtype=torch.bfloat16)
    found: list[dict[str, object]] = []
    for backward in (False, True):
        ways = {
            "groups of programs": emitted(module(units, groups=True), x, backward=backward),
            "position by position": emitted(module(units, groups=False), x, backward=backward),
            "torch.nn.LSTM, float16": library(x, torch.float16, backward=backward),
            "torch.nn.LSTM, bfloat16": library(x, torch.bfloat16, backward=backward),
        }
        for name, times in measured(ways).items():
            low, middle, high = statistics.quantiles(times, n=4)
            each = 1000 * middle / length
            row = {"way": name, "units": units, "backward": backward, "ms": middle, "quartiles": [low, high]}
            found.append({**row, "microseconds a position": each})
            print(f"{units:5d} {'both' if backward else 'forward':8s} {name:26s} {middle:9.3f} ms {each:8.2f} us")
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--units", type=int, nargs="+", default=[256, 512, 768, 1024])
    parser.add_argument("--batch", type=int, default=16)
    parser.add_argument("--length", type=int, default=1024)
    parser.add_argument("-o", type=Path, default=None)
    asked = parser.parse_args()
    machine = {
        "gpu": torch.cuda.get_device_name(),
        "python": platform.python_version(),
        "torch": torch.__version__,
        "triton": triton.__version__,
        "cudnn": torch.backends.cudnn.version(),
    }
    found = [row for units in asked.units for row in rows(units, asked.batch, asked.length)]
    if asked.o is not None:
        data = {"machine": machine, "batch": asked.batch, "length": asked.length, "rows": found}
        asked.o.write_text(json.dumps(data, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
