"""Sums of products: `einsum` with axes named after their sizes, or a plain product where nothing is summed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.einsum_axes import axis_letters, is_product, parsed, spelled
from lsrl.backends.expressions import Code, call, infix
from lsrl.backends.jax_layout import lined_up
from lsrl.backends.jax_place import Operand, Place, Printer, promoted
from lsrl.backends.stored import is_stored
from lsrl.ir.value import Kind, Value


def einsum(value: Value, operands: Sequence[Operand], place: Place, *, derived: bool = False) -> Code:
    """`einsum("btd,hd->bth", x, W)`: operands that vary come first, so that the leading axes stay in front.

    Args:
        derived: JAX derives something from the text.  From an outer product of broadcast arrays it would derive sums of
            products, for which XLA on a CPU takes a hundred times as long as for the products of matrices that it
            derives from an einsum.
    """
    axes, result = parsed(str(value.attr("spec")))
    numbers = all(operand.host for operand in operands)
    given = promoted(operands, value.kind, place.types) if numbers else [_counted(o, place) for o in operands]
    if is_product(axes, result) and not (derived and not numbers and _is_outer(axes)):
        return _product(given, axes, result)
    letters = axis_letters(axes, [operand.value.shape for operand in operands])
    order = sorted(range(len(given)), key=lambda position: not given[position].varies)
    parts = [spelled(axes[p], letters, place.letters if given[p].varies else "") for p in order]
    varies = any(operand.varies for operand in operands)
    spec = f"{','.join(parts)}->{spelled(result, letters, place.letters if varies else '')}"
    narrow = place.types.narrow and is_layer(value, operands)
    return call("product" if narrow else "einsum", f'"{spec}"', *(given[p].code for p in order))


def summed_einsum(value: Value, operands: Sequence[Operand], place: Place) -> Code:
    """The sum of a product over all sequences and positions: `einsum("btg,bth->gh", d_g, h)`."""
    axes, result = parsed(str(value.attr("spec")))
    letters = axis_letters(axes, [operand.value.shape for operand in operands])
    parts = [spelled(a, letters, place.letters if o.varies else "") for a, o in zip(axes, operands, strict=True)]
    spec = f'"{",".join(parts)}->{spelled(result, letters, "")}"'
    narrow = place.types.data == "jnp.bfloat16" and value.kind is Kind.FLOAT and _is_outer(axes)
    return call("product" if narrow else "einsum", spec, *(_counted(operand, place).code for operand in operands))


def _is_outer(axes: Sequence[str]) -> bool:
    """Whether there are two operands, each with an axis of its own: summed up, or derived, a product of matrices."""
    return len(axes) == 2 and bool(set(axes[0]) - set(axes[1])) and bool(set(axes[1]) - set(axes[0]))


def _counted(operand: Operand, place: Place) -> Operand:
    return operand.as_type(Kind.INT, place.types) if operand.kind is Kind.BOOL else operand


def is_layer(value: Value, operands: Sequence[Operand]) -> bool:
    """A product of what varies with an array of parameters, whose operands may have 16 bits.

    A matrix that is computed from parameters is no such array: `I + dt A` in 16 bits would lose dt.
    """
    static = any(not operand.varies and operand.value.rank >= 2 and is_stored(operand.value) for operand in operands)
    return static and any(operand.varies for operand in operands) and value.kind is Kind.FLOAT


def _product(operands: Sequence[Operand], axes: Sequence[str], result: str) -> Code:
    kept = ([letter in letters for letter in result] for letters in axes)
    codes = [o.code if o.host else lined_up(o, each) for o, each in zip(operands, kept, strict=True)]
    whole = codes[0]
    for code in codes[1:]:
        whole = infix("*", whole, code)
    return whole


PRINTERS: Mapping[str, Printer] = {"einsum": einsum}
