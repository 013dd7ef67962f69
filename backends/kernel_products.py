"""Sums of products inside of a kernel: `tl.dot` where the tiles ask for it, else multiply and add up."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from lsrl.backends.expressions import Code, call, infix, method, subscript
from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.kernel_place import KernelPlace, Operand, Printer, masked
from lsrl.backends.kernel_tiles import Tile, einsum_axes, letter_tiles
from lsrl.ir.value import Kind, Value

BATCH = "*"  # the letter of a tile of sequences


def einsum(value: Value, operands: Sequence[Operand], place: KernelPlace) -> Code:
    """`tl.sum(b_W * b_h[None, :], axis=1)`."""
    axes, result = einsum_axes(value)
    if any(len(set(letters)) != len(letters) for letters in axes):
        raise NoKernel("a product along the diagonal of a matrix")
    tiles = {**letter_tiles(place.tiling, value), BATCH: place.tiling.batch}
    given = [o if o.kind is value.kind or o.host else o.as_type(value.kind, place.types) for o in operands]
    letters = [_kept(own, tiles, arg in place.tiling.varying) for own, arg in zip(axes, value.args, strict=True)]
    wanted = _kept(result, tiles, value in place.tiling.varying)
    if value in place.tiling.dots:
        return _dot(given, letters, wanted, tiles, place)
    order = _order(letters, wanted)
    blocks = [_lined_up(operand, own, order) for operand, own in zip(given, letters, strict=True)]
    product = blocks[0]
    for block in blocks[1:]:
        product = infix("*", product, block)
    gone = [n for n, letter in enumerate(order) if letter not in wanted]
    ordered = [tiles[letter] for letter in order]
    whole = masked(product, ordered, gone, "0" if value.kind is Kind.INT else "0.0") if gone else product
    for axis in reversed(gone):
        whole = call("tl.sum", whole, axis=axis)
    return _turned(whole, "".join(letter for letter in order if letter in wanted), wanted)


def _kept(letters: str, tiles: Mapping[str, Tile], varies: bool) -> str:
    """The letters of a block: those of axes of which a program holds more than one element."""
    return "".join(letter for letter in ((BATCH if varies else "") + letters) if not tiles[letter].single)


def _order(letters: Sequence[str], wanted: str) -> str:
    """The axes of the product before it is summed, such that few operands have to be turned."""
    every = dict.fromkeys(wanted + "".join(letters))
    longest = max(letters, key=len)
    first = "".join([*longest, *(letter for letter in every if letter not in longest)])
    if BATCH in every:
        first = BATCH + first.replace(BATCH, "")
    candidates = [first, "".join(every)]

    def turns(order: str) -> int:
        return sum(not _in_order(own, order) for own in (*letters, wanted))

    return min(candidates, key=turns)


def _in_order(letters: str, order: str) -> bool:
    return [letter for letter in order if letter in letters] == list(letters)


def _lined_up(operand: Operand, letters: str, order: str) -> Code:
    """The block with axes of length one where the product has others."""
    if operand.host or letters == order or not letters:
        return operand.code
    sorted_ = "".join(letter for letter in order if letter in letters)
    turned = _turned(operand.code, letters, sorted_)
    if sorted_ == order:
        return turned
    return subscript(turned, ", ".join(":" if letter in letters else "None" for letter in order))


def _turned(block: Code, letters: str, wanted: str) -> Code:
    if letters == wanted:
        return block
    if len(letters) == 2:
        return call("tl.trans", block)
    return call("tl.permute", block, tuple(letters.index(letter) for letter in wanted))


def _dot(
    operands: Sequence[Operand], letters: Sequence[str], wanted: str, tiles: Mapping[str, Tile], place: KernelPlace
) -> Code:
    """Rows are those of the result, whichever operand has them."""
    (summed,) = [letter for letter in letters[0] if letter in letters[1]]
    row, column = wanted[0], wanted[1]
    left, right = (0, 1) if row in letters[0] else (1, 0)
    a = _matrix(operands[left], letters[left], row + summed, summed, tiles, place)
    b = _matrix(operands[right], letters[right], summed + column, summed, tiles, place)
    options = {"input_precision": '"ieee"'}
    if place.types.real == "tl.float64":
        options["out_dtype"] = "tl.float64"
    return call("tl.dot", a, b, **options)


def _matrix(
    operand: Operand, letters: str, wanted: str, summed: str, tiles: Mapping[str, Tile], place: KernelPlace
) -> Code:
    """An operand of `tl.dot`: zero beyond the end of the summed axis, and in the type of data where matrices are."""
    if place.tiling.form.is_static(operand.value):
        return _turned(operand.code, letters, wanted)
    block = masked(operand.code, [tiles[letter] for letter in letters], [letters.index(summed)], "0.0")
    if place.raw:
        block = method(block, "to", place.types.dot)
    return _turned(block, letters, wanted)


PRINTERS: Mapping[str, Printer] = {"einsum": einsum}
