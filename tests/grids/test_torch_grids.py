"""Grids in PyTorch and Triton: plain waves and kernels, values and derivatives held to the float64 reference."""

from __future__ import annotations

from itertools import product
from types import ModuleType

import numpy as np
import pytest
import torch

import lsrl
from lsrl.backends.machine_code import resources
from lsrl.backends.runtime.torch_waves import (
    from_neighbours,
    grid_neighbours,
    in_waves,
    on_grid,
    over_places,
    over_waves,
    wave_order,
)
from lsrl.compiled import Compiled
from support.grid_programs import GRIDS
from support.grids import Drawn

SIDES = [(3, 4), (4, 3), (1, 5), (5, 1), (7, 2), (1, 1)]
TOLERANCE = {"float64": 1e-10, "float32": 2e-5, "bfloat16": 3e-2}


pytestmark = pytest.mark.filterwarnings("ignore:.* runs in its plain PyTorch form")


def module_of(compiled: Compiled) -> ModuleType:
    module: ModuleType = compiled.engine.module  # type: ignore[attr-defined]
    return module


def check(name: str, extents: tuple[int, ...], dtype: str = "float64", *, plain: bool = False, **options: bool) -> None:
    """Everything that a program gives, and its gradients."""
    drawn = Drawn.of(GRIDS[name], extents, **options)
    compiled = drawn.compiled("triton", dtype, "auto")
    module_of(compiled).INTERPRETED = not plain
    assert {what: error for what, error in drawn.errors(compiled) if error > TOLERANCE[dtype]} == {}


# What runs the step.


@pytest.mark.parametrize("extents", [(3, 4), (1, 3), (5, 2, 3), (4,), (2, 1, 3, 2)])
def test_waves_are_stretches(extents: tuple[int, ...]) -> None:
    """Places come in the order of the sums of their coordinates, and in row-major order where these are equal."""
    places = sorted(product(*map(range, extents)), key=sum)
    assert wave_order(extents).tolist() == [np.ravel_multi_index(place, extents) for place in places]
    grid = torch.randn(2, *extents, 3)
    torch.testing.assert_close(on_grid(in_waves(grid, len(extents)), extents), grid, rtol=0, atol=0)


@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("axis", [0, 1, 2])
def test_neighbours(axis: int, reverse: bool) -> None:
    extents, edge = (2, 3, 4), -1 if reverse else 0
    grid, border = torch.randn(2, *extents), torch.randn(2, *(n for at, n in enumerate(extents) if at != axis))
    arriving, last = from_neighbours(border, in_waves(grid, 3), extents, axis, reverse)
    wanted = grid.roll(-1 if reverse else 1, 1 + axis)
    wanted.select(1 + axis, edge).copy_(border)
    torch.testing.assert_close(on_grid(arriving, extents), wanted, rtol=0, atol=0)
    torch.testing.assert_close(last, grid.select(1 + axis, -1 - edge), rtol=0, atol=0)
    assert grid_neighbours(extents, axis, reverse)[1].shape == border.shape[1:]


@pytest.mark.parametrize("run", [over_waves, over_places])
@pytest.mark.parametrize("reverse", [False, True])
@pytest.mark.parametrize("extents", [(5,), (3, 4), (3, 2, 4), (2, 2, 1, 3)])
def test_paths_are_counted(extents: tuple[int, ...], reverse: bool, run: object) -> None:
    """A state that is the sum of what arrives counts the ways to a place: multinomial coefficients, exactly."""
    rank = len(extents)
    axes = tuple(range(rank))
    starts = [torch.zeros(1, *(n for at, n in enumerate(extents) if at != axis)) for axis in axes]
    corner = torch.zeros(1, *extents)
    corner[(0, *([-1 if reverse else 0] * rank))] = 1

    def advance(*states: torch.Tensor) -> tuple[list[torch.Tensor], tuple[torch.Tensor]]:
        total = sum(states[1:], states[0])
        return [total] * rank, (total,)

    reads = [in_waves(corner, rank)]
    kept, *_ = run(advance, starts, reads, extents, axes, reverse=reverse)  # type: ignore[operator]
    counts = on_grid(kept, extents)[0]
    counts = counts.flip(axes) if reverse else counts
    for place in product(*map(range, extents)):
        ways = np.prod([float(n) for n in range(1, sum(place) + 1)])
        for coordinate in place:
            ways /= np.prod([float(n) for n in range(1, coordinate + 1)])
        assert counts[place] == ways


# Programs.


@pytest.mark.parametrize("name", GRIDS)
def test_plain_waves(name: str) -> None:
    check(name, (3, 4, 2)[: GRIDS[name].axes], plain=True)


@pytest.mark.parametrize("name", GRIDS)
def test_interpreted_kernels(name: str) -> None:
    check(name, (2, 3, 2)[: GRIDS[name].axes])


@pytest.mark.parametrize("extents", SIDES)
@pytest.mark.parametrize("name", ["plstm", "md_rnn"])
def test_all_sides(name: str, extents: tuple[int, ...]) -> None:
    check(name, extents, plain=True, started=False)


@pytest.mark.parametrize("extents", [(0, 3), (3, 0), (0, 0)])
@pytest.mark.parametrize("plain", [False, True])
def test_grids_without_places_pass_their_borders_on(extents: tuple[int, ...], plain: bool) -> None:
    check("md_rnn", extents, plain=plain)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("plain", [False, True])
def test_short_numbers(dtype: str, plain: bool) -> None:
    check("plstm", (2, 3), dtype, plain=plain)


def test_place_after_place() -> None:
    drawn = Drawn.of(GRIDS["md_rnn"], (2, 3))
    compiled = drawn.compiled("triton", "float64", "sequential")
    assert "one Triton kernel for each place" in module_of(compiled).SCHEDULE["h.y, h.x"]
    for interpreted in (True, False):
        module_of(compiled).INTERPRETED = interpreted
        assert max(dict(drawn.errors(compiled)).values()) < 1e-10


@pytest.mark.parametrize("plain", [False, True])
def test_tiles_are_stitched_by_their_borders(plain: bool) -> None:
    """A grid in two tiles, the second of which takes the borders of the first, is the whole grid to the last bit."""
    drawn = Drawn.of(GRIDS["plstm"], (4, 3))
    fn = drawn.compiled("triton", "float32", "dag")
    _, inputs, state = drawn.given
    module_of(fn).INTERPRETED = not plain
    whole = fn({}, inputs, state)
    upper = fn({}, {n: a[:, :3] for n, a in inputs.items()}, {**state, "R": state["R"][:, :3]})
    lower = fn({}, {n: a[:, 3:] for n, a in inputs.items()}, {"R": state["R"][:, 3:], "D": upper.state["D"]})
    assert torch.equal(torch.cat([upper.outputs["o"], lower.outputs["o"]], 1), whole.outputs["o"])
    assert torch.equal(torch.cat([upper.state["R"], lower.state["R"]], 1), whole.state["R"])
    assert torch.equal(lower.state["D"], whole.state["D"])


# Autograd, and what compiles.


def tensors(drawn: Drawn) -> list[dict[str, torch.Tensor]]:
    return [{name: torch.tensor(array) for name, array in group.items()} for group in drawn.given]


def plain_module(name: str, extents: tuple[int, ...], dtype: str) -> tuple[ModuleType, list[dict[str, torch.Tensor]]]:
    drawn = Drawn.of(GRIDS[name], extents, batch=1)
    module = module_of(drawn.compiled("triton", dtype, "dag"))
    module.INTERPRETED = False
    return module, tensors(drawn)


@pytest.mark.parametrize("name", ["plstm", "md_rnn"])
def test_gradcheck(name: str) -> None:
    """First and second derivatives by differences."""
    module, groups = plain_module(name, (2, 2), "float64")
    leaves = [tensor.requires_grad_() for group in groups for tensor in group.values()]
    names = [[*group] for group in groups]

    def run(*flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = iter(flat)
        outputs, last = module.apply(*({name: next(given) for name in group} for group in names))
        return (*outputs.values(), *last.values())

    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
def test_compiled_without_breaks() -> None:
    module, (params, inputs, state) = plain_module("md_rnn", (2, 3), "float32")
    single = [{name: tensor.float() for name, tensor in group.items()} for group in (params, inputs, state)]
    leaves = [tensor.requires_grad_() for group in single for tensor in group.values()]
    whole = torch.compile(module.apply, fullgraph=True, backend="aot_eager")
    wanted, found = (run(*single)[0]["o"] for run in (module.apply, whole))
    torch.testing.assert_close(found, wanted)
    theirs, ours = (
        torch.autograd.grad(each.square().sum(), leaves, materialize_grads=True) for each in (wanted, found)
    )
    torch.testing.assert_close(ours, theirs)


def test_exported() -> None:
    module, (_, inputs, _) = plain_module("md_rnn", (2, 3), "float32")
    given = {name: tensor.float() for name, tensor in inputs.items()}

    class Whole(torch.nn.Module):
        def forward(self, u: torch.Tensor) -> torch.Tensor:
            found: torch.Tensor = self.inner({"u": u})[0]["o"]
            return found

    whole = Whole()
    whole.inner = next(each for each in vars(module).values() if _is_network(each))()
    program = torch.export.export(whole, (given["u"],))
    torch.testing.assert_close(program.module()(given["u"]), whole(given["u"]))


def _is_network(each: object) -> bool:
    return isinstance(each, type) and issubclass(each, torch.nn.Module)


def test_recurrences_share_their_waves() -> None:
    """One state that reads the other, at the same place, needs no waves of its own."""
    module, _ = plain_module("smear", (2, 2), "float32")
    assert list(module.SCHEDULE) == ["R, D"]


def test_work_on_whole_states_stays_in_the_waves() -> None:
    """The adjoint makes no array as large as the states of all places beside those that were kept."""
    source = Drawn.of(GRIDS["plstm"], (2, 2)).compiled("triton", "float32", "dag").source
    adjoint = source[source.index("def R_D_adjoint") : source.index("class RDDerivative")]
    assert "d_ml" in adjoint
    assert " * R" not in adjoint
    assert "einsum" not in adjoint


def test_no_step() -> None:
    module, _ = plain_module("plstm", (2, 2), "float32")
    assert not hasattr(module, "step")


def test_wrong_shapes_are_named() -> None:
    module, (params, inputs, state) = plain_module("plstm", (2, 3), "float64")
    with pytest.raises(ValueError, match=r"trl has the shape \(1, 2, 2\), and should have \(1, 2, 3\)"):
        module.apply(params, inputs | {"trl": torch.zeros(1, 2, 2)}, state)
    with pytest.raises(ValueError, match=r"R has the shape \(1, 3, 3, 2\), and should have \(1, 2, 3, 2\)"):
        module.apply(params, inputs, {"R": torch.zeros(1, 3, 3, 2)})


def test_machine_code() -> None:
    """One launch runs one wave; programs of it fit into the registers of a GPU."""
    program = lsrl.parse(GRIDS["plstm"].text)
    compiled = lsrl.compile(program, target="triton", sizes={"K": 16, "V": 16}, schedule="dag")
    schedule = module_of(compiled).SCHEDULE["R, D"]
    assert schedule.startswith("one Triton kernel for each wave, batch * lanes")
    assert all(each.fits for each in resources(compiled.source, "sm_90"))
