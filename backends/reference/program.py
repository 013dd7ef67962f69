"""Running a cell and its adjoint on arrays: checks, then the lattice or the graph."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import ArrayLike

from lsrl.backends.arrays import Array, ArrayError, Arrays, state_names, validate
from lsrl.backends.evaluation.evaluate import Env, evaluate
from lsrl.backends.evaluation.exact import InexactError, check_rational
from lsrl.backends.evaluation.scope import EXACT, REALS, Scope, spread
from lsrl.backends.initialise import draw_noise, places_of
from lsrl.backends.reference import graph, graph_adjoint, lattice_adjoint
from lsrl.backends.reference.lattice import Sweep, final_states, sweep
from lsrl.backends.reference.pullback import VARYING, Collected, differentiable, pull
from lsrl.backends.result import Gradients, Result
from lsrl.backends.topology import Topology, make_topology
from lsrl.ir import ops
from lsrl.ir.cell import GRAPH, Cell, bind_sizes
from lsrl.ir.value import Kind, Value


@dataclass(frozen=True)
class Setting:
    """A checked run: arrays by leaf, in the precision of the run.

    Attributes:
        numbers: batch and lengths, or nodes and edges, as `validate` returns them.
        env: arrays of params, inputs and noises.
        state: the initial states that were given.
    """

    cell: Cell
    scope: Scope
    numbers: Mapping[str, int]
    env: Env
    state: Mapping[str, Array]

    def places(self, value: Value) -> tuple[int, ...]:
        return places_of(self.cell, value.domain, self.numbers)


def run(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Arrays,
    inputs: Arrays,
    state: Arrays | None = None,
    *,
    dtype: str = "float64",
    seed: int = 0,
    extent: Mapping[str, int] | None = None,
) -> Result:
    """The outputs and final states of a cell: what the program means.

    Args:
        sizes: numbers for the cell's sizes; missing ones take their defaults.
        params, inputs, state: as `lsrl.backends.arrays.validate` describes.
        dtype: the precision of floats; `exact` for rational numbers, arrays of `fractions.Fraction`.
        seed: for noises that are not among the inputs.
        extent: batch and lengths where no array tells them, `{"B": 2, "T": 5}`.

    Returns:
        Outputs [B, T, *shape] (over a graph [nodes, *shape] or [edges, *shape]); final states by the names of
        `state_names`, [B, *shape] (over a graph every edge's, [edges, *shape]).

    Raises:
        DimError, ArrayError, PipelineError: the sizes, the arrays or the states' dependencies make no run.
        InexactError: the program has no exact result, where that is asked for.
    """
    setting = _set_up(cell, sizes, params, inputs, state, dtype, seed, extent)
    try:
        return _forward(setting)[0]
    except InexactError as fault:
        raise fault.placed(cell) from fault


def gradients(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Arrays,
    inputs: Arrays,
    state: Arrays | None = None,
    cotangents: Arrays | None = None,
    *,
    dtype: str = "float64",
    seed: int = 0,
    extent: Mapping[str, int] | None = None,
) -> Gradients:
    """The derivatives of the sum of outputs and final states, each weighted by its cotangent.

    Args:
        cotangents: by the output's name, or `state.NAME` for a final state; missing ones are zero.  None stands for
            ones for every output.
        The others are as for `run`.

    Returns:
        By every input (and noise that was given), param and initial state that is a float or complex number; over a
        graph there are no initial states.  A param that an initial state is computed from receives its part only
        where that state was not given.

    Raises:
        DimError, ArrayError, PipelineError: as for `run`, and where a cotangent is none of the cell's or ill-shaped.
        InexactError: exact ones are asked for.
    """
    if dtype == EXACT:
        raise InexactError("gradients are computed in floating point; there are no exact ones")
    local = graph_adjoint.localised(cell) if cell.axes == (GRAPH,) else cell
    setting = _set_up(local, sizes, params, inputs, state, dtype, seed, extent)
    result, swept = _forward(setting)
    given = _checked_cotangents(setting, result, cotangents)
    outputs = [(output.value, given[output.name]) for output in local.outputs if output.name in given]
    final = {name: given[f"state.{name}"] for name in result.state if f"state.{name}" in given}
    initial: Mapping[str, Array] = {}
    match swept:
        case Sweep():
            collected, initial = lattice_adjoint.pull_back(swept, outputs, final)
        case Topology():
            collected = graph_adjoint.pull_back(local, setting.scope, swept, setting.env, outputs, final)
    by_input = {
        str(leaf.attr("name")): collected.of(leaf, setting.places(leaf), setting.scope)
        for leaf in _given(setting, inputs)
    }
    return Gradients(by_input, _pull_statics(setting, collected, initial), initial)


def _forward(setting: Setting) -> tuple[Result, Sweep | Topology]:
    """The result, and what the adjoint needs to know of the run."""
    swept: Sweep | Topology
    if setting.scope.topology is None:
        swept = sweep(
            setting.cell, setting.scope, places_of(setting.cell, "", setting.numbers), setting.env, setting.state
        )
        finals = final_states(swept)
    else:
        swept = setting.scope.topology
        graph.solve(setting.cell, setting.scope, swept, setting.env)
        finals = {state.name: setting.env[graph.arriving(state)] for state in setting.cell.states}
    outputs = {output.name: _everywhere(setting, output.value) for output in setting.cell.outputs}
    return Result(outputs, finals), swept


def _everywhere(setting: Setting, value: Value) -> Array:
    array = evaluate([value], setting.env, setting.scope)[0]
    return np.array(spread(value, array, setting.places(value)))


def _set_up(
    cell: Cell,
    sizes: Mapping[str, int],
    params: Arrays,
    inputs: Arrays,
    state: Arrays | None,
    dtype: str,
    seed: int,
    extent: Mapping[str, int] | None,
) -> Setting:
    """Check the arrays, draw what noise is missing, and bring everything to the precision of the run."""
    if dtype not in REALS:
        raise ArrayError(f"there is no precision {dtype}; there are {', '.join(REALS)}")
    bound = bind_sizes(cell, sizes)
    numbers = validate(cell, bound, params, inputs, state, extent)
    topology = _topology(inputs, numbers) if cell.axes == (GRAPH,) else None
    if topology is not None:
        numbers["turns"] = len(topology.turns)
    scope = Scope(bound, dtype, topology)
    leaves = [
        *((ops.leaf("param", p.name, p.shape, p.kind), params) for p in cell.params),
        *((ops.leaf("input", i.name, i.shape, i.kind, i.domain), inputs) for i in cell.inputs),
    ]
    if scope.exact:
        check_rational(cell)
    env = {leaf: _array(given[str(leaf.attr("name"))], leaf.kind, scope) for leaf, given in leaves}
    missing = replace(cell, noises=tuple(noise for noise in cell.noises if noise.name not in inputs))
    drawn = draw_noise(missing, bound, numbers, seed, {p.name: np.asarray(params[p.name]) for p in cell.params})
    for noise in cell.noises:
        leaf = ops.leaf("noise", noise.name, noise.shape, Kind.FLOAT, noise.domain)
        env[leaf] = _array({**drawn, **inputs}[noise.name], Kind.FLOAT, scope)
    kinds = {name: declared.kind for declared in cell.states for name in state_names(declared)}
    return Setting(cell, scope, numbers, env, {n: _array(a, kinds[n], scope) for n, a in (state or {}).items()})


def _array(given: ArrayLike, kind: Kind, scope: Scope) -> Array:
    try:
        return np.array(scope.held(np.asarray(given), kind))
    except (ValueError, OverflowError) as error:
        raise ArrayError(f"exact results need rational numbers: {error}") from error


def _topology(inputs: Arrays, numbers: Mapping[str, int]) -> Topology:
    turns = np.asarray(inputs["turns"], np.int64) if "turns" in inputs else None
    return make_topology(numbers["nodes"], np.asarray(inputs["edges"], np.int64), turns)


def _checked_cotangents(setting: Setting, result: Result, given: Arrays | None) -> dict[str, Array]:
    """The cotangents by name, in the precision of the run."""
    wanted = {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}
    if given is None:
        return {name: np.ones_like(array) for name, array in result.outputs.items()}
    for name, array in given.items():
        if name not in wanted:
            raise ArrayError(f"there is no output {name} to have a cotangent; there are {', '.join(wanted)}")
        if np.shape(array) != wanted[name].shape:
            raise ArrayError(f"cotangent {name}: expected {list(wanted[name].shape)}, found {list(np.shape(array))}")
    return {name: np.asarray(array).astype(wanted[name].dtype) for name, array in given.items()}


def _given(setting: Setting, inputs: Arrays) -> list[Value]:
    """The inputs and given noises that have derivatives."""
    return [
        leaf
        for leaf in setting.env
        if leaf.op in ("input", "noise") and differentiable(leaf) and leaf.attr("name") in inputs
    ]


def _pull_statics(setting: Setting, collected: Collected, initial: Mapping[str, Array]) -> dict[str, Array]:
    """The cotangents of params: from values computed once, and from initial states that were not given."""
    params = [leaf for leaf in setting.env if leaf.op == "param" and differentiable(leaf)]
    roots = [(value, array) for value, array in collected.arrays.items() if value.op not in VARYING]
    for state in setting.cell.states:
        for name in state_names(state):
            if name in initial and name not in setting.state:
                lead = initial[name].ndim - state.init.rank
                roots.append((state.init, initial[name].sum(tuple(range(lead)))))
    reached = Collected()
    pull(roots, params, setting.env, setting.scope, reached)
    return {str(leaf.attr("name")): reached.of(leaf, (), setting.scope) for leaf in params}
