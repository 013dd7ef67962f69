"""Affine grids in tiles and along lines in plain PyTorch: values and derivatives held to the float64 reference."""

from __future__ import annotations

from types import ModuleType

import numpy as np
import pytest
import torch

import lsrl
from lsrl.backends.runtime.torch_grid import tiled
from lsrl.backends.runtime.torch_waves import in_waves, on_grid
from lsrl.compiled import Compiled
from lsrl.ir.schedules.choose import choose
from lsrl.ir.schedules.cost import Run
from lsrl.ir.schedules.how import Dag, How, Sequential, Tiles
from lsrl.ir.schedules.legal import possible
from lsrl.stages import TASTES
from support.grids import Drawn
from support.tile_more import FORMS, PATHS
from support.tile_programs import TILES

TOLERANCE = {"float64": 1e-10, "float32": 2e-5, "bfloat16": 3e-2}

pytestmark = pytest.mark.filterwarnings("ignore:.* runs in its plain PyTorch form")


def module_of(compiled: Compiled) -> ModuleType:
    module: ModuleType = compiled.engine.module  # type: ignore[attr-defined]
    return module


def plain(drawn: Drawn, schedule: str, dtype: str = "float64") -> Compiled:
    compiled = drawn.compiled("triton", dtype, schedule)
    module_of(compiled).INTERPRETED = False
    assert not {Sequential, Dag} & set(map(type, compiled.schedule.hows.values()))
    return compiled


PROGRAMS = {**TILES, **{name: grid for name, (grid, _, _) in FORMS.items()}}


def check(name: str, extents: tuple[int, ...], schedule: str, dtype: str = "float64", *, started: bool = True) -> None:
    """Everything that a program gives, and its gradients."""
    drawn = Drawn.of(PROGRAMS[name], extents, started=started)
    errors = drawn.errors(plain(drawn, schedule, dtype))
    assert {what: error for what, error in errors if error > TOLERANCE[dtype]} == {}


@pytest.mark.parametrize("schedule", ["dag(2)", "dag(parallel, 2)"])
@pytest.mark.parametrize("name", [name for name in PROGRAMS if name != "lines"])
def test_every_form(name: str, schedule: str) -> None:
    check(name, (3, 5, 2)[: PROGRAMS[name].axes], schedule)


@pytest.mark.parametrize("schedule", ["h=scan, S=chunk(2)", "h=scan, S=scan", "h=dag(2), S=parallel"])
def test_lines_are_sequences(schedule: str) -> None:
    check("lines", (3, 5), schedule)


@pytest.mark.parametrize("name", ["plstm", "log of sums"])
@pytest.mark.parametrize(
    ("extents", "schedule"),
    [
        ((1, 5), "dag(2)"),
        ((5, 1), "dag(parallel, 3)"),
        ((4, 4), "dag(4)"),
        ((3, 7), "dag(16)"),
        ((7, 11), "dag(3)"),
        ((7, 11), "dag(parallel, 3)"),
        ((2, 2), "dag(parallel, 1)"),
    ],
)
def test_tiles_of_any_side_on_grids_of_any_side(extents: tuple[int, int], schedule: str, name: str) -> None:
    check(name, extents, schedule, started=False)


@pytest.mark.parametrize(
    ("extents", "name", "schedule"),
    [
        ((0, 3), "plstm", "dag(2)"),
        ((3, 0), "plstm", "dag(parallel, 2)"),
        ((3, 0), "vectors", "dag(2)"),
        ((0, 3), "lines", "h=scan, S=chunk(2)"),
    ],
)
def test_grids_without_places_pass_their_borders_on(extents: tuple[int, int], name: str, schedule: str) -> None:
    check(name, extents, schedule)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
@pytest.mark.parametrize("name", ["heads", "log of sums"])
def test_short_numbers(name: str, dtype: str) -> None:
    check(name, (3, 5), "dag(2)", dtype)


COUNTED = """
cell counted() over y, x:
    input start, weight: [] int
    state up: [] int along y = 1
    state left: [] int along x = 0
    up' = start + weight * up + left
    left' = up + left
    output n = up - left
"""


@pytest.mark.parametrize("schedule", ["dag(2)", "dag(parallel, 2)"])
def test_whole_numbers(schedule: str) -> None:
    """There are no derivatives, and every number is exact."""
    program, draw = lsrl.parse(COUNTED), np.random.default_rng(0).integers
    inputs = {name: draw(-3, 4, size=(2, 5, 3)) for name in ("start", "weight")}
    found, wanted = (
        lsrl.compile(program, target=target, schedule=how)({}, inputs)
        for target, how in (("triton", schedule), ("reference", "sequential"))
    )
    np.testing.assert_array_equal(found.outputs["n"].numpy(), wanted.outputs["n"])
    np.testing.assert_array_equal(found.state["up"].numpy(), wanted.state["up"])


@pytest.mark.parametrize("kind", ["max", "min", "logaddexp"])
def test_derivatives_go_where_the_steps_of_the_program_go(kind: str) -> None:
    """Where operands are equal or infinite: the shares are those of the reference, whatever the tiles."""
    program = lsrl.parse(PATHS.replace("JOIN", kind).replace(" = 0", " = inf" if kind == "min" else " = -inf"))
    inputs = {name: np.ones((1, 3, 4, 3)) for name in "ucde"}
    found, wanted = (
        lsrl.compile(program, target=target, dtype="float64", schedule=schedule).gradients(
            {}, inputs, {}, {"o": np.ones((1, 3, 4, 3))}
        )
        for target, schedule in (("triton", "dag(2)"), ("reference", "sequential"))
    )
    for name, gradient in wanted.inputs.items():
        np.testing.assert_allclose(found.inputs[name].numpy(), gradient, rtol=1e-12)


@pytest.mark.parametrize("schedule", ["dag(2)", "dag(parallel, 2)"])
def test_grids_are_stitched_by_their_borders(schedule: str) -> None:
    """A grid in two parts, the second of which takes the borders of the first, is the whole grid."""
    drawn = Drawn.of(TILES["plstm"], (6, 5))
    fn = plain(drawn, schedule)
    _, inputs, state = drawn.given
    whole = fn({}, inputs, state)
    upper = fn({}, {n: a[:, :3] for n, a in inputs.items()}, {**state, "R": state["R"][:, :3]})
    lower = fn({}, {n: a[:, 3:] for n, a in inputs.items()}, {"R": state["R"][:, 3:], "D": upper.state["D"]})
    for found, wanted in (
        (torch.cat([upper.outputs["o"], lower.outputs["o"]], 1), whole.outputs["o"]),
        (torch.cat([upper.state["R"], lower.state["R"]], 1), whole.state["R"]),
        (lower.state["D"], whole.state["D"]),
    ):
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


def test_some_tiles_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is large runs in parts, with the same result."""
    drawn = Drawn.of(TILES["heads"], (5, 3))
    compiled = plain(drawn, "dag(2)")
    monkeypatch.setattr(module_of(compiled), "NUMBERS_AT_ONCE", 1)
    assert max(dict(drawn.errors(compiled)).values()) <= TOLERANCE["float64"]


@pytest.mark.parametrize("flips", [(0,), (1,), (0, 1)])
def test_some_axes_the_other_way_round(flips: tuple[int, ...]) -> None:
    """It is the same as to flip what is given and what is found."""
    generator, extents = torch.Generator().manual_seed(0), (3, 5)

    def draw(*shape: int) -> torch.Tensor:
        return torch.randn(2, *shape, generator=generator, dtype=torch.float64)

    grids = [draw(*extents) for _ in range(8)] + [draw(*extents, 3) for _ in range(3)]
    borders = [draw(extents[0], 3, 3), draw(extents[1], 3, 3)]

    def run(grids: list[torch.Tensor], borders: list[torch.Tensor], reverse: tuple[int, ...]) -> list[torch.Tensor]:
        a, b, c, d, e, f, g, h, q, k, v = (in_waves(each, 2) for each in grids)
        options = {"extents": extents, "axes": (1, 0), "sides": (2, 2), "reverse": reverse}
        (found,), lasts = tiled(tuple(borders), [[a, b], [c, d]], [[e], [f]], [k], [v], [(q, [g, h])], **options)
        return [on_grid(found, extents), *lasts]

    def turned(tensors: list[torch.Tensor], axes: tuple[int, ...]) -> list[torch.Tensor]:
        return [each.flip([1 + axis for axis in axes]) for each in tensors]

    def turned_borders(borders: list[torch.Tensor]) -> list[torch.Tensor]:
        return [each.flip(1) if axis in flips else each for axis, each in enumerate(borders)]

    whole, *lasts = run(turned(grids, flips), turned_borders(borders), ())
    for found, wanted in zip(run(grids, borders, flips), [*turned([whole], flips), *turned_borders(lasts)]):
        torch.testing.assert_close(found, wanted, rtol=1e-13, atol=1e-13)


@pytest.mark.parametrize(("size", "chosen"), [(2, Tiles(4)), (16, Tiles(4)), (64, Tiles(8))])
def test_sides_that_the_model_chooses(size: int, chosen: How) -> None:
    """In PyTorch on a CPU, as measured on grids of 64 by 64: tiles pay for all states, and larger ones for larger."""
    cell, sizes = lsrl.parse(TILES["plstm"].text).bind({"K": size, "V": size})
    taste = TASTES["triton"]
    (found,) = possible(cell, sizes, taste.schedules, taste.grids)
    assert choose(found, Run("triton", "cpu", "float32", batch=1, length=64)).how == chosen


# Autograd, and what PyTorch transforms.


WAYS = [("plstm", "dag(2)"), ("plstm", "dag(parallel, 2)"), ("vectors", "dag(2)"), ("log of sums", "dag(2)")]


def leaves_of(
    extents: tuple[int, ...], name: str = "plstm", schedule: str = "dag(2)"
) -> tuple[ModuleType, list[dict[str, torch.Tensor]]]:
    drawn = Drawn.of(PROGRAMS[name], extents, batch=1)
    module = module_of(plain(drawn, schedule))
    groups = [{name: torch.tensor(array, requires_grad=True) for name, array in group.items()} for group in drawn.given]
    return module, groups


@pytest.mark.parametrize(("name", "schedule"), WAYS)
def test_gradcheck(name: str, schedule: str) -> None:
    """First and second derivatives by differences."""
    module, groups = leaves_of((2, 3), name, schedule)
    names = [[*group] for group in groups]

    def run(*flat: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = iter(flat)
        outputs, last = module.apply(*({name: next(given) for name in group} for group in names))
        return (*outputs.values(), *last.values())

    leaves = [tensor for group in groups for tensor in group.values()]
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.parametrize(
    ("program", "schedule", "name"),
    [
        ("plstm", "dag(2)", "k"),
        ("plstm", "dag(parallel, 2)", "ml"),
        ("plstm", "dag(2)", "R"),
        ("log of sums", "dag(2)", "c"),
        ("log of sums", "dag(parallel, 2)", "m"),
    ],
)
def test_mapped_over(program: str, schedule: str, name: str) -> None:
    """`torch.vmap` over a vector, a number and a border gives what one run after the other does."""
    module, (params, inputs, state) = leaves_of((3, 3), program, schedule)
    several = torch.stack([(inputs | state)[name].detach() * scale for scale in (1.0, 0.5, -2.0)])

    def run(given: torch.Tensor) -> torch.Tensor:
        own = [{key: given if key == name else value for key, value in group.items()} for group in (inputs, state)]
        found: torch.Tensor = module.apply(params, *own)[0]["o"]
        return found

    torch.testing.assert_close(torch.vmap(run)(several), torch.stack([run(each) for each in several]))


@pytest.mark.filterwarnings("ignore:.*should not be instantiated")
@pytest.mark.parametrize(("name", "schedule"), WAYS)
def test_compiled_without_breaks(name: str, schedule: str) -> None:
    module, groups = leaves_of((3, 4), name, schedule)
    leaves = [tensor for group in groups for tensor in group.values()]
    whole = torch.compile(module.apply, fullgraph=True, backend="aot_eager")
    wanted, found = (run(*groups)[0]["o"] for run in (module.apply, whole))
    torch.testing.assert_close(found, wanted)
    theirs, ours = (torch.autograd.grad(each.square().sum(), leaves) for each in (wanted, found))
    torch.testing.assert_close(ours, theirs)


def test_exported_for_any_batch() -> None:
    drawn = Drawn.of(TILES["plstm"], (3, 5), batch=3)
    module = module_of(plain(drawn, "dag(2)"))
    inputs = {name: torch.tensor(array) for name, array in drawn.given[1].items()}

    class Whole(torch.nn.Module):
        def forward(self, inputs: dict[str, torch.Tensor]) -> torch.Tensor:
            found: torch.Tensor = module.apply({}, inputs)[0]["o"]
            return found

    batch = torch.export.Dim("batch")
    pair = {name: tensor[:2] for name, tensor in inputs.items()}
    program = torch.export.export(Whole(), (pair,), dynamic_shapes=({name: {0: batch} for name in inputs},))
    torch.testing.assert_close(program.module()(inputs), Whole()(inputs))


def test_what_is_kept_grows_with_the_grid() -> None:
    """Kept for the derivative: arrays of the inputs' size and the states between tiles, not those of all places."""

    def kept(side: int) -> int:
        module, (params, inputs, state) = leaves_of((side, side))
        places: dict[int, int] = {}

        def note(tensor: torch.Tensor) -> torch.Tensor:
            places[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
            return tensor

        with torch.autograd.graph.saved_tensors_hooks(note, lambda tensor: tensor):
            result = module.apply(params, inputs, state)
        assert result
        return sum(places.values())

    assert 3.5 < kept(16) / kept(8) < 4.1


@pytest.mark.parametrize(
    ("name", "schedule", "dtype", "words"),
    [
        ("plstm", "dag(4)", "float32", "tiles of the grid, 4 places along each axis"),
        ("plstm", "dag(2)", "float64", " in plain PyTorch: kernels compute in float32"),
        ("heads", "dag(6)", "float32", ", products in plain PyTorch: a tile has 108 reads or outer products, and a"),
        ("cube", "dag(3)", "float32", ", products in plain PyTorch: a tile has more than 16 edges"),
        ("layers", "dag(4)", "float32", ", products in plain PyTorch: a tile has 96 reads or outer products, and a"),
        ("plstm", "dag(parallel, 4)", "float32", "merged in pairs, products in plain PyTorch: kernels go from tile to"),
        ("vectors", "dag(4)", "float32", "tiles of the grid, 4 places along each axis"),
        ("vectors", "dag(parallel)", "float32", "merged in pairs in plain PyTorch: kernels go from tile to tile"),
        ("maxima", "dag(4)", "float32", " in plain PyTorch: a kernel has no sums over max"),
        ("lines", "h=dag, S=chunk(16)", "float32", "along x, chunks of 16 positions"),
        ("lines", "h=dag, S=scan", "float32", "a scan over x in plain PyTorch: kernels scan over time"),
    ],
)
def test_said_in_words(name: str, schedule: str, dtype: str, words: str) -> None:
    compiled = Drawn.of(PROGRAMS[name], (2, 2, 2)[: PROGRAMS[name].axes]).compiled("triton", dtype, schedule)
    *_, said = module_of(compiled).SCHEDULE.values()
    assert words in said
