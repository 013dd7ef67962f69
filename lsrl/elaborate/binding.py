"""Giving names to values: assignments, and what a name may not be."""

from __future__ import annotations

from lsrl import syntax
from lsrl.elaborate import fault_codes as code
from lsrl.elaborate import places
from lsrl.elaborate.definitions import CellTerm, FunctionTerm
from lsrl.elaborate.env import Env, value_of
from lsrl.elaborate.functions_arrays import fitted
from lsrl.elaborate.report import Misplaced, Poisoned
from lsrl.elaborate.scope import Binding, Role, Slot, nearest
from lsrl.elaborate.terms import POISON, Record, Several, Term, described
from lsrl.ir.dims import shape_text
from lsrl.ir.fault import SHAPES_DIFFER, Fault
from lsrl.ir.span import Span
from lsrl.ir.value import Value


def assign(env: Env, node: syntax.Assign) -> None:
    """`z = x`, `h' = x`, `a, b = f(x)`."""
    term = env.term(node.value)
    if len(node.targets) == 1:
        bind(env, node.targets[0], term, node.value.span)
        return
    for target, part in zip(node.targets, _parts(env, node, term), strict=True):
        bind(env, target, part, node.value.span)


def _parts(env: Env, node: syntax.Assign, term: Term) -> tuple[Term, ...]:
    wanted = len(node.targets)
    match term:
        case Several(items):
            parts = items
        case Record(_, fields):
            parts = tuple(fields.values())
        case _:
            parts = (term,)
    if len(parts) == wanted:
        return parts
    if term is not POISON:
        remedy = f"take it apart: `split(x, {wanted})`" if isinstance(term, Value) else None
        fault = Fault(code.UNPACKING, f"{wanted} names for {described(term)}", remedy=remedy)
        env.refuse(fault, node.targets[0].span.to(node.targets[-1].span))
    return (POISON,) * wanted


def bind(env: Env, target: syntax.Target, term: Term, span: Span) -> None:
    """Let a name, or a state's next value, stand for a term."""
    try:
        if target.primed:
            _update(env, target, term, span)
        else:
            _name(env, target, term)
    except Poisoned:
        return
    except Fault as fault:
        env.refuse(fault, target.span)


def declare(env: Env, name: syntax.Name, binding: Binding) -> None:
    """Add a declared name to the scope; a fault when the scope has it."""
    before = env.scope.names.get(name.id)
    if before is not None:
        remedy = f"the other one is on line {before.span.line}"
        raise Misplaced(code.DECLARED_TWICE, f"`{name.id}` is declared twice", remedy=remedy, span=name.span)
    _mention_hidden(env, name.id, name.span)
    env.scope.names[name.id] = binding


def _name(env: Env, target: syntax.Target, term: Term) -> None:
    name = target.id
    owner = env.scope.owner(name)
    before = owner.names.get(name)
    match before.role if before is not None else None:
        case Role.STATE:
            if owner is env.scope and before is not None and before.slot is not None:
                before.slot.poisoned = before.slot.next is None
            raise Fault(
                code.PRIME_MISSING,
                f"`{name}` is the value of a state that arrives",
                remedy=f"did you mean `{name}' = ...`, the value that is passed on?",
            )
        case (Role.SIZE | Role.CONST | Role.PARAM | Role.NOISE | Role.COUNTER | Role.HEAD) as role:
            raise Fault(code.FIXED_NAME, f"`{name}` is a {role}", remedy="choose another name")
        case None:
            _mention_hidden(env, name, target.span)
    used = before.used if before is not None else False
    pad = before.pad if before is not None else None
    owner.names[name] = Binding(Role.LOCAL, term, target.span, pad=pad, used=used)
    if not env.uses:
        remember(env, name, term)


def remember(env: Env, name: str, term: Term) -> None:
    """Let a value keep the first name that the program gives it."""
    if isinstance(term, Value) and term.op not in ("const", "size"):
        env.body.names.setdefault(term, env.naming.prefix + name)


def _update(env: Env, target: syntax.Target, term: Term, span: Span) -> None:
    binding = env.scope.find(target.id)
    if binding is None or binding.slot is None:
        states = [name for name in env.scope.visible() if (b := env.scope.find(name)) and b.slot is not None]
        guess = nearest(target.id, states)
        remedy = f"did you mean `{guess}'`?" if guess else f"declare it: `state {target.id}: [..] = 0`"
        if binding is not None:
            remedy = f"`{target.id}` is a {binding.role}: write it without `'`, or declare it as a state"
        raise Fault(code.NOT_A_STATE, f"there is no state `{target.id}`", remedy=remedy)
    slot = binding.slot
    if slot.updated_at is not None:
        raise Fault(
            code.UPDATED_TWICE,
            f"`{target.id}'` is defined twice",
            remedy=f"the other one is on line {slot.updated_at.line}",
        )
    slot.updated_at, slot.poisoned = target.span, True
    if not slot.arriving:
        raise Poisoned
    following = _passed_on(env, slot, target.id, value_of(term, span), span)
    # Without `hold when`, nothing is said of which arriving value stays: a state along several axes has more than one.
    slot.next = env.body.passed_on(next(iter(slot.arriving.values())), following)
    slot.poisoned = False
    remember(env, f"{target.id}'", slot.next)


def _passed_on(env: Env, slot: Slot, name: str, value: Value, span: Span) -> Value:
    """The value as the state needs it: of its shape, kind and place."""
    shape = next(iter(slot.arriving.values())).shape
    if value.shape != shape:
        raise Misplaced(
            SHAPES_DIFFER,
            f"`{name}'` has another shape than its state",
            shape_text(value.shape),
            shape_text(shape),
            "repeat the number: `full([..], x)`" if not value.shape else None,
            span=span,
        )
    return places.moved(fitted(value, slot.kind), slot.domain)


def _mention_hidden(env: Env, name: str, span: Span) -> None:
    """Warn where a name hides a function, since a later call of it would fail."""
    hidden = env.module.table.get(name)
    hides = name in env.builtins or isinstance(hidden, FunctionTerm | CellTerm)
    if hides and not env.module.library:
        env.body.session.report.warn(code.HIDES_FUNCTION, f"`{name}` hides the function of that name", span)


def warn_unused(env: Env) -> None:
    """Warn of names of the innermost scope that nothing reads."""
    if env.module.library:
        return
    for name, binding in env.scope.names.items():
        if not binding.used and binding.role is not Role.STATE and not name.startswith("_"):
            said = "is never used" if binding.role is not Role.LOCAL else "is computed but never used"
            env.body.session.report.warn(code.UNUSED, f"the {binding.role} `{name}` {said}", binding.span)
