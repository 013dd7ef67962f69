"""Where tiles of a grid run in Triton kernels; `torch_tiles_alone` is for modules without kernels."""

import math

from lsrl.backends.runtime.torch_carry_plain import carried_out, carry_room, carry_rows
from lsrl.backends.runtime.torch_kernels import runs_kernels
from lsrl.backends.runtime.torch_tile_pieces import tile_edges, tile_slots
from lsrl.backends.runtime.torch_tiles_plain import tiles_by_pytorch, tiles_plainly
from lsrl.backends.runtime.torch_waves import wave_runs
from lsrl.backends.runtime.triton_tiles_launch import launch_tile_numbers, launch_tile_wave, tile_kernels_serve


def tiles_in_kernels(coefficients, vectors, border, counts, sides, axes):
    """`grid_tiles` by a kernel for each wave of tiles, of what `tile_coefficients` gives."""
    grid = (counts, axes, (*tile_edges(axes, sides),), False)
    states, parts = carry_room(border, *grid)
    rows, found = carry_rows(*grid, border.device), border.new_empty(*vectors[0].shape[:2], vectors[2].shape[2])
    given = [each.contiguous() for each in vectors]
    for first, count in wave_runs(counts):
        launch_tile_wave(coefficients, given, states, rows, found, first, count)
    places = math.prod(counts)
    return [found, states[:places], carried_out(places, parts)]


def run_tiles(numbers, vectors, border, counts, sides, axes, tree):
    """What `grid_tiles` gives."""
    edges = sum(tile_edges(axes, sides))
    if not (tile_kernels_serve(numbers, vectors, edges) and runs_kernels(border)):
        return tiles_by_pytorch(numbers, vectors, border, counts, sides, axes, tree)
    coefficients = launch_tile_numbers(numbers, tile_slots(sides, axes, border.device), edges)
    if tree:
        return tiles_plainly(tree, coefficients, vectors, border, counts, sides, axes)
    return tiles_in_kernels(coefficients, vectors, border, counts, sides, axes)
