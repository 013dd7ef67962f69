"""How loops are spread over programs: what is held, cut, kept in registers, multiplied by tensor cores, refused."""

from __future__ import annotations

import pytest

from lsrl import stages
from lsrl.backends.kernel_form import KernelForm, NoKernel, kernel_form
from lsrl.backends.kernel_tiles import Tiling, tiling
from lsrl.backends.loop_cell import loop_cell
from lsrl.backends.naming import Names
from lsrl.ir.plan import Loop
from support.programs import MATRICES, Case, bound


def form(source: str, **sizes: int) -> tuple[KernelForm, dict[str, int]]:
    cell, numbers = bound(Case(source, tuple(sizes.items())))
    plan = stages.make(cell, numbers, "triton").plan
    (loop,) = (stage for stage in plan.stages if isinstance(stage, Loop))
    cut = loop_cell(plan, loop, Names(plan.cell), lambda value: not value.rank and not value.args)
    return kernel_form(cut, numbers), numbers


def tiles(source: str, bits: int = 32, **sizes: int) -> Tiling:
    found, numbers = form(source, **sizes)
    return tiling(found, numbers, bits)


def blocks(found: Tiling) -> dict[str, int]:
    return {str(tile.size): tile.block for tile in found.tiles.values()}


def programs(found: Tiling) -> dict[str, int]:
    return {str(tile.size): tile.programs for tile in found.cut()}


def test_channels_are_cut_into_blocks_of_one_warp() -> None:
    found = tiles("std/mingru", D=8, H=300)
    assert (blocks(found), programs(found), found.warps) == ({"H": 128}, {"H": 3}, 1)
    found = tiles("std/mingru", D=8, H=5)
    assert (blocks(found), programs(found)) == ({"H": 8}, {})
    assert [tile.padded for tile in found.tiles.values()] == [True]


def test_keys_are_held_values_are_cut_and_heads_have_programs_of_their_own() -> None:
    found = tiles("std/gated_delta", N=4, K=100, V=128)
    assert (blocks(found), programs(found)) == ({"N": 1, "K": 128, "V": 8}, {"N": 4, "V": 16})
    (state,) = found.form.cell.states
    assert [tile.block for tile in found.axes(found.form.arriving()[state.name])] == [128, 8]


def test_short_heads_share_a_program() -> None:
    assert programs(tiles("std/rg_lru", N=64, P=4)) == {"N": 2}


def test_state_space_holds_its_states_and_cuts_its_channels() -> None:
    found = tiles("std/selective_ssm", E=256, N=16, R=4)
    assert (blocks(found), programs(found), found.warps) == ({"E": 64, "N": 16}, {"E": 4}, 1)


@pytest.mark.parametrize(("H", "resident", "warps"), [(32, True, 2), (64, True, 8), (65, False, 4), (128, False, 4)])
def test_matrices_stay_in_registers_while_they_fit(H: int, resident: bool, warps: int) -> None:
    found = tiles("std/lstm", D=8, H=H)
    assert (found.resident, found.warps, programs(found)) == (resident, warps, {})
    assert not found.dots
    assert found.batch.single


@pytest.mark.parametrize(("H", "warps"), [(10, 4), (64, 4), (128, 8)])
def test_16_bits_use_tensor_cores_on_tiles_of_sequences(H: int, warps: int) -> None:
    found = tiles("std/lstm", bits=16, D=8, H=H)
    assert (found.batch.block, len(found.dots), found.warps) == (16, 4, warps)
    assert min(blocks(found).values()) >= 16


def test_double_precision_takes_half_as_much() -> None:
    assert programs(tiles("std/gated_delta", bits=64, N=1, K=128, V=8)) == {"V": 2}


def test_what_does_not_fit_is_refused() -> None:
    with pytest.raises(NoKernel, match="65536 products at once"):
        tiles("std/lstm", D=8, H=129)


def test_empty_axes_are_refused() -> None:
    with pytest.raises(NoKernel, match="no elements"):
        tiles("std/mingru", D=8, H=0)


def test_products_of_matrices_use_dot_while_they_fit() -> None:
    found = tiles(MATRICES)
    assert len(found.dots) == 1
    assert blocks(found) == {"K": 32}
    with pytest.raises(NoKernel, match="16384 elements"):
        tiles(MATRICES, K=100)
