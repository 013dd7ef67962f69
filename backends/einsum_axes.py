"""The axes of an einsum in emitted text: letters after the sizes, and products that need no einsum at all."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lsrl.ir.dims import Shape

LETTERS = "ijklmnopqrsuvwxyzacdefgh"
LEADING = "bt"  # batch and time


def parsed(spec: str) -> tuple[list[str], str]:
    """`"ab,b->a"` as operands and result."""
    left, result = spec.split("->")
    return left.split(","), result


def is_product(axes: Sequence[str], result: str) -> bool:
    """Whether nothing is summed and every operand lines up with the result by axes of length one."""
    covered = set("".join(axes)) == set(result)
    return covered and all("".join(a for a in result if a in letters) == letters for letters in axes)


def axis_letters(axes: Sequence[str], shapes: Sequence[Shape]) -> Mapping[str, str]:
    """A letter for every axis: that of its size where it is free."""
    found: dict[str, str] = {}
    for letter, wanted in _wanted(axes, shapes):
        if letter in found:
            continue
        free = [each for each in (wanted, *LETTERS) if each not in found.values() and each not in LEADING]
        found[letter] = free[0]
    return found


def _wanted(axes: Sequence[str], shapes: Sequence[Shape]) -> Iterator[tuple[str, str]]:
    for letters, shape in zip(axes, shapes, strict=True):
        for letter, dim in zip(letters, shape, strict=True):
            name = str(dim).lower()
            yield letter, name if len(name) == 1 and name.isalpha() else "g"


def spelled(axes: str, letters: Mapping[str, str], lead: str) -> str:
    """The axes of one operand by their letters, after the leading ones."""
    return lead + "".join(letters[axis] for axis in axes)
