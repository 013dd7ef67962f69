"""The exact programs of the library, each as a Python function of whole sequences written without it."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

Sequences = Mapping[str, Sequence[float]]
Function = Callable[[Sequences, Mapping[str, int]], Mapping[str, list[object]]]


@dataclass(frozen=True)
class Case:
    """A program and what it is.

    Attributes:
        sizes: small numbers for its sizes.
        below: scalar inputs are whole numbers below these.
        function: sequences of inputs by name, and sizes, to sequences of outputs by name.
    """

    name: str
    function: Function
    sizes: Mapping[str, int] = field(default_factory=dict)
    below: Mapping[str, int] = field(default_factory=dict)
    cell: str | None = None

    def __str__(self) -> str:
        return f"{self.name}{f':{self.cell}' if self.cell else ''}{dict(self.sizes) or ''}"


def majority(given: Sequences, _: Mapping[str, int]) -> Mapping[str, list[object]]:
    x = given["x"]
    return {"y": [float(sum(x[: t + 1]) > (t + 1) / 2) for t in range(len(x))]}


def parity(given: Sequences, _: Mapping[str, int]) -> Mapping[str, list[object]]:
    return {"odd": [sum(given["x"][: t + 1]) % 2 for t in range(len(given["x"]))]}


def modulo(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    counts = [sum(given["x"][: t + 1]) % sizes["M"] for t in range(len(given["x"]))]
    return {"count": list(counts), "divides": [float(count == 0) for count in counts]}


def copy(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    x, length = given["x"], sizes["T"]
    return {"y": [0 if t < length else x[t % length] for t in range(len(x))]}


def associative_recall(given: Sequences, _: Mapping[str, int]) -> Mapping[str, list[object]]:
    x, bound, y = given["x"], {}, []
    for t, token in enumerate(x):
        y.append(-1 if t % 2 else bound.get(token, -1))
        if t % 2:
            bound[x[t - 1]] = token
    return {"y": list(y)}


def sort(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    x = [0] * (sizes["K"] - 1) + list(given["x"])
    return {"y": [sorted(x[t : t + sizes["K"]]) for t in range(len(given["x"]))]}


def adder(given: Sequences, _: Mapping[str, int]) -> Mapping[str, list[object]]:
    digits, carries = [], []
    for t in range(len(given["a"])):
        a, b = (sum(int(bit) << k for k, bit in enumerate(given[name][: t + 1])) for name in "ab")
        digits.append((a + b) >> t & 1)
        carries.append((a + b) >> (t + 1))
    return {"digit": list(digits), "carry": list(carries)}


def dyck(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    stack, fine, prefix, balanced = [], True, [], []
    for token in given["token"]:
        if token < sizes["K"]:
            fine = fine and len(stack) < sizes["D"]
            stack.append(token)
        else:
            fine = fine and bool(stack) and stack.pop() == token - sizes["K"]
        prefix.append(float(fine))
        balanced.append(float(fine and not stack))
    return {"prefix": list(prefix), "balanced": list(balanced)}


def tok2tok(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    x, length, y = list(given["x"]), sizes["T"], []
    for t in range(len(x)):
        held = [0] * length
        for start in range(length, t - length + 1, 2 * length):
            if x[start : start + length] == x[:length]:
                word = x[start + length : min(start + 2 * length, t + 1)]
                held[: len(word)] = word
                break
        y.append(held[t % length])
    return {"y": list(y)}


def counts(given: Sequences, _: Mapping[str, int]) -> Mapping[str, list[object]]:
    return {"count": [sum(given["x"][: t + 1]) for t in range(len(given["x"]))]}


def bounded(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    n, found = 0, []
    for up, down in zip(given["up"], given["down"]):
        n = min(max(n + up - down, 0), sizes["N"])
        found.append(n)
    return {"count": list(found)}


def register(given: Sequences, _: Mapping[str, int]) -> Mapping[str, list[object]]:
    held, found = 0.0, []
    for x, write in zip(given["x"], given["write"]):
        held = x if write else held
        found.append(held)
    return {"held": list(found)}


def shift_register(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    x = [0.0] * sizes["K"] + list(given["x"])
    return {"held": [x[t + 1 : t + 1 + sizes["K"]] for t in range(len(given["x"]))]}


def table(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    held, found = [0.0] * sizes["N"], []
    for address, x, write in zip(given["address"], given["x"], given["write"]):
        found.append(held[int(address)])
        if write:
            held[int(address)] = x
    return {"read": list(found)}


def stack(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    held: deque[float] = deque(maxlen=sizes["N"])
    tops, depths = [], []
    for x, push, pop in zip(given["x"], given["push"], given["pop"]):
        if pop and held:
            held.popleft()
        if push:
            held.appendleft(x)
        tops.append(held[0] if held else 0)
        depths.append(len(held))
    return {"top": list(tops), "depth": list(depths)}


def queue(given: Sequences, sizes: Mapping[str, int]) -> Mapping[str, list[object]]:
    held: list[float] = []
    fronts, lengths = [], []
    for x, push, pop in zip(given["x"], given["push"], given["pop"]):
        if pop and held:
            held.pop(0)
        if push and len(held) < sizes["N"]:
            held.append(x)
        fronts.append(held[0] if held else 0)
        lengths.append(len(held))
    return {"front": list(fronts), "count": list(lengths)}


BITS = {"x": 2}
CASES = (
    Case("std/exact/majority", majority, below=BITS),
    Case("std/exact/parity", parity, below=BITS),
    Case("std/exact/modulo", modulo, {"M": 1}, BITS),
    Case("std/exact/modulo", modulo, {"M": 5}, BITS),
    Case("std/exact/copy", copy, {"T": 4, "V": 10}, {"x": 10}),
    Case("std/exact/copy", copy, {"T": 1, "V": 3}, {"x": 3}),
    Case("std/exact/associative_recall", associative_recall, {"V": 4}, {"x": 4}),
    Case("std/exact/sort", sort, {"K": 4}, {"x": 9}),
    Case("std/exact/sort", sort, {"K": 5}, {"x": 3}),
    Case("std/exact/sort", sort, {"K": 1}, {"x": 3}),
    Case("std/exact/adder", adder, below={"a": 2, "b": 2}),
    Case("std/exact/dyck", dyck, {"K": 1, "D": 4}, {"token": 2}),
    Case("std/exact/dyck", dyck, {"K": 2, "D": 2}, {"token": 4}),
    Case("std/exact/tok2tok", tok2tok, {"T": 1, "V": 3}, {"x": 3}),
    Case("std/exact/tok2tok", tok2tok, {"T": 2, "V": 2}, {"x": 2}),
    Case("std/exact/tok2tok", tok2tok, {"T": 3, "V": 2}, {"x": 2}),
    Case("std/counters", counts, below=BITS, cell="tally"),
    Case("std/counters", bounded, {"N": 3}, {"up": 2, "down": 2}, "bounded_counter"),
    Case("std/memory", register, below={"x": 9, "write": 2}, cell="register"),
    Case("std/memory", shift_register, {"K": 3}, {"x": 9}, "shift_register"),
    Case("std/memory", table, {"N": 4}, {"address": 4, "x": 9, "write": 2}, "table"),
    Case("std/memory", stack, {"N": 3}, {"x": 9, "push": 2, "pop": 2}, "stack"),
    Case("std/memory", queue, {"N": 3}, {"x": 9, "push": 2, "pop": 2}, "queue"),
)

PROGRAMS: Mapping[str, Mapping[str, int]] = {
    **{case.name: case.sizes for case in CASES if case.cell is None},
    "std/exact/vec2vec": {"D": 2, "E": 3},
}
"""The exact programs that are cells of their own, with small sizes."""


def draw(case: Case, count: int, length: int, seed: int = 0) -> dict[str, np.ndarray]:
    """Random sequences of the case's inputs, [count, length] each."""
    rng = np.random.default_rng(seed)
    return {name: rng.integers(0, below, (count, length)) for name, below in case.below.items()}


def expected(case: Case, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the Python function makes of every sequence."""
    count = len(next(iter(inputs.values())))
    rows = [case.function({name: a[row].tolist() for name, a in inputs.items()}, case.sizes) for row in range(count)]
    return {name: np.array([row[name] for row in rows], float) for name in rows[0]}
