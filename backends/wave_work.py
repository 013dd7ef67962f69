"""Work for all places of a grid that a loop over waves may as well do: there, what it needs is in the cache.

The adjoint of a recurrence with large states has work that needs arriving states and no cotangent of them: for all
places at once it would write and read arrays as large as all states together, several times.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace

from lsrl.ir.ops import Family, family
from lsrl.ir.pipeline import VARYING
from lsrl.ir.plan import Loop, Parallel, Plan, Primitive, Shift, Stage
from lsrl.ir.plan_groups import is_static_product
from lsrl.ir.schedules.how import Dag
from lsrl.ir.value import Value, depends_on

_LIGHT = ("transpose", "expand", "reduce_sum", "reduce_max", "reduce_min")


def joined_to_waves(plan: Plan) -> Plan:
    """The plan with its last loop over waves doing the light work behind it that reads just what the loop reads."""
    loops = [stage for stage in plan.stages if isinstance(stage, Loop)]
    if not loops or not isinstance(loops[-1].how, Dag):
        return plan
    loop = loops[-1]
    after = plan.stages[plan.stages.index(loop) + 1 :]
    varying = depends_on(plan.roots, lambda value: value.op in VARYING)
    joining = tuple(_joining(loop, after, varying))
    rest = tuple(_without(stage, joining) for stage in after)
    wanted = {output.value for output in plan.cell.outputs} | {value for stage in rest for value in _taken(stage)}
    statics = dict.fromkeys((*loop.statics, *(arg for v in joining for arg in v.args if arg not in varying)))
    emits = tuple(value for value in (*loop.emits, *joining) if value in wanted)
    whole = replace(loop, statics=tuple(statics), body=(*loop.body, *joining), emits=emits)
    return replace(plan, stages=(*plan.stages[: -len(rest) - 1], whole, *rest), abreast=())


def _joining(loop: Loop, after: Iterable[Stage], varying: frozenset[Value]) -> Iterator[Value]:
    """The values behind the loop that it can compute, operands first."""
    known = {*loop.reads, *loop.body}
    for value in (value for stage in after if isinstance(stage, Parallel) for value in stage.values):
        if value not in known and _is_light(value, varying) and all(a in known or a not in varying for a in value.args):
            known.add(value)
            yield value


def _is_light(value: Value, varying: frozenset[Value]) -> bool:
    light = family(value.op) is Family.ELEMENTWISE or value.op in _LIGHT
    return light or (value.op == "einsum" and not is_static_product(value, varying))


def _without(stage: Stage, values: tuple[Value, ...]) -> Stage:
    return Parallel(tuple(v for v in stage.values if v not in values)) if isinstance(stage, Parallel) else stage


def _taken(stage: Stage) -> Iterable[Value]:
    """What a stage needs to be known."""
    match stage:
        case Parallel(values):
            return (arg for value in values for arg in value.args)
        case Shift(state):
            return (state.next,)
        case Loop():
            return stage.reads
        case Primitive():
            return stage.form.operands
