"""What a name stands for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from fractions import Fraction

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import places, sizes
from lsrl.elaborate.body import Body
from lsrl.elaborate.definitions import CellTerm, ConstTerm, Definition, FunctionTerm, Missing, Module, ModuleTerm
from lsrl.elaborate.env import Env, Naming
from lsrl.elaborate.functions_arrays import fitted
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Binding, Scope, nearest
from lsrl.elaborate.terms import POISON, BuiltinTerm, Record, Term, described
from lsrl.ir import build, ops
from lsrl.ir.build import Diag
from lsrl.ir.cell import GRAPH
from lsrl.ir.dims import shape_text
from lsrl.ir.fault import SHAPES_DIFFER, Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Attr, Kind, Value
from lsrl.loader import PRELUDE

NUMBERS: Mapping[str, Attr] = {"pi": "pi", "inf": float("inf")}


def own_axis(env: Env, axis: str, span: Span) -> str:
    """An axis of the cell at hand.

    Raises:
        Misplaced: it has no such axis.
    """
    if axis not in env.body.axes:
        own = ", ".join(env.body.axes)
        raise Misplaced(code.UNKNOWN_AXIS, f"the cell has no axis {axis}", axis, own, span=span)
    return axis


def name(env: Env, node: syntax.Name) -> Term:
    """The term of a name: in the scope, the module, the language, the prelude, in this order."""
    binding = env.scope.find(node.id)
    if binding is not None:
        binding.used = True
        return _arriving(env, node.id, binding) if binding.slot is not None else binding.term
    if node.id in env.module.table:
        return defined(env, env.module.table[node.id])
    if node.id in env.builtins:
        return BuiltinTerm(node.id)
    if node.id in NUMBERS:
        return ops.const(NUMBERS[node.id])
    prelude = _prelude(env)
    if node.id in prelude.table:
        return defined(env, prelude.table[node.id])
    raise _unknown(env, node, prelude)


def prime(env: Env, node: syntax.Prime) -> Value:
    """`h'`: what the state passes on."""
    binding = env.scope.find(node.id)
    if binding is None or binding.slot is None:
        states = [n for n in env.scope.visible() if (b := env.scope.find(n)) and b.slot is not None]
        guess = nearest(node.id, states)
        remedy = f"did you mean `{guess}'`?" if guess else f"declare it: `state {node.id}: [..] = 0`"
        raise Fault(code.NOT_A_STATE, f"there is no state `{node.id}`", remedy=remedy)
    binding.used = True
    slot = binding.slot
    if slot.next is None:
        if slot.poisoned:
            raise Poisoned
        remedy = f"`{node.id}` is the value that arrives; `{node.id}'` can be read below its definition"
        raise Fault(code.NOT_YET_UPDATED, f"`{node.id}'` is not defined yet", remedy=remedy)
    return slot.next


def attribute(env: Env, node: syntax.Attribute, base: Term) -> Term:
    """`r.h` of a cell's outputs, `W.T`, `logic.step` of a module."""
    match base:
        case Record(cell, fields):
            if node.name in fields:
                return fields[node.name]
            raise _no_member(f"`{cell}` has no output `{node.name}`", node, list(fields))
        case Value() | Diag() if node.name == "T":
            return build.transpose(base)
        case ModuleTerm(path):
            try:
                return defined(env, env.body.session.modules.member(path, node.name))
            except Fault as fault:
                raise Misplaced(fault.code, fault.message, remedy=fault.remedy, span=node.name_span) from fault
        case Value():
            raise _no_member(f"a value has no `{node.name}`", node, ["T"], "only `W.T`, the transpose")
    raise _no_member(f"{described(base)} has no `{node.name}`", node, [])


def defined(env: Env, definition: Definition) -> Term:
    """The term of a definition; a constant's is its value."""
    match definition:
        case ConstTerm():
            return _module_constant(env, definition)
        case FunctionTerm() | CellTerm() | ModuleTerm():
            return definition
        case Missing():
            raise Poisoned


def constant(env: Env, node: syntax.Const) -> Value:
    """The value of `const NAME: [shape] kind = expr`."""
    value = env.value(node.value)
    return declared_as(env, value, node.type, node) if node.type is not None else value


def _module_constant(env: Env, term: ConstTerm) -> Value:
    """A constant of a module, computed once; Poisoned when it is at fault, which is reported once."""
    known, key = env.body.session.constants, id(term.node)
    if key not in known:
        known[key] = None
        own = static(env, term.module)
        try:
            known[key] = constant(own, term.node)
        except Poisoned:
            known[key] = POISON
        except Fault as fault:
            known[key] = POISON
            own.refuse(fault, term.node.value.span)
    value = known[key]
    if value is None:
        raise Fault(code.RECURSION, f"the constant `{term.node.name.id}` is made of itself")
    if value is POISON:
        raise Poisoned
    return value


def declared_as(env: Env, value: Value, declared: syntax.Type, node: syntax.Const) -> Value:
    """The value with the declared kind and shape; an array of numbers may be declared with sizes."""
    shape = sizes.shape(env, declared.shape)
    value = fitted(value, Kind(declared.kind))
    if value.shape == shape:
        return value
    if not value.shape:
        return build.full(shape, value)
    if len(value.shape) != len(shape):
        found, expected = shape_text(value.shape), shape_text(shape)
        raise Misplaced(SHAPES_DIFFER, f"`{node.name.id}` has another shape", found, expected, span=node.value.span)
    for axis, (found_size, size) in enumerate(zip(value.shape, shape, strict=True)):
        env.body.equal(found_size, size, f"`{node.name.id}` has {found_size} where {size} is declared", node.span)
        value = build.slice_(value, 0, size, axis) if found_size != size else value
    return value


def static(env: Env, module: Module) -> Env:
    """An environment without a cell: only the module's names."""
    body = Body(env.body.session)
    return replace(
        env, body=body, scope=Scope(), module=module, naming=Naming(), uses=(), inlining=(), collecting=False
    )


def _arriving(env: Env, name: str, binding: Binding) -> Value:
    slot = binding.slot
    assert slot is not None
    if not slot.arriving:
        raise Poisoned
    if slot.domain and not env.collecting:
        raise places.outside_sum(name)
    if len(slot.arriving) == 1:
        return next(iter(slot.arriving.values()))
    ways = " and ".join(f"`{name}[{axis}-1]`" for axis in slot.axes)
    raise Fault(code.AXIS_NEEDED, f"`{name}` arrives along several axes", remedy=f"say which: {ways}")


def _prelude(env: Env) -> Module:
    modules = env.body.session.modules
    program = modules.loader.find(PRELUDE)
    return modules.of(program, library=True) if program is not None else env.module


def _unknown(env: Env, node: syntax.Name, prelude: Module) -> Fault:
    later = env.body.later.get(node.id)
    if later is not None and not env.uses:
        before = (
            f"; its value one step before is `{node.id}[{env.body.axes[0]}-1]`" if GRAPH not in env.body.axes else ""
        )
        advice = f"it is defined on line {later.line}{before}"
        return Fault(code.NOT_YET_DEFINED, f"`{node.id}` is not defined yet", remedy=advice)
    known = [*env.scope.visible(), *env.module.table, *env.builtins, *NUMBERS, *prelude.table]
    guess = nearest(node.id, list(env.scope.visible())) or nearest(node.id, known)
    remedy = f"did you mean `{guess}`?" if guess else None
    return Fault(code.UNKNOWN_NAME, f"there is no name `{node.id}`", remedy=remedy)


def _no_member(message: str, node: syntax.Attribute, known: list[str], otherwise: str | None = None) -> Fault:
    guess = nearest(node.name, known)
    remedy: str | None = f"did you mean `{guess}`?" if guess else otherwise
    if remedy is None and known:
        remedy = f"it has {', '.join(f'`{name}`' for name in known)}"
    return Misplaced(code.UNKNOWN_MEMBER, message, remedy=remedy, span=node.name_span)


def number(value: int | Fraction | complex) -> Value:
    """A number of the text as a constant: whole numbers and decimals are exact."""
    if isinstance(value, Fraction):
        try:
            float(value)
        except OverflowError as error:
            raise Fault(code.TOO_LARGE, "the number is larger than any floating point number") from error
    if isinstance(value, int) and abs(value) >= 2**63:
        raise Fault(
            code.TOO_LARGE, "the whole number does not fit into 64 bits", remedy="write it with a decimal point"
        )
    return ops.const(value)
