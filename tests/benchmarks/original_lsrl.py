"""The original interpreter on its own token matcher, as a process of its own; `weights_speed.py` runs it.

    python tests/benchmarks/original_lsrl.py CHECKOUT

CHECKOUT is one of https://github.com/AleksandarPetrov/LSRL; it needs sympy 1.12, which is why it is apart.  Prints a
line of JSON: tokens of one sequence per second of processor time before and after its simplification, whose seconds
are given too, and whether the answer was right.
"""

from __future__ import annotations

import contextlib
import importlib
import io
import json
import sys
from time import process_time
from typing import Any

import numpy as np

CONDITIONALS = "multiplicative_optimized"
"""The published program has five forms; this is its fastest one."""


def matcher(checkout: str) -> Any:
    """Its test of this program, set up: numeric, 20 pairs of words of three tokens."""
    sys.path.insert(0, checkout)
    module = importlib.import_module("tests.test_ua_tok2tok")
    wanted = (module.MatrixMode.NUMERIC, CONDITIONALS)
    cases = [case for case in vars(module).values() if isinstance(case, type)]
    case = next(c for c in cases if (getattr(c, "mode", None), getattr(c, "conditional_mode", None)) == wanted)
    found: Any = case("test_counters")
    found.setUp()
    return found


def speed(network: Any, prompt: np.ndarray, answer: np.ndarray) -> tuple[float, bool]:
    begin = process_time()
    outputs = network(prompt[None, :]).numpy()
    rate = len(prompt) / (process_time() - begin)
    return rate, bool((np.round(outputs[0, -len(answer) :]) == answer).all())


def main() -> None:
    np.random.seed(0)  # noqa: NPY002 -- what the original draws from
    with contextlib.redirect_stdout(io.StringIO()):
        case = matcher(sys.argv[1])
        _, answer, prompt = case.prep_random_input()
        network = importlib.import_module("lsrl").ForEach(case.output)
        before, right = speed(network, prompt, np.array(answer))
        begin = process_time()
        network.simplify()
        seconds = process_time() - begin
        after, still = speed(network, prompt, np.array(answer))
    found = {"as written": round(before, 1), "simplified": round(after, 1), "simplify": round(seconds, 2)}
    print(json.dumps({**found, "right": right and still}))


if __name__ == "__main__":
    main()
