"""How a loop is spread over the programs of a kernel, and a program's values over its registers.

Each class of axes is either held whole, padded to a power of two, or, where it is parallel, cut into blocks of which
each goes to a program of its own.  The choice is a rule with a few numbers, all of them here: a program of one warp
holds about a thousand elements of its largest value, matrices that stay the same are kept in registers when they fit,
and 16-bit products with them use tensor cores on tiles of sixteen sequences.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from math import prod

from lsrl.backends.kernel_form import KernelForm, NoKernel
from lsrl.ir.dims import Dim
from lsrl.ir.pipeline import VARYING
from lsrl.ir.value import Kind, Value, depends_on

LANES = 32
VECTOR_TILE = 4 * LANES  # elements of a block of channels: one 16-byte load per lane
MATRIX_TILE = 32 * LANES  # elements of a block of a matrix state, for a loop with one such state
LARGEST_TILE = 16384
LARGEST_DOT = 4096  # 32-bit words of a result of `tl.dot` in full precision, which multiplies without tensor cores
RESIDENT = 16384  # 32-bit words of matrices that a program can keep in registers
RESIDENT_16 = 65536  # elements of matrices that tensor cores read from shared memory and registers
PER_THREAD = 64
WARPS = 8
DOT_WARPS = 4
MOST_STAGES = 3  # the compiler's own choice
SHARED_BYTES = 166912  # of a program on the smaller of the GPUs
DOT = 16  # the least size of an axis of tl.dot


@dataclass(frozen=True, slots=True)
class Tile:
    """A class of axes in a program.

    Attributes:
        name: the suffix of its variables, as in `o_h`.
        size, number: how many elements the whole axis has, as an expression and as a number.
        block: how many of them a program holds, a power of two.
        parallel: its elements never meet.
    """

    name: str
    size: Dim
    number: int
    block: int
    parallel: bool

    @property
    def padded(self) -> bool:
        """Whether some lanes of a block may lie beyond the end."""
        return self.number % self.block != 0

    @property
    def programs(self) -> int:
        """Into how many blocks the axis is cut."""
        return -(-self.number // self.block)

    @property
    def single(self) -> bool:
        """Whether a program holds one element, so that the axis is left out of its values."""
        return self.parallel and self.block == 1


@dataclass(frozen=True, slots=True)
class Tiling:
    """The tiles of a loop.

    Attributes:
        form: the loop.
        tiles: by class of axes.
        batch: the sequences of a program; where that is one, no value shows the axis.
        varying: values that are different in every sequence.
        dots: products that `tl.dot` computes.
        resident: whether matrices that stay the same are kept in registers from the start.
        warps: of a program.
        stages: of how many positions what is read lies in shared memory at once, where the compiler puts it there.
    """

    form: KernelForm
    tiles: Mapping[int, Tile]
    batch: Tile
    varying: frozenset[Value]
    dots: frozenset[Value]
    resident: bool
    warps: int
    stages: int = MOST_STAGES

    def axes(self, value: Value) -> tuple[Tile, ...]:
        """The axes of a value's block, the sequences of a tile first."""
        own = [self.tiles[number] for number in self.form.classes.of(value)]
        lead = [self.batch] if value in self.varying else []
        return tuple(tile for tile in (*lead, *own) if not tile.single)

    def all_tiles(self, value: Value) -> tuple[Tile, ...]:
        """The tile of each axis of a value."""
        return tuple(self.tiles[number] for number in self.form.classes.of(value))

    def keeps(self, value: Value) -> bool:
        """Whether a value that stays the same is in registers all the time; next to large matrices no array is."""
        return self.resident or not self.axes(value)

    def cut(self) -> tuple[Tile, ...]:
        """The axes of which a program holds a part, so that they need several programs."""
        return tuple(tile for tile in self.tiles.values() if tile.programs > 1)


def tiling(form: KernelForm, numbers: Mapping[str, int], data_bits: int) -> Tiling:
    """The tiles of a loop.

    Args:
        numbers: the number of every size.
        data_bits: 16, 32 or 64.

    Raises:
        NoKernel: a program cannot hold what it has to.
    """
    varying = depends_on(form.cell.roots(), lambda value: value.op in VARYING)
    tiles = whole(form, numbers, {"b"})
    batch = Tile("b", Dim.of(1), 1, 1, True)
    start = Tiling(form, tiles, batch, varying, frozenset(), True, 1)
    if data_bits == 16 and _layers(start):
        with_dots = _dot_tiling(start)
        if with_dots is not None:
            return with_dots
    large = _grown(start, 2 if data_bits == 64 else 1)
    return _with_warps(_matrix_dots(large), 2 if data_bits == 64 else 1)


def einsum_axes(value: Value) -> tuple[list[str], str]:
    """The letters of the operands and of the result."""
    left, result = str(value.attr("spec")).split("->")
    return left.split(","), result


def letter_tiles(tiling_: Tiling, value: Value) -> dict[str, Tile]:
    """The tile of every letter of an einsum."""
    operands, _ = einsum_axes(value)
    pairs = zip(operands, value.args, strict=True)
    return {
        letter: tile for letters, arg in pairs for letter, tile in zip(letters, tiling_.all_tiles(arg), strict=True)
    }


def whole(form: KernelForm, numbers: Mapping[str, int], taken: Collection[str]) -> dict[int, Tile]:
    """Every class held whole, except that parallel ones start with one element.

    Args:
        taken: names of tiles that the kernel has beside those of classes.
    """
    sizes: dict[int, Dim] = {}
    for (value, axis), number in form.classes.numbers.items():
        sizes.setdefault(number, value.shape[axis])
    names: dict[int, str] = {}
    for number, size in sizes.items():
        names[number] = _fresh(_tile_name(size), {*names.values(), *taken})
    tiles = {}
    for number, size in sizes.items():
        parallel = number not in form.classes.mixed
        length = size.evaluate(numbers)
        tiles[number] = Tile(names[number], size, length, 1 if parallel else power_of_two(length), parallel)
    return tiles


def _tile_name(size: Dim) -> str:
    names = sorted(size.names)
    if not names:
        return "i"
    return "".join(name.lower() for name in names)


def _fresh(wanted: str, taken: set[str]) -> str:
    found, number = wanted, 2
    while found in taken:
        found, number = f"{wanted}{number}", number + 1
    return found


def _layers(tiles: Tiling) -> list[Value]:
    """Products that sum over an axis of a matrix which stays the same."""

    def matrix(value: Value) -> bool:
        return tiles.form.is_static(value) and len(tiles.axes(value)) >= 2

    products = [v for v in tiles.form.body if v.op == "einsum" and v.kind is Kind.FLOAT]
    return [v for v in products if len(v.args) == 2 and _summed(tiles, v) and any(map(matrix, v.args))]


def _summed(tiles: Tiling, value: Value) -> list[str]:
    operands, result = einsum_axes(value)
    return [letter for letter in dict.fromkeys("".join(operands)) if letter not in result]


def _dot_tiling(tiles: Tiling) -> Tiling | None:
    """Tiles of sixteen sequences, where every product with a matrix is one of `tl.dot`, and all of them fit."""
    layers = _layers(tiles)
    numbers = {n for v in layers for arg in v.args if tiles.form.is_static(arg) for n in tiles.form.classes.of(arg)}
    padded = {
        n: replace(tile, block=max(tile.block, DOT)) if n in numbers and not tile.parallel else tile
        for n, tile in tiles.tiles.items()
    }
    wide = replace(tiles, tiles=padded, batch=Tile("b", Dim.of("B"), 2 * DOT + 1, DOT, True), dots=frozenset(layers))
    kept = _resident_elements(wide)
    fits = kept <= RESIDENT_16 and largest(wide) <= MATRIX_TILE * 4
    if not fits or not all(_is_dot(wide, value) for value in layers):
        return None
    return replace(wide, warps=max(DOT_WARPS, _clamped(kept // (LANES * 4 * PER_THREAD))), stages=_stages(wide))


def _stages(tiles: Tiling) -> int:
    """As many positions ahead as fit into shared memory beside the matrices: with tensor cores both lie there."""
    reads = [v for v in tiles.form.views if not tiles.form.is_static(v)]
    ahead = 4 * sum(_volume(tiles.axes(v)) for v in reads)
    kept = 2 * _resident_elements(tiles) + 4 * largest(tiles)
    room = (SHARED_BYTES - kept) // max(1, ahead)
    return max(1, min(MOST_STAGES, 1 + room))


def _is_dot(tiles: Tiling, value: Value) -> bool:
    """Whether a product is one of two matrices in the program's blocks, each axis long enough for `tl.dot`."""
    axes = dot_axes(tiles, value)
    return axes is not None and all(tile.block >= DOT for tile in axes)


def dot_axes(tiles: Tiling, value: Value) -> tuple[Tile, Tile, Tile] | None:
    """The rows, the summed axis and the columns of a product of two matrices; None where it is none."""
    operands, result = einsum_axes(value)
    if len(operands) != 2 or any(len(set(letters)) != len(letters) for letters in operands):
        return None
    found = letter_tiles(tiles, value)
    lead = [{"*": tiles.batch}] if not tiles.batch.single else []
    kept = [
        {**(lead[0] if lead and arg in tiles.varying else {}), **{x: found[x] for x in letters if not found[x].single}}
        for letters, arg in zip(operands, value.args, strict=True)
    ]
    both = [letter for letter in kept[0] if letter in kept[1]]
    rows = [letter for letter in kept[0] if letter not in kept[1]]
    columns = [letter for letter in kept[1] if letter not in kept[0]]
    if (len(both), len(rows), len(columns)) != (1, 1, 1) or both[0] in result:
        return None
    return kept[0][rows[0]], kept[0][both[0]], kept[1][columns[0]]


def _matrix_dots(tiles: Tiling) -> Tiling:
    """Products of two matrices that would be large element by element use `tl.dot`."""
    large = [
        v
        for v in tiles.form.body
        if v.op == "einsum" and v.kind is Kind.FLOAT and _product_volume(tiles, v) > LARGEST_TILE and _is_dot(tiles, v)
    ]
    return replace(tiles, dots=frozenset(large))


def _grown(tiles: Tiling, words: int) -> Tiling:
    """Blocks of parallel axes as large as the tile of a program allows."""
    held = any(not tile.parallel for tile in tiles.tiles.values())
    matrices = sum(len(state.shape) >= 2 for state in tiles.form.cell.states)
    room = (MATRIX_TILE * 2 // (1 + max(1, matrices)) if held else VECTOR_TILE) // words
    return grown(tiles, room, LANES if held else room)  # heads share a program only where one leaves lanes idle


def grown(tiles: Tiling, room: int, room_of_outer: int) -> Tiling:
    """Blocks of parallel axes, the innermost first, as large as leaves no block with more than `room` elements.

    Args:
        room_of_outer: the same for all but the innermost axis.
    """
    for place, number in enumerate(_inner_first(tiles)):
        limit = room if place == 0 else room_of_outer
        tile = tiles.tiles[number]
        while tile.block < tile.number:
            wider = replace(tile, block=2 * tile.block)
            tried = replace(tiles, tiles={**tiles.tiles, number: wider})
            if largest(tried) > limit:
                break
            tile, tiles = wider, tried
    return tiles


def _inner_first(tiles: Tiling) -> list[int]:
    """The parallel classes, those that lie closer in memory first: V before N in a state [N, K, V]."""
    depth: dict[int, int] = {}
    for value in (*tiles.form.views, *tiles.form.body):
        numbers = tiles.form.classes.of(value) if (value, 0) in tiles.form.classes.numbers else ()
        for place, number in enumerate(numbers):
            depth[number] = max(depth.get(number, 0), len(numbers) - place)
    parallel = [number for number, tile in tiles.tiles.items() if tile.parallel]
    return sorted(parallel, key=lambda number: depth.get(number, 0))


def _with_warps(tiles: Tiling, words: int) -> Tiling:
    peak = largest(tiles)
    if peak > LARGEST_TILE:
        raise NoKernel(f"{peak} products at once are more than a program holds")
    if tiles.dots:
        if peak * words > LARGEST_DOT:
            raise NoKernel(f"products of matrices of {peak} elements are more than a program holds")
        return replace(tiles, warps=_clamped(peak * words // (LANES * DOT)))
    layers = _layers(tiles)
    kept = _resident_elements(tiles) * words
    if layers and kept <= RESIDENT:
        return replace(tiles, warps=_clamped(max(kept // (LANES * PER_THREAD), peak // (LANES * PER_THREAD))))
    if layers:
        return replace(tiles, resident=False, warps=_clamped(peak * words // (LANES * 2 * PER_THREAD)))
    return replace(tiles, warps=_clamped(peak * words // MATRIX_TILE))


def _clamped(warps: int) -> int:
    return min(WARPS, power_of_two(max(1, warps)))


def _resident_elements(tiles: Tiling) -> int:
    statics = [v for v in tiles.form.views if tiles.form.is_static(v) and v.rank]
    return sum(_volume(tiles.axes(v)) for v in statics if len(tiles.axes(v)) >= 2)


def largest(tiles: Tiling) -> int:
    """Elements of the largest block of a value or of a product before it is summed."""
    values = [*tiles.form.body, *(v for v in tiles.form.views if not tiles.form.is_static(v))]
    volumes = [_volume(tiles.axes(v)) for v in values if not v.rank or (v, 0) in tiles.form.classes.numbers]
    products = [_product_volume(tiles, v) for v in tiles.form.body if v.op == "einsum" and v not in tiles.dots]
    return max([1, *volumes, *products])


def _product_volume(tiles: Tiling, value: Value) -> int:
    lead = [tiles.batch] if value in tiles.varying else []
    return _volume([*lead, *letter_tiles(tiles, value).values()])


def _volume(axes: Sequence[Tile]) -> int:
    """Elements of a block."""
    return prod(tile.block for tile in axes)


def power_of_two(number: int) -> int:
    """The least power of two that is at least `number`."""
    return 1 << max(0, number - 1).bit_length()
