"""The kernels of tiles: interpreted, held to the float64 reference; as machine code, within what GPUs have."""

from __future__ import annotations

from dataclasses import replace

import pytest

from lsrl.backends.identifiers import reached
from lsrl.backends.machine_code import LIMITS, resources
from lsrl.backends.torch_place import TYPES
from lsrl.backends.torch_prelude import functions, imports
from support.grids import Drawn
from support.tile_more import FORMS
from support.tile_programs import TILES

# Of which one block holds neither all rows nor all columns.
PROGRAMS = {
    **TILES,
    "vectors": FORMS["vectors"][0],
    "maxima": FORMS["maxima"][0],  # of which a kernel runs the derivative
    "wide": replace(TILES["plstm"], sizes=(("K", 37), ("V", 34))),
}
LAUNCHES = ("launch_tile_numbers", "launch_tile_wave", "launch_carry_wave")


@pytest.mark.parametrize(
    ("name", "extents", "schedule", "launched"),
    [
        ("plstm", (3, 5), "dag(2)", LAUNCHES),
        ("wide", (2, 5), "dag(4)", LAUNCHES),
        ("heads", (3, 3), "dag(2)", LAUNCHES),
        ("cube", (2, 3, 2), "dag(2)", LAUNCHES),
        ("both_ways", (3, 2), "dag(2)", LAUNCHES),
        ("cube", (3, 3, 3), "dag(3)", LAUNCHES[2:]),
        ("plstm", (3, 5), "dag(parallel, 2)", LAUNCHES[::2]),
        ("vectors", (3, 4), "dag(2)", LAUNCHES[2:]),
        ("maxima", (3, 2), "dag(2)", LAUNCHES[2:]),
    ],
)
def test_interpreted(
    name: str, extents: tuple[int, ...], schedule: str, launched: tuple[str, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Values and gradients in float32; kernels run what they are said to run."""
    drawn = Drawn.of(PROGRAMS[name], extents, batch=1)
    compiled = drawn.compiled("triton", "float32", schedule)
    module = compiled.engine.module  # type: ignore[attr-defined]
    counts = dict.fromkeys(LAUNCHES, 0)
    for each in (name for name in LAUNCHES if hasattr(module, name)):
        monkeypatch.setattr(module, each, counted(counts, each, getattr(module, each)))
    module.INTERPRETED = True
    assert {what: error for what, error in drawn.errors(compiled) if error > 2e-5} == {}
    assert {each for each, count in counts.items() if count} == set(launched)


def counted(counts: dict[str, int], name: str, function: object) -> object:
    """A function that counts its calls."""
    assert callable(function)

    def call(*given: object) -> object:
        counts[name] += 1
        return function(*given)

    return call


KERNELS = """
FLOATS = ("transition", "gates", "marks", "leaving", "reading", "queries", "keys", "values", "states", "found")
POINTERS = dict.fromkeys((*FLOATS, "maps", "added"), "*fp32") | {"edges": "*i32", "rows": "*i32"}


def described(kernel, **constants):
    names = kernel.arg_names
    return kernel, {name: POINTERS.get(name, "i32") for name in names if name not in constants}, constants


def kernels(side, width):
    places, edges = side * side, 2 * side
    one = {"STATES": 2, "PRODUCTS": 1, "READS": 1, "BLOCK_N": 2, "BLOCK_R": 1}
    yield described(
        tile_numbers_kernel, PLACES=places, EDGES=edges, **one, BLOCK_E=16, BLOCK_X=32, num_warps=1
    )
    yield described(
        grid_carry_kernel, columns=width * width, map_row=edges, map_column=1, EDGES=edges, BLOCK_E=edges, BLOCK_X=128,
        num_warps=4,
    )
    rows = {"READS": places, "PRODUCTS": places, "BLOCK_R": places, "BLOCK_P": places}
    yield described(
        tile_wave_kernel, width=width, columns=width, EDGES=edges, **rows, BLOCK_E=16, BLOCK_Q=32, BLOCK_K=4,
        BLOCK_V=32, DOT=tl.float32, num_warps=8 if places > 32 else 4,
    )


KERNELS = (*kernels(4, 64), *kernels(8, 64))
"""


@pytest.mark.slow
@pytest.mark.parametrize("target", LIMITS)
def test_fit(target: str) -> None:
    """As they are launched for tiles of 4 and of 8 places along each axis, and states of 64 by 64."""
    known = functions(TYPES["float32"])
    parts = reached(KERNELS, known)
    text = "\n\n\n".join([imports("\n".join([*parts, KERNELS])), *parts, KERNELS])
    found = resources(text, target)
    assert len(found) == 6
    assert [row for row in found if not row.fits] == []
