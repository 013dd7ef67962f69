"""Sums of products: `einsum` with axes named after their sizes, or a plain product where nothing is summed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from lsrl.backends.expressions import Code, call, infix, subscript
from lsrl.backends.jax_place import Operand, Place, Printer, promoted
from lsrl.ir.value import Kind, Value

LETTERS = "ijklmnopqrsuvwxyzacdefgh"


def einsum(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """`einsum("btd,hd->bth", x, W)`: operands that vary come first, so that the leading axes stay in front."""
    left, result = str(value.attr("spec")).split("->")
    axes = left.split(",")
    numbers = all(operand.host for operand in operands)
    given = promoted(operands, value.kind, place.types) if numbers else [_counted(o, place) for o in operands]
    if _is_product(axes, result):
        return _product(given, axes, result)
    letters = _letters(axes, operands)
    order = sorted(range(len(given)), key=lambda position: not given[position].varies)
    parts = [_spelled(axes[p], letters, place.letters if given[p].varies else "") for p in order]
    varies = any(operand.varies for operand in operands)
    spec = f"{','.join(parts)}->{_spelled(result, letters, place.letters if varies else '')}"
    narrow = place.types.narrow and is_layer(value, operands)
    return call("product" if narrow else "einsum", f'"{spec}"', *(given[p].code for p in order))


def _counted(operand: Operand, place: Place) -> Operand:
    return operand.as_type(Kind.INT, place.types) if operand.kind is Kind.BOOL else operand


def is_layer(value: Value, operands: Sequence[Operand]) -> bool:
    """A product of what varies with an array of parameters, whose operands may have 16 bits."""
    static = any(not operand.varies and operand.value.rank >= 2 for operand in operands)
    return static and any(operand.varies for operand in operands) and value.kind is Kind.FLOAT


def _is_product(axes: Sequence[str], result: str) -> bool:
    """Whether nothing is summed and every operand lines up with the result by axes of length one."""
    covered = set("".join(axes)) == set(result)
    return covered and all("".join(a for a in result if a in letters) == letters for letters in axes)


def _product(operands: Sequence[Operand], axes: Sequence[str], result: str) -> Code:
    codes = [_lined_up(operand, letters, result) for operand, letters in zip(operands, axes, strict=True)]
    whole = codes[0]
    for code in codes[1:]:
        whole = infix("*", whole, code)
    return whole


def _lined_up(operand: Operand, letters: str, result: str) -> Code:
    """`k[..., :, None]`: the operand with axes of length one where the result has others."""
    if operand.host or letters == result or (not operand.varies and result.endswith(letters)):
        return operand.code
    index = [":" if letter in letters else "None" for letter in result]
    return subscript(operand.code, ", ".join(["...", *index] if operand.varies or letters else index))


def _letters(axes: Sequence[str], operands: Sequence[Operand]) -> Mapping[str, str]:
    """A letter for every axis: that of its size where it is free."""
    found: dict[str, str] = {}
    for letter, wanted in _wanted(axes, operands):
        if letter in found:
            continue
        free = [each for each in (wanted, *LETTERS) if each not in found.values() and each not in "bt"]
        found[letter] = free[0]
    return found


def _wanted(axes: Sequence[str], operands: Sequence[Operand]) -> Iterator[tuple[str, str]]:
    for letters, operand in zip(axes, operands, strict=True):
        for letter, dim in zip(letters, operand.value.shape, strict=True):
            name = str(dim).lower()
            yield letter, name if len(name) == 1 and name.isalpha() else "g"


def _spelled(axes: str, letters: Mapping[str, str], lead: str) -> str:
    return lead + "".join(letters[axis] for axis in axes)


PRINTERS: Mapping[str, Printer] = {"einsum": einsum}
