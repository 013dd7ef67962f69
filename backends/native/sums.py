"""Sums of products as loops, the innermost over what lies side by side."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass

from lsrl.backends.expressions import Code, infix
from lsrl.backends.native.c_writer import CWriter
from lsrl.backends.native.elements import SIMD, Elements
from lsrl.backends.native.indexing import Index, identity, indices
from lsrl.backends.native.operations import TYPES
from lsrl.ir.infer import integers
from lsrl.ir.value import Value


def write_sum(value: Value, elements: Elements, writer: CWriter) -> None:
    """The nest of an einsum, or of a sum over axes."""
    sum_ = _Sum.of(value, elements)
    with ExitStack() as blocks:
        for letter in sum_.result:
            if letter != sum_.innermost:
                blocks.enter_context(writer.block(sum_.head(letter)))
        if sum_.innermost in sum_.result:
            sum_.write_beside(writer)
        else:
            sum_.write_alone(writer)


@dataclass(frozen=True, slots=True)
class _Sum:
    """A sum of products, its axes by letters.

    Attributes:
        factors: the letters of each operand.
        result, summed: the letters of what remains and of what goes away.
        axes: an axis of an operand for every letter.
        where: the variable of the loop over each.
    """

    value: Value
    elements: Elements
    factors: tuple[tuple[str, Value], ...]
    result: str
    summed: str
    axes: Mapping[str, tuple[Value, int]]
    where: Mapping[str, str]

    @classmethod
    def of(cls, value: Value, elements: Elements) -> _Sum:
        parts, result = _letters(value)
        factors = tuple(zip(parts, value.args, strict=True))
        axes = {letter: (arg, axis) for letters, arg in factors for axis, letter in enumerate(letters)}
        summed = "".join(letter for letter in axes if letter not in result)
        sizes = [axes[letter][0].shape[axes[letter][1]] for letter in summed]
        where = dict(zip((*result, *summed), indices((*value.shape, *sizes)), strict=True))
        return cls(value, elements, factors, result, summed, axes, where)

    @property
    def innermost(self) -> str:
        """The letter whose elements lie side by side in most of what is read and written."""

        def beside(letter: str) -> int:
            return sum(letters.endswith(letter) for letters, _ in self.factors) + self.result.endswith(letter)

        candidates: tuple[str, ...] = (*self.summed, *self.result[-1:])
        return max(candidates, key=beside)

    @property
    def product(self) -> Code:
        """One term."""
        found = [
            self.elements.read(arg, Index(tuple(Code(self.where[letter]) for letter in letters))).of(self.value.kind)
            for letters, arg in self.factors
        ]
        whole = found[0]
        for factor in found[1:]:
            whole = infix("*", whole, factor)
        return whole

    @property
    def target(self) -> Code:
        return self.elements.places.stored(self.value, identity(self.value))

    def head(self, letter: str) -> str:
        return self.elements.head(*self.axes[letter], self.where[letter])

    def write_beside(self, writer: CWriter) -> None:
        """Sums side by side: each term is added to all of them."""
        head = self.head(self.innermost)
        writer.text(SIMD)
        writer.line(f"{head} {self.target} = 0;")
        with ExitStack() as blocks:
            for letter in self.summed:
                blocks.enter_context(writer.block(self.head(letter)))
            writer.text(SIMD)
            writer.line(f"{head} {self.target} += {self.product};")

    def write_alone(self, writer: CWriter) -> None:
        """One sum after the other."""
        writer.line(f"{TYPES[self.value.kind]} sum = 0;")
        with ExitStack() as blocks:
            for letter in self.summed:
                if letter != self.innermost:
                    blocks.enter_context(writer.block(self.head(letter)))
            writer.text(f"{SIMD} reduction(+ : sum)")
            writer.line(f"{self.head(self.innermost)} sum += {self.product};")
        writer.line(f"{self.target} = sum;")


def _letters(value: Value) -> tuple[list[str], str]:
    """The letters of the operands and of the result."""
    if value.op == "einsum":
        left, result = str(value.attr("spec")).split("->")
        return left.split(","), result
    letters = "abcdefghijklmnopqrstuvwxyz"[: value.args[0].rank]
    gone = integers(value.attr("axes"))
    return [letters], "".join(letter for axis, letter in enumerate(letters) if axis not in gone)
