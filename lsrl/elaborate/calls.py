"""Calls: functions are inlined, cells are used with their sizes and inputs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import names, places, sizes
from lsrl.elaborate.arguments import bound, unknown_keyword
from lsrl.elaborate.binding import assign
from lsrl.elaborate.body import MOST_PLACES
from lsrl.elaborate.definitions import CellTerm, FunctionTerm
from lsrl.elaborate.env import Env, value_of
from lsrl.elaborate.functions import FUNCTIONS
from lsrl.elaborate.functions_arrays import fitted
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Binding, Role, Scope
from lsrl.elaborate.session import DEEPEST_INLINING
from lsrl.elaborate.terms import POISON, BuiltinTerm, Record, Several, Term, described
from lsrl.ir import ops
from lsrl.ir.cell import GRAPH, Cell, Input
from lsrl.ir.dims import Dim, DimError, shape_text
from lsrl.ir.fault import ARGUMENT_COUNT, SHAPES_DIFFER, SIZE_MEANINGLESS, Fault
from lsrl.ir.inline import Instance, Place, instantiate
from lsrl.ir.span import Span
from lsrl.ir.value import Domain, Value


def call(env: Env, expr: syntax.Call) -> Term:
    """What a call gives."""
    if isinstance(expr.function, syntax.Call):
        return use(env, expr.function, expr, reverse=False)
    term = env.term(expr.function)
    match term:
        case BuiltinTerm(name):
            return FUNCTIONS[name].build(bound(env, FUNCTIONS[name], expr))
        case FunctionTerm():
            return _inlined(env, term, expr)
        case CellTerm(node):
            sizes_shown = ", ".join(p.name for p in node.sizes)
            raise Fault(
                code.WRONG_USE,
                f"the cell `{node.name.id}` is used with its sizes, then its inputs",
                remedy=f"write `{node.name.id}({sizes_shown})(...)`",
            )
    if term is POISON:
        _evaluate_arguments(env, expr)
        raise Poisoned
    raise _not_callable(env, expr.function, term)


def reversed_use(env: Env, expr: syntax.Expr, reverse: bool = True) -> Term:
    """`reverse gru(D, H)(x)`: the cell runs from the end to the start."""
    match expr:
        case syntax.Reverse(operand):
            return reversed_use(env, operand, not reverse)
        case syntax.Attribute(base):
            return names.attribute(env, expr, reversed_use(env, base, reverse))
        case syntax.Call(syntax.Call() as sized):
            return use(env, sized, expr, reverse)
    raise Misplaced(
        code.NOT_REVERSIBLE,
        "only the use of a cell runs backwards",
        remedy="write `reverse gru(D, H)(x)`",
        span=expr.span,
    )


def use(env: Env, sized: syntax.Call, applied: syntax.Call, reverse: bool) -> Term:
    """A cell with sizes and inputs: its graph joins the cell at hand; the outputs, or the only one."""
    term = env.term(sized.function)
    if term is POISON:
        _evaluate_arguments(env, applied)
        raise Poisoned
    if not isinstance(term, CellTerm):
        raise _not_callable(env, sized.function, term)
    dims = _sizes(env, term, sized)
    numbers = {name: number for name, dim in dims.items() if (number := env.body.number(dim)) is not None}
    cell = env.body.session.cell(term, numbers, sized.span)
    if cell is None:
        _evaluate_arguments(env, applied)
        raise Poisoned
    _check_axes(env, cell, sized.span)
    inputs = _inputs(env, cell, dims, applied)
    local = _local_name(env, term.node.name.id)
    place = Place(dims, inputs, env.naming.prefix + local, env.naming.params + local, reverse)
    env.body.session.count_values(len(cell.spans), applied.span)
    try:
        instance = instantiate(cell, place)
    except DimError as error:
        raise Fault(SIZE_MEANINGLESS, str(error)) from error
    _adopt(env, instance, applied.span)
    outputs = instance.outputs
    return next(iter(outputs.values())) if len(outputs) == 1 else Record(term.node.name.id, outputs)


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
    parameters, shown = term.node.sizes, term.node.name.id
    signature = f"{shown}({', '.join(p.name for p in parameters)})"
    if len(sized.args) > len(parameters):
        span = sized.args[len(parameters)].span
        raise Misplaced(ARGUMENT_COUNT, f"too many sizes for `{shown}`", str(len(sized.args)), signature, span=span)
    given = {parameter.name: expr for parameter, expr in zip(parameters, sized.args, strict=False)}
    for keyword in sized.keywords:
        if keyword.name not in [p.name for p in parameters]:
            raise unknown_keyword(shown, keyword, [p.name for p in parameters])
        if keyword.name in given:
            raise Misplaced(ARGUMENT_COUNT, f"`{keyword.name}` is given twice", span=keyword.span)
        given[keyword.name] = keyword.value
    dims: dict[str, Dim] = {}
    inside = names.static(env, term.module)
    for parameter in parameters:
        if parameter.name in given:
            dims[parameter.name] = sizes.dim(env, given[parameter.name])
        elif parameter.default is not None:
            dims[parameter.name] = sizes.dim(inside, parameter.default)
        else:
            raise Misplaced(
                ARGUMENT_COUNT, f"`{shown}` needs the size {parameter.name}", None, signature, span=sized.span
            )
        env.body.require(dims[parameter.name], f"the size {parameter.name} of `{shown}` is negative", sized.span)
        known = Binding(Role.SIZE, ops.size(dims[parameter.name]), parameter.span)
        inside.scope.names[parameter.name] = known
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
    if len(applied.args) > len(declared):
        span = applied.args[len(declared)].span
        found = f"{len(applied.args)} inputs"
        raise Misplaced(ARGUMENT_COUNT, f"too many inputs for `{cell.name}`", found, signature, span=span)
    given = dict(zip(declared, applied.args, strict=False))
    for keyword in applied.keywords:
        if keyword.name not in declared:
            raise unknown_keyword(cell.name, keyword, list(declared))
        if keyword.name in given:
            raise Misplaced(ARGUMENT_COUNT, f"`{keyword.name}` is given twice", span=keyword.span)
        given[keyword.name] = keyword.value
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


def _inlined(env: Env, function: FunctionTerm, expr: syntax.Call) -> Term:
    """A function's result, with its body in place of the call."""
    node = function.node
    if len(env.uses) >= DEEPEST_INLINING:
        raise Fault(code.TOO_DEEP, f"functions call functions more than {DEEPEST_INLINING} deep")
    if any(other.node is node for other in env.inlining):
        raise Fault(code.RECURSION, f"the function `{node.name.id}` uses itself", remedy="there is no recursion")
    scope = Scope()
    inside = replace(
        env,
        scope=scope,
        module=function.module,
        uses=(*env.uses, expr.span),
        inlining=(*env.inlining, function),
    )
    arguments = _function_arguments(env, inside, node, expr)
    if env.checking:
        raise Poisoned
    for parameter, term in arguments:
        scope.names[parameter.name] = Binding(Role.ARGUMENT, term, parameter.span)
    return result_of(inside, node)


def result_of(inside: Env, node: syntax.Function) -> Term:
    """The value of a function's body, whose arguments are bound."""
    for line in node.body:
        assign(inside, line)
    terms = tuple(inside.term(value) for value in node.result.values)
    return terms[0] if len(terms) == 1 else Several(terms)


def _function_arguments(
    env: Env, inside: Env, node: syntax.Function, expr: syntax.Call
) -> list[tuple[syntax.Parameter, Term]]:
    shown = f"{node.name.id}({', '.join(p.name for p in node.parameters)})"
    if len(expr.args) > len(node.parameters):
        span = expr.args[len(node.parameters)].span
        message = f"too many arguments for `{node.name.id}`"
        raise Misplaced(ARGUMENT_COUNT, message, str(len(expr.args)), shown, span=span)
    given = {p.name: arg for p, arg in zip(node.parameters, expr.args, strict=False)}
    for keyword in expr.keywords:
        if keyword.name not in [p.name for p in node.parameters]:
            raise unknown_keyword(node.name.id, keyword, [p.name for p in node.parameters])
        if keyword.name in given:
            raise Misplaced(ARGUMENT_COUNT, f"`{keyword.name}` is given twice", span=keyword.span)
        given[keyword.name] = keyword.value
    missing = [p.name for p in node.parameters if p.name not in given and p.default is None]
    if missing:
        message = f"`{node.name.id}` needs {', '.join(missing)}"
        raise Misplaced(ARGUMENT_COUNT, message, f"{len(expr.args)} arguments", shown, span=expr.span)
    found: list[tuple[syntax.Parameter, Term]] = []
    for parameter in node.parameters:
        if parameter.name in given:
            found.append((parameter, env.term(given[parameter.name])))
        elif parameter.default is not None:
            found.append((parameter, inside.term(parameter.default)))
    return found


def _evaluate_arguments(env: Env, expr: syntax.Call) -> None:
    """Find the mistakes in the arguments of a call that cannot be built itself."""
    for arg in (*expr.args, *(keyword.value for keyword in expr.keywords)):
        env.term(arg)


def _not_callable(env: Env, function: syntax.Expr, term: Term) -> Fault:
    if isinstance(function, syntax.Name) and (binding := env.scope.find(function.id)) is not None:
        found = f"the {binding.role} of line {binding.span.line}"
        remedy = "for a product write `*` or `@`"
        if function.id in env.builtins:
            remedy = f"it hides the function `{function.id}`: rename it"
        message = f"`{function.id}` is no function here"
        return Misplaced(code.WRONG_USE, message, found, remedy=remedy, span=function.span)
    return Misplaced(code.WRONG_USE, f"{described(term)} cannot be called", span=function.span)
