"""Cells used inside cells: sizes and inputs are matched, and the used cell's graph joins the one at hand."""

from __future__ import annotations

from collections.abc import Mapping

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import names, places, sizes
from lsrl.elaborate.arguments import evaluate_all, matched
from lsrl.elaborate.body import MOST_PLACES
from lsrl.elaborate.conditions import HELD
from lsrl.elaborate.definitions import CellTerm
from lsrl.elaborate.env import Env, value_of
from lsrl.elaborate.functions_arrays import fitted
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Binding, Role
from lsrl.elaborate.terms import Record, Term
from lsrl.ir import ops
from lsrl.ir.cell import GRAPH, Cell, Input
from lsrl.ir.dims import Dim, DimError, shape_text
from lsrl.ir.fault import ARGUMENT_COUNT, SHAPES_DIFFER, SIZE_MEANINGLESS, Fault
from lsrl.ir.inline import Instance, Place, instantiate
from lsrl.ir.span import Span
from lsrl.ir.value import Domain, Value


def used(env: Env, term: CellTerm, sized: syntax.Call, applied: syntax.Call, reverse: frozenset[str]) -> Term:
    """A cell with sizes and inputs: its outputs as a record, or the only one; it runs backwards along some axes."""
    dims = _sizes(env, term, sized)
    numbers = {name: number for name, dim in dims.items() if (number := env.body.number(dim)) is not None}
    held = env.body.held
    cell = env.body.session.cell(term, numbers, sized.span, held is not None)
    if cell is None:
        evaluate_all(env, applied)
        raise Poisoned
    _check_axes(env, cell, sized.span)
    inputs = _inputs(env, cell, dims, applied) | ({} if held is None else {HELD: held})
    local = _local_name(env, _called(sized.function) or term.node.name.id)
    place = Place(dims, inputs, env.naming.prefix + local, env.naming.params + local, reverse)
    env.body.session.count_values(len(cell.spans), applied.span)
    try:
        instance = instantiate(cell, place)
    except DimError as error:
        raise Fault(SIZE_MEANINGLESS, str(error)) from error
    _adopt(env, instance, applied.span)
    outputs = instance.outputs
    return next(iter(outputs.values())) if len(outputs) == 1 else Record(term.node.name.id, outputs)


def _called(function: syntax.Expr) -> str:
    """The name by which a program calls a cell: `gru` for `recurrent.gru`, the name after `as` where there is one."""
    match function:
        case syntax.Name(name) | syntax.Attribute(_, name):
            return name
    return ""


def _local_name(env: Env, cell: str) -> str:
    """What leads the names of a used cell: nothing where a turn consists of it alone."""
    if env.naming.direct and not env.body.copy_name(env.naming.prefix, ""):
        return ""
    return env.body.copy_name(env.naming.prefix, cell) + "."


def _adopt(env: Env, instance: Instance, span: Span) -> None:
    """Take over a used cell's declarations."""
    body = env.body
    body.params.update((param.name, param) for param in instance.params)
    body.noises.extend(instance.noises)
    body.states.extend(instance.states)
    for requirement in instance.requires:
        body.require(requirement.dim, requirement.message, span)
    for value, name in instance.names.items():
        body.names.setdefault(value, name)
    for value, places_of in instance.spans.items():
        body.spans.setdefault(value, (*places_of[: MOST_PLACES - 1], span))


def _sizes(env: Env, term: CellTerm, sized: syntax.Call) -> dict[str, Dim]:
    """The size that each of the cell's sizes is, in sizes of the cell at hand."""
    shown = term.node.name.id
    parameters = {parameter.name: parameter for parameter in term.node.sizes}
    signature = f"{shown}({', '.join(parameters)})"
    given = matched(shown, list(parameters), sized, signature, "sizes")
    dims: dict[str, Dim] = {}
    inside = names.static(env, term.module)
    for name, parameter in parameters.items():
        if name in given:
            dims[name] = sizes.dim(env, given[name])
        elif parameter.default is not None:
            dims[name] = sizes.dim(inside, parameter.default)
        else:
            raise Misplaced(ARGUMENT_COUNT, f"`{shown}` needs the size {name}", None, signature, span=sized.span)
        env.body.require(dims[name], f"the size {name} of `{shown}` is negative", sized.span)
        inside.scope.names[name] = Binding(Role.SIZE, ops.size(dims[name]), parameter.span)
    return dims


def _check_axes(env: Env, cell: Cell, span: Span) -> None:
    """A cell with states runs along axes of the cell that uses it."""
    axes = {axis for state in cell.states for axis in state.axes}
    if not axes <= set(env.body.axes):
        own, theirs = ", ".join(env.body.axes), ", ".join(sorted(axes))
        raise Misplaced(
            code.AXES_DIFFER, f"`{cell.name}` runs along {theirs}, this cell along {own}", theirs, own, span=span
        )


def _inputs(env: Env, cell: Cell, dims: Mapping[str, Dim], applied: syntax.Call) -> dict[str, Value]:
    """The value of each input of a used cell, checked against its declaration."""
    declared = {one.name: one for one in cell.inputs}
    signature = f"{cell.name}(...)({', '.join(declared)})"
    given = matched(cell.name, list(declared), applied, signature, "inputs")
    missing = [name for name in declared if name not in given]
    if missing:
        message = f"`{cell.name}` needs the input {', '.join(missing)}"
        raise Misplaced(ARGUMENT_COUNT, message, None, signature, span=applied.span)
    terms = {name: env.term(expr) for name, expr in given.items()}
    values = {name: value_of(term, given[name].span) for name, term in terms.items()}
    if GRAPH in env.body.axes and GRAPH not in cell.axes:
        values = dict(zip(values, places.meet(tuple(values.values()), env.collecting), strict=True))
    return {name: _fitting(env, values[name], declared[name], dims, given[name].span, cell) for name in declared}


def _fitting(env: Env, value: Value, one: Input, dims: Mapping[str, Dim], span: Span, cell: Cell) -> Value:
    shape = tuple(dim.substitute(dims) for dim in one.shape)
    if value.shape != shape:
        message = f"the input {one.name} of `{cell.name}` has another shape"
        raise Misplaced(SHAPES_DIFFER, message, shape_text(value.shape), shape_text(shape), span=span)
    try:
        value = fitted(value, one.kind)
        return places.moved(value, one.domain, env.collecting) if one.domain is not Domain.NONE else value
    except Fault as fault:
        raise Misplaced(fault.code, fault.message, fault.found, fault.expected, fault.remedy, span=span) from fault
