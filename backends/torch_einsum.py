"""Sums of products in PyTorch: `x @ W.mT`, a plain product where nothing is summed, else `torch.einsum`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from lsrl.backends.einsum_axes import axis_letters, is_product, parsed, spelled
from lsrl.backends.expressions import Code, attribute, call, infix, method
from lsrl.backends.torch_layout import lined_up
from lsrl.backends.torch_place import Operand, Place, Printer
from lsrl.ir.ops import Family, family
from lsrl.ir.value import Kind, Value


def einsum(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """Operands that vary come first, so that the leading axes stay in front."""
    axes, result = parsed(str(value.attr("spec")))
    given = [_of_kind(operand, value, operands, place) for operand in operands]
    if is_product(axes, result):
        return _product(given, axes, result)
    if value.kind is Kind.INT:
        return _summed(given, axes, result)  # matrix products of whole numbers do not run on every device
    layer = _layer(given, axes, result, place)
    if layer is not None:
        return layer
    letters = axis_letters(axes, [operand.value.shape for operand in operands])
    order = sorted(range(len(given)), key=lambda position: not given[position].varies)
    parts = [spelled(axes[p], letters, place.letters if given[p].varies else "") for p in order]
    varies = any(operand.varies for operand in operands)
    spec = f"{','.join(parts)}->{spelled(result, letters, place.letters if varies else '')}"
    return call("torch.einsum", f'"{spec}"', *(given[p].code for p in order))


def summed_product(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """The sum of a product over the leading axes: `dW = sum_t g_t x_t^T` is one product of matrices.

    Factors are multiplied in 16 bits where data have them; the sum has full precision before it is rounded.
    """
    few_bits = place.types.narrow and value.kind is Kind.FLOAT
    given = [_narrowed(o, place) if few_bits else _full(o, value, place) for o in operands]
    axes, result = parsed(str(value.attr("spec")))
    if place.types.native and value.kind is Kind.FLOAT and [*axes] == [*result] and all(o.varies for o in given):
        return call("position_sum", *(operand.code for operand in given))
    letters = axis_letters(axes, [operand.value.shape for operand in operands])
    parts = [spelled(own, letters, place.letters if o.varies else "") for own, o in zip(axes, given, strict=True)]
    spec = f"{','.join(parts)}->{spelled(result, letters, '')}"
    return call("torch.einsum", f'"{spec}"', *(operand.code for operand in given))


def _narrowed(operand: Operand, place: Place) -> Operand:
    return operand if operand.narrow else replace(operand, code=method(operand.code, "to", place.types.data))


def _full(operand: Operand, value: Value, place: Place) -> Operand:
    wide = operand.wide()
    return wide if wide.kind is value.kind and not wide.host else wide.as_type(value.kind, place.types)


def is_layer(value: Value, varying: Sequence[bool]) -> bool:
    """A product of what varies with an array of parameters, whose operands may have 16 bits; and a convolution."""
    if value.kind is not Kind.FLOAT or family(value.op) not in (Family.CONTRACTION, Family.STENCIL):
        return False
    static = any(not varies and arg.rank >= 2 for varies, arg in zip(varying, value.args, strict=True))
    return static and any(varying)


def _of_kind(operand: Operand, value: Value, operands: Sequence[Operand], place: Place) -> Operand:
    """The operand in the type of the product: 16 bits where that has them, all of one kind otherwise."""
    if value in place.narrow:
        if operand.narrow:
            return operand
        return replace(operand, code=method(operand.code, "to", place.types.data), narrow=True)
    return _full(operand, value, place)


def _layer(operands: Sequence[Operand], axes: Sequence[str], result: str, place: Place) -> Code | None:
    """`x @ W.mT` for a matrix of parameters and a vector that varies; None for other products."""
    if sorted(operand.varies for operand in operands) != [False, True]:
        return None
    own = 0 if operands[0].varies else 1
    x, w = operands[own], operands[1 - own]
    vector, matrix = axes[own], axes[1 - own]
    if (len(vector), len(matrix)) != (1, 2) or sorted(matrix) != sorted(vector + result):
        return None
    turned = attribute(w.code, "mT") if matrix == result + vector else w.code
    if place.types.native and len(place.lead) > 1 and x.value.kind is Kind.FLOAT:
        return call("sequence_product", x.code, turned)
    return infix("@", x.code, turned)


def _product(operands: Sequence[Operand], axes: Sequence[str], result: str) -> Code:
    kept = ([letter in letters for letter in result] for letters in axes)
    codes = [o.code if o.host else lined_up(o, each) for o, each in zip(operands, kept, strict=True)]
    whole = codes[0]
    for code in codes[1:]:
        whole = infix("*", whole, code)
    return whole


def _summed(operands: Sequence[Operand], axes: Sequence[str], result: str) -> Code:
    """The product over all axes, then the sum over those that the result lacks."""
    every = "".join(dict.fromkeys(result + "".join(axes)))
    ordered = [_ordered(*_diagonal(operand, letters), every) for operand, letters in zip(operands, axes, strict=True)]
    inside = ["".join(letter for letter in every if letter in letters) for letters in axes]
    whole = _product(ordered, inside, every)
    gone = tuple(range(len(result) - len(every), 0))
    return method(whole, "sum", gone) if gone else whole


def _diagonal(operand: Operand, letters: str) -> tuple[Operand, str]:
    """The operand with equal axes merged into one, which moves to the end."""
    twice = next((letter for letter in letters if letters.count(letter) > 1), None)
    if twice is None:
        return operand, letters
    first, second = [place for place, letter in enumerate(letters) if letter == twice][:2]
    code = method(operand.code, "diagonal", 0, first - len(letters), second - len(letters))
    rest = "".join(letter for place, letter in enumerate(letters) if place not in (first, second))
    return _diagonal(replace(operand, code=code), rest + twice)


def _ordered(operand: Operand, letters: str, every: str) -> Operand:
    wanted = [letter for letter in every if letter in letters]
    if wanted == list(letters):
        return operand
    moved = tuple(letters.index(letter) - len(letters) for letter in wanted)
    return replace(operand, code=method(operand.code, "movedim", moved, tuple(range(-len(letters), 0))))


PRINTERS: Mapping[str, Printer] = {"einsum": einsum}
