"""Products of native code against `torch.mm`, one thread: 10^9 operations a second, and their ratio.

    PYTHONPATH=tests python tests/benchmarks/native_product.py [--seconds 1] [-o FILE.json]

The matrix is packed beforehand, as it is before a loop over time.  Many products are made in each call: by one C
function, and by as many calls of PyTorch, whose result has its place.  Quartiles are over rounds taken in turns.
"""

from __future__ import annotations

import argparse
import json
from dataclasses import asdict, dataclass
from pathlib import Path
from time import process_time

import numpy as np
import torch

from lsrl.measure import in_turns, machine
from support.c_calls import DTYPES, argument, c_library

# Rows, inner, outer: the recurrent product of an LSTM with 512 units and a batch of 1, 8, 16; small ones; many rows.
SHAPES = ((1, 512, 2048), (8, 512, 2048), (16, 512, 2048), (1, 128, 128), (8, 64, 64), (8, 128, 128), (64, 512, 512))
MULTIPLICATIONS = 4e7
"""About how many multiplications a call makes."""

CODE = """
long size(long inner, long outer) { return packed_size(inner, outer); }

void lay(real *packed, const data *matrix, long inner, long outer) { pack(packed, matrix, inner, outer, outer, 1); }

void multiply(long times, real *out, const real *x, const real *packed, long rows, long inner, long outer) {
    for (long k = 0; k < times; k++) product(out, outer, x, inner, packed, rows, inner, outer);
}
"""


@dataclass(frozen=True, slots=True)
class Rate:
    """10^9 floating-point operations a second, ours and those of `torch.mm`: the median, and the quartiles of ours."""

    real: str
    rows: int
    inner: int
    outer: int
    ours: float
    lower: float
    upper: float
    torch: float

    @property
    def ratio(self) -> float:
        return self.ours / self.torch


def rate(real: str, rows: int, inner: int, outer: int, seconds: float) -> Rate:
    """One shape, by processor time: it is one thread, and others may use the machine.

    Raises:
        AssertionError: the products differ.
    """
    rng = np.random.default_rng(0)
    x, matrix = (rng.standard_normal(shape).astype(DTYPES[real]) for shape in ((rows, inner), (inner, outer)))
    library = c_library(CODE, real)
    packed = np.empty(library.size(*map(argument, (inner, outer))), x.dtype)
    library.lay(*map(argument, (packed, matrix, inner, outer)))
    out, theirs = np.empty((rows, outer), x.dtype), torch.from_numpy(np.empty((rows, outer), x.dtype))
    times = max(1, round(MULTIPLICATIONS / (rows * inner * outer)))
    passed = [argument(value) for value in (times, out, x, packed, rows, inner, outer)]
    a, b = torch.from_numpy(x), torch.from_numpy(matrix)

    def by_torch() -> None:
        for _ in range(times):
            torch.mm(a, b, out=theirs)

    found = in_turns({"ours": lambda: library.multiply(*passed), "torch": by_torch}, seconds, 200, process_time)
    np.testing.assert_allclose(out, theirs.numpy(), rtol=1e-4, atol=1e-3)
    ours, work = found["ours"], 2e-9 * times * rows * inner * outer
    speeds = (work / taken for taken in (ours.median, ours.upper, ours.lower, found["torch"].median))
    return Rate(real, rows, inner, outer, *(round(speed, 1) for speed in speeds))


def main() -> None:
    """Measure, print, and write the results where they are wanted."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seconds", type=float, default=1.0, help="for each way, about")
    parser.add_argument("-o", type=Path, help="a file for the results")
    options = parser.parse_args()
    torch.set_num_threads(1)
    found = [rate(real, *shape, options.seconds) for real in DTYPES for shape in SHAPES]
    for each in found:
        ours = f"{each.ours:7.1f} ({each.lower:.1f} to {each.upper:.1f})"
        shape = f"{each.rows:>3} x {each.inner:>4} x {each.outer:>4}"
        print(f"{each.real:<6} {shape}  ours {ours:<26} torch {each.torch:7.1f}  ours : torch {each.ratio:.2f}")
    if options.o:
        rates = [asdict(each) | {"ratio": round(each.ratio, 2)} for each in found]
        options.o.write_text(json.dumps({"machine": machine("torch", "numpy"), "rates": rates}, indent=1) + "\n")


if __name__ == "__main__":
    main()
