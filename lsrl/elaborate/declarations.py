"""Declarations: inputs, params, states and noises, with their shapes, kinds and initial values."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import sizes
from lsrl.elaborate.binding import declare
from lsrl.elaborate.conditions import check_axes
from lsrl.elaborate.env import Env
from lsrl.elaborate.functions_arrays import fitted
from lsrl.elaborate.names import own_axis
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Binding, Role, Slot, nearest
from lsrl.elaborate.terms import POISON
from lsrl.ir import build, ops
from lsrl.ir.cell import DISTRIBUTIONS, GRAPH, Distribution, Input, Noise, Param
from lsrl.ir.dims import Dim, Shape, shape_text
from lsrl.ir.fault import ARGUMENT_COUNT, KIND_MISMATCH, RANK_MISMATCH, SHAPES_DIFFER, Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Domain, Kind, Value, depends_on

FILLED = {"zeros": Fraction(0), "ones": Fraction(1)}
MOVING = ("input", "noise", "state")


@dataclass(frozen=True, slots=True)
class Declared:
    """What a declaration says of each of its names."""

    group: syntax.Group
    shape: Shape
    kind: Kind
    domain: Domain

    @property
    def span(self) -> Span:
        return self.group.span


def declaration(env: Env, node: syntax.Declaration) -> None:
    """Every name of a declaration; a name at fault is poison for its users."""
    for group in node.groups:
        try:
            declared = _declared(env, node, group)
            rule = {"input": _input, "param": _param, "state": _state, "noise": _noise}[node.role]
            for name in group.names:
                rule(env, name, declared)
        except Poisoned:
            _poison(env, node.role, group)
        except Fault as fault:
            env.refuse(fault, group.type.span)
            _poison(env, node.role, group)


def _declared(env: Env, node: syntax.Declaration, group: syntax.Group) -> Declared:
    shape = sizes.shape(env, group.type.shape)
    env.body.fits(shape, f"`{group.names[0].id}`", group.type.span)
    domain = Domain(node.domain)
    if domain is not Domain.NONE and GRAPH not in env.body.axes:
        remedy = "the cell must be `over graph`"
        raise Misplaced(code.NOT_HERE, f"there are no {domain}s outside of graphs", remedy=remedy, span=node.span)
    modifiers = {
        "pad": (group.type.pad is not None, ("input",)),
        "along": (bool(group.type.along), ("state",)),
        "~": (group.draw is not None, ("param", "noise")),
        "=": (group.init is not None, ("param", "state")),
        "int(...)": (group.type.bound is not None, ("input",)),
    }
    for said, (given, roles) in modifiers.items():
        if given and node.role not in roles:
            raise Fault(code.NOT_HERE, f"`{said}` does not apply to {node.role}s", expected=" or ".join(roles))
    return Declared(group, shape, Kind(group.type.kind), domain)


def _poison(env: Env, role: str, group: syntax.Group) -> None:
    for name in group.names:
        if name.id not in env.scope.names:
            env.scope.names[name.id] = Binding(Role(role), POISON, name.span, used=True)
            if role == "state":
                blank = Slot(name.id, Kind.FLOAT, Domain.NONE, env.body.axes, ops.const(0), {}, name.span)
                blank.poisoned = True
                env.scope.names[name.id].slot = blank


def _share(env: Env, name: str, declared: Declared) -> None:
    if declared.group.type.shared:
        env.body.shared.add(name)


def _input(env: Env, name: syntax.Name, declared: Declared) -> None:
    if env.scope.parent is not None:
        raise Misplaced(code.NOT_HERE, "an input inside of `repeat`", remedy="declare it above", span=name.span)
    bound = declared.group.type.bound
    limit = sizes.dim(env, bound) if bound is not None else None
    pad = None
    if declared.group.type.pad is not None:
        pad = fitted(static(env, declared.group.type.pad), declared.kind)
        if pad.rank:
            raise Misplaced(
                RANK_MISMATCH, "`pad` is a scalar", shape_text(pad.shape), span=declared.group.type.pad.span
            )
    value = ops.leaf("input", name.id, declared.shape, declared.kind, declared.domain)
    if pad is not None:
        env.body.pads[value] = pad
    declare(env, name, Binding(Role.INPUT, value, name.span, pad=pad))
    env.body.inputs.append(Input(name.id, declared.shape, declared.kind, limit, declared.domain))
    _share(env, name.id, declared)
    _known(env, value, name.id, name.span)


def _param(env: Env, name: syntax.Name, declared: Declared) -> None:
    if declared.kind not in (Kind.FLOAT, Kind.COMPLEX):
        raise Misplaced(KIND_MISMATCH, "a param is learned", str(declared.kind), "float or complex", span=name.span)
    if declared.domain is not Domain.NONE:
        raise Misplaced(code.NOT_HERE, f"a param per {declared.domain}", remedy="declare an input", span=name.span)
    full = env.naming.params + name.id
    value = ops.leaf("param", full, declared.shape, declared.kind)
    declare(env, name, Binding(Role.PARAM, value, name.span))
    param = Param(full, declared.shape, declared.kind, _initial(env, declared))
    if env.body.params.setdefault(full, param) != param:
        remedy = "what turns share does not depend on their number"
        raise Misplaced(SHAPES_DIFFER, f"`{name.id}` differs from turn to turn", remedy=remedy, span=name.span)
    _share(env, full, declared)
    _known(env, value, full, name.span)


def _noise(env: Env, name: syntax.Name, declared: Declared) -> None:
    if declared.kind is not Kind.FLOAT:
        raise Misplaced(KIND_MISMATCH, "noise is real", str(declared.kind), "float", span=name.span)
    if declared.group.draw is None:
        remedy = f"write `noise {name.id}: [..] ~ normal(1)`"
        raise Misplaced(code.WRONG_INITIALISER, f"how is `{name.id}` drawn?", remedy=remedy, span=name.span)
    full = env.naming.prefix + name.id
    value = ops.leaf("noise", full, declared.shape, declared.kind, declared.domain)
    declare(env, name, Binding(Role.NOISE, value, name.span))
    env.body.noises.append(Noise(full, declared.shape, _drawn(env, declared), declared.domain))
    _share(env, full, declared)
    _known(env, value, full, name.span)


def _state(env: Env, name: syntax.Name, declared: Declared) -> None:
    axes, domain = _axes(env, declared), declared.domain
    if GRAPH in axes and domain is not Domain.EDGE:
        raise Misplaced(code.NOT_HERE, "states of a graph live on edges", remedy="write `edge state`", span=name.span)
    init = build.zeros(declared.shape, declared.kind)
    if declared.group.init is not None:
        given = fitted(static(env, declared.group.init), declared.kind)
        init = _filled(given, declared, declared.group.init.span)
    check_axes(env, axes)
    full = env.naming.prefix + name.id
    arriving = {axis: ops.state(full, axis, declared.shape, declared.kind, domain) for axis in axes}
    slot = Slot(full, declared.kind, domain, axes, init, arriving, name.span)
    first = arriving[axes[0]]
    declare(env, name, Binding(Role.STATE, first, name.span, slot=slot))
    env.body.slots.append(slot)
    _share(env, full, declared)
    for axis, value in arriving.items():
        _known(env, value, full if len(axes) == 1 else f"{full}[{axis}-1]", name.span)


def _axes(env: Env, declared: Declared) -> tuple[str, ...]:
    along = declared.group.type.along
    for axis in along:
        own_axis(env, axis.id, axis.span)
    if not along and len(env.body.axes) > 1:
        remedy = f"write `{declared.group.names[0].id}: [..] along {env.body.axes[0]}`"
        raise Fault(code.AXIS_NEEDED, "along which axis does the state travel?", remedy=remedy)
    return tuple(dict.fromkeys(axis.id for axis in along)) or env.body.axes


def _known(env: Env, value: Value, name: str, span: Span) -> None:
    env.body.names.setdefault(value, name)
    env.body.placed(value, span)


def _filled(value: Value, declared: Declared, span: Span) -> Value:
    """An initial value of the declared shape; a number is repeated."""
    if value.shape not in ((), declared.shape):
        found, expected = shape_text(value.shape), f"{shape_text(declared.shape)} or a number"
        raise Misplaced(SHAPES_DIFFER, "the initial value has another shape", found, expected, span=span)
    return build.full(declared.shape, value)


def static(env: Env, expr: syntax.Expr) -> Value:
    """A value that is known before the first step; a fault when it reads what changes."""
    value = env.value(expr)
    if value in depends_on([value], lambda v: v.op in MOVING):
        raise Misplaced(
            code.NOT_STATIC,
            "this is computed before the first step, so it can read params, constants and sizes only",
            span=expr.span,
        )
    return value


def _initial(env: Env, declared: Declared) -> Distribution:
    """How a param starts; uniform by its last axis when nothing is said."""
    if declared.group.init is not None:
        value = fitted(static(env, declared.group.init), declared.kind)
        given = value if not value.rank else _filled(value, declared, declared.group.init.span)
        return Distribution("value", (given,))
    if declared.group.draw is not None:
        return _drawn(env, declared)
    fan = declared.shape[-1] if declared.shape else Dim.of(1)
    return Distribution("uniform", (_inverse_root(fan),))


def _inverse_root(dim: Dim) -> Value:
    if dim.constant == 1:
        return ops.const(Fraction(1))
    return build.div(1, build.unary("sqrt", ops.size(dim)))


def _drawn(env: Env, declared: Declared) -> Distribution:
    """`normal(0.02)`, `glorot`: a distribution and its arguments."""
    draw = declared.group.draw
    match draw:
        case syntax.Call(syntax.Name(name, name_span), args, ()):
            exprs = args
        case syntax.Name(name, name_span):
            exprs = ()
        case _:
            assert draw is not None
            remedy = "write `~ normal(0.02)`; a fixed value is written `= ...`"
            raise Misplaced(code.WRONG_INITIALISER, "this is no distribution", remedy=remedy, span=draw.span)
    if name in FILLED and not exprs:
        return Distribution("value", (ops.const(FILLED[name]),))
    known = [*DISTRIBUTIONS, *FILLED]
    known.remove("value")
    if name not in known:
        guess = nearest(name, known)
        remedy = f"did you mean `{guess}`?" if guess else f"there are {', '.join(known)}"
        raise Misplaced(code.WRONG_INITIALISER, f"there is no distribution `{name}`", remedy=remedy, span=name_span)
    if name in ("glorot", "orthogonal", "eye") and len(declared.shape) < 2:
        message = f"`{name}` draws matrices"
        raise Misplaced(code.WRONG_INITIALISER, message, shape_text(declared.shape), span=name_span)
    return Distribution(name, _arguments(env, name, exprs, draw.span))


def _arguments(env: Env, name: str, exprs: tuple[syntax.Expr, ...], span: Span) -> tuple[Value, ...]:
    counts = DISTRIBUTIONS.get(name, (0,))
    if len(exprs) not in counts:
        expected = " or ".join(str(count) for count in counts)
        raise Misplaced(ARGUMENT_COUNT, f"`{name}` has {len(exprs)} arguments", expected=expected, span=span)
    values = tuple(static(env, expr) for expr in exprs)
    for value, expr in zip(values, exprs, strict=True):
        if value.rank:
            message = "the argument of a distribution is a number"
            raise Misplaced(RANK_MISMATCH, message, shape_text(value.shape), "[]", span=expr.span)
    return values
