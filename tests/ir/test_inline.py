"""A used cell computes what it computes alone, with sizes, names and direction of the place where it is used."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import numpy as np
import pytest

from lsrl.backends import reference
from lsrl.ir import build, ops, verify
from lsrl.ir.cell import Cell, Output, Size
from lsrl.ir.dims import Dim, DimError
from lsrl.ir.inline import Instance, Place, instantiate
from lsrl.ir.value import Kind, Value
from support.cells import arrives, cell_of, input_, param, state
from support.graphs import random_cell
from support.running import random_arrays

K = Dim.of("K")
SIZES = {"H": K + 1, "D": 2 * K + 2}


def as_cell(cell: Cell, instance: Instance, sizes: tuple[Size, ...]) -> Cell:
    """The instance as a cell of its own, with the inputs of the used one."""
    leaves = {str(v.attr("name")): v for v in instance.names if v.op == "input"}
    inputs = tuple(replace(i, shape=leaves[i.name].shape) if i.name in leaves else i for i in cell.inputs)
    return Cell(
        name="instance",
        doc="",
        sizes=sizes,
        axes=cell.axes,
        inputs=inputs,
        params=instance.params,
        noises=instance.noises,
        states=instance.states,
        outputs=tuple(Output(name, value) for name, value in instance.outputs.items()),
        requires=instance.requires,
    )


def used(cell: Cell, sizes: dict[str, Dim], reverse: frozenset[str] = frozenset()) -> Cell:
    inputs: dict[str, Value] = {}
    for one in cell.inputs:
        shape = tuple(dim.substitute(sizes) for dim in one.shape)
        inputs[one.name] = ops.leaf("input", one.name, shape, one.kind)
    instance = instantiate(cell, Place(sizes, inputs, "f.", "g.", reverse))
    names = {**instance.names, **{leaf: name for name, leaf in inputs.items()}}
    made = as_cell(cell, replace(instance, names=names), (Size("K"),))
    bound = tuple(replace(i, bound=i.bound.substitute(sizes) if i.bound else None) for i in made.inputs)
    return verify.check(replace(made, inputs=bound))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize("seed", range(8))
def test_a_used_cell_computes_the_same(seed: int) -> None:
    cell = random_cell(Random(seed), operations=12, constants=(1, True, "pi", 2j, (1, 2)))
    numbers = {"H": 4, "D": 8}
    params, inputs, states = random_arrays(cell, numbers, 2, 3, seed)
    alone = reference.run(cell, numbers, params, inputs, states)
    inside = reference.run(
        used(cell, SIZES),
        {"K": 3},
        {f"g.{name}": array for name, array in params.items()},
        {name if name in {i.name for i in cell.inputs} else f"f.{name}": array for name, array in inputs.items()},
        {f"f.{name}": array for name, array in states.items()},
    )
    for name, expected in alone.outputs.items():
        np.testing.assert_allclose(inside.outputs[name], expected, rtol=1e-12, atol=1e-12)
    for name, expected in alone.state.items():
        np.testing.assert_allclose(inside.state[f"f.{name}"], expected, rtol=1e-12, atol=1e-12)


def test_direction_is_flipped() -> None:
    x, h, g = input_("x", "D"), arrives("h", "D"), arrives("g", "D")
    cell = cell_of({"y": build.add(h, g)}, [state(h, x), state(g, x, 0.0, reverse=True)])
    assert [s.reverse for s in used(cell, {"D": K}, frozenset("t")).states] == [{"t"}, frozenset()]
    assert [s.reverse for s in used(cell, {"D": K}).states] == [frozenset(), {"t"}]


def test_shared_parameters_are_one_value() -> None:
    x, w = input_("x", "D"), param("w", "D")
    cell = cell_of({"y": build.mul(x, w)})
    first, second = (
        instantiate(cell, Place({"D": K}, {"x": input_(name, "K")}, f"{name}.", "both.")) for name in ("a", "b")
    )
    assert first.params == second.params
    assert first.outputs["y"].args[1] is second.outputs["y"].args[1]


def test_sizes_that_make_no_sense_are_refused() -> None:
    x = input_("x", "D")
    cell = cell_of({"y": build.mul(x, ops.size(Dim.of("D") // Dim.of("H")))})
    cell = replace(cell, sizes=(Size("D"), Size("H")))
    with pytest.raises(DimError, match="zero"):
        instantiate(cell, Place({"D": K, "H": Dim.of(0)}, {"x": input_("x", "K")}, "", ""))


def test_sizes_as_numbers_are_replaced() -> None:
    cell = cell_of({"y": build.add(ops.iota("D"), build.mul(ops.size("H"), input_("x", kind=Kind.INT)))})
    cell = used(replace(cell, sizes=(Size("D"), Size("H"))), SIZES)
    found = reference.run(cell, {"K": 2}, {}, {"x": np.array([[10]])}).outputs["y"]
    np.testing.assert_array_equal(found[0, 0], np.arange(6) + 3 * 10)
