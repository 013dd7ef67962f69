"""What answers a prompt: a compiled network, or the program itself on one of its targets."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from copy import deepcopy
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from lsrl.backends.arrays import Array, Arrays
from lsrl.backends.given_ranges import Given
from lsrl.compiling import compile_program
from lsrl.icl_prompts import PromptError
from lsrl.program import Program

if TYPE_CHECKING:
    from lsrl.weights import CompiledWeights

POSITIONS = 1 << 18
"""How many positions are run at a time."""

NARROW = ("bfloat16", "float16")
"""Types for which nothing is derived: a network for float32 is rounded to them."""


@dataclass(frozen=True, eq=False)
class Runner:
    """A program on something that runs it.

    Attributes:
        title: what that is.
        deviation: a bound of how far its output `y` is from the program's; nan where there is none.
        run: outputs [B, T, *shape] for inputs [B, T, *shape] by name.
        compiled: the network, if it is one.
    """

    title: str
    deviation: float
    run: Callable[[Arrays], Array]
    compiled: CompiledWeights | None = None

    def last(self, inputs: Mapping[str, Array], count: int) -> Array:
        """The outputs of the last `count` positions, [B, count, *shape], of many sequences in several runs."""
        batch, length = next(iter(inputs.values())).shape[:2]
        size = max(1, POSITIONS // length)
        parts = [
            self.run({name: array[begin : begin + size] for name, array in inputs.items()})[:, length - count :]
            for begin in range(0, batch, size)
        ]
        return np.concatenate(parts).astype(np.float64)


@dataclass(frozen=True, eq=False)
class Question:
    """A program with the output `y`, and what is known of its prompts.

    Attributes:
        given: ranges of the inputs.
        horizon: the longest sequence.
        published: the program as it was published, by its conditional.
        as_published: what that takes in place of the inputs of `program`.
    """

    program: Program
    sizes: Mapping[str, int]
    given: Mapping[str, Given]
    horizon: int
    published: Callable[[str], Program]
    as_published: Callable[[Arrays], Arrays]


@dataclass(frozen=True, slots=True)
class Means:
    """What is to run a program.

    Attributes:
        arch: of the compiled network; None for the program itself.
        target: what runs the program itself.
        dtype: of floats.
        conditional: a key of `CONDITIONALS`, for the program as it was published; None for ours.
    """

    arch: str | None = None
    target: str = "reference"
    dtype: str = "float32"
    conditional: str | None = None

    def runner(self, asked: Question) -> Runner:
        """What answers a question.

        Raises:
            Refusal: the architecture does not hold the program, or the target does not know the dtype.
        """
        if self.conditional is not None:
            return self._published(asked, self.conditional)
        program, sizes, given, horizon = asked.program, asked.sizes, asked.given, asked.horizon
        if self.arch is not None:
            network = compiled_network(program, self.arch, self.dtype, sizes, given, horizon)
            predicted = next(error.predicted for error in network.report.values if error.name == "y")
            deviation = math.nan if self.dtype in NARROW else predicted
            return Runner(str(self), deviation, lambda inputs: network(inputs)["y"], network)
        compiled = compile_program(program, target=self.target, sizes=sizes, dtype=self.dtype)
        # Its comparisons are of short dyadic numbers, and of what it adds up all but one are 0.
        largest = max(max(abs(each.low), abs(each.high)) for each in given.values())
        deviation = _ROUNDING.get(self.dtype, math.nan) * largest
        return Runner(str(self), deviation, lambda inputs: np.asarray(compiled({}, inputs).outputs["y"]))

    def _published(self, asked: Question, conditional: str) -> Runner:
        """Nothing bounds how far it is off: at the lower border of the box it answers 0."""
        if self.arch is not None:
            raise PromptError(f"published programs run themselves: a conditional, {conditional}, or {self.arch}")
        program = asked.published(conditional)
        sizes = {name: size for name, size in asked.sizes.items() if name in program.sizes}
        compiled = compile_program(program, target=self.target, sizes=sizes, dtype=self.dtype)
        return Runner(
            str(self), math.nan, lambda inputs: np.asarray(compiled({}, asked.as_published(inputs)).outputs["y"])
        )

    def __str__(self) -> str:
        how = "" if self.conditional is None else f"published {self.conditional}, "
        return f"{how}{self.arch or self.target}, {self.dtype}"


def compiled_network(
    program: Program, arch: str, dtype: str, sizes: Mapping[str, int], given: Mapping[str, Given], horizon: int
) -> CompiledWeights:
    """A program as a network; for the types of `NARROW` one for float32 is rounded.

    Raises:
        Refusal: the architecture does not hold the program.
    """
    from lsrl import weights  # loads torch

    derived = "float32" if dtype in NARROW else dtype
    made = weights.compile(program, arch, sizes, dtype=derived, given=given, horizon=horizon)
    return rounded(made, dtype) if dtype in NARROW else made


_ROUNDING = {"exact": 0.0, "float64": 2.0**-53, "float32": 2.0**-24}
"""How far, relatively, a number is from itself in a type that holds the numbers of cells."""


def rounded(compiled: CompiledWeights, dtype: str) -> CompiledWeights:
    """A network with its weights and everything it computes in a narrower type."""
    import torch

    narrow = deepcopy(compiled.module).to(getattr(torch, dtype))

    class Rounded(torch.nn.Module):
        """Takes and gives what the network that it stands for did."""

        def __init__(self) -> None:
            super().__init__()
            self.inner = narrow

        def forward(self, x: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.inner(x.to(next(narrow.parameters()).dtype))
            return found.float()

    return replace(compiled, module=Rounded())
