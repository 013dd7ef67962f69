"""Which loops of a plan can run as one: those that are the same but for their directions and for what they take."""

from __future__ import annotations

from collections.abc import Iterable

from lsrl.ir import ops
from lsrl.ir.alike import INNER, READ, STATE, STATIC, counterparts
from lsrl.ir.plan_stages import Abreast, Loop
from lsrl.ir.value import Value, depends_on, postorder


def loops_abreast(loops: Iterable[Loop]) -> list[Abreast]:
    """Those of the loops that are the same but for their directions and for what they take."""
    found: list[Abreast] = []
    for loop in loops:
        for place, each in enumerate(found):
            joined = _joined(each, loop)
            if joined is not None:
                found[place] = joined
                break
        else:
            found.append(Abreast((loop,), ({},)))
    return [each for each in found if len(each.loops) > 1]


def _joined(beside: Abreast, loop: Loop) -> Abreast | None:
    """Another loop beside some that are the same; the most general one is the first."""
    role = _role(beside.loops[0], loop)
    if role is not None:
        return Abreast((*beside.loops, loop), (*beside.roles, role))
    role = _role(loop, beside.loops[0])
    if role is None:
        return None
    roles = [{value: own.get(part, part) for value, part in role.items()} for own in beside.roles]
    return Abreast((loop, *beside.loops), ({}, *roles))


def _role(first: Loop, second: Loop) -> dict[Value, Value] | None:
    """What of the second loop plays the part of each value of the first."""
    kinds = [[(s.axes, s.shape, s.kind) for s in loop.states] for loop in (first, second)]
    if kinds[0] != kinds[1] or first.how != second.how:
        return None
    ends = [(*(state.next for state in loop.states), *loop.emits, *_leaves(loop)) for loop in (first, second)]
    return counterparts(ends[0], ends[1], (_parts(first), _parts(second)))


def _parts(loop: Loop) -> dict[Value, str]:
    """What each value is to a loop; what is the same at every position and no parameter's is nothing to it."""
    learned = depends_on(loop.statics, lambda value: value.op == "param")
    repeated = postorder(loop.statics, stop=lambda value: value.op != "expand")  # a loop takes what is not repeated
    statics = {value: INNER if value.op == "expand" else STATIC for value in repeated if value in learned}
    own = dict.fromkeys(loop.body, INNER) | dict.fromkeys(_leaves(loop), STATE)
    return statics | dict.fromkeys(loop.reads, READ) | own


def _leaves(loop: Loop) -> tuple[Value, ...]:
    """The arriving states."""
    return tuple(ops.state(state.name, state.axes[0], state.shape, state.kind) for state in loop.states)
