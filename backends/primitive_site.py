"""Where an emitted module calls an operation on whole sequences: what whoever prints the call can ask for."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from lsrl.backends.expressions import Code
from lsrl.backends.naming import Names
from lsrl.backends.writer import Writer
from lsrl.ir.plan import Loop, Plan, Primitive, Shift
from lsrl.ir.value import Value, postorder


@dataclass(frozen=True, slots=True)
class Site:
    """A place in a function of whole sequences.

    Attributes:
        writer: where the call goes.
        names: identifiers of the module.
        numbers: the number of every size.
        starts: the code of the initial state [B, *shape] of every state.
        code: an operand as an expression: [B, T, *shape] where it varies, [*shape] where it is the same everywhere.
        whole: an operand as an expression of shape [B, T, *shape] in any case.
        varies: whether a value differs between positions or sequences.
        needs: whether something after needs a value.
        bind: makes a result known under its name, which it returns.
        extent: the code of the number of sequences and of the positions of each.
        narrow: the type of 16 bits that the module's data have, empty where they have more.
    """

    writer: Writer
    names: Names
    numbers: Mapping[str, int]
    starts: Mapping[str, str]
    code: Callable[[Value], Code]
    whole: Callable[[Value], Code]
    varies: Callable[[Value], bool]
    needs: Callable[[Value], bool]
    bind: Callable[[Value], str]
    narrow: str = ""
    extent: str = "(batch, length)"


def needed(plan: Plan) -> frozenset[Value]:
    """The values that outputs, lags, loops and primitives need, without what only loops and primitives go through."""
    wanted = [output.value for output in plan.cell.outputs]
    made: set[Value] = set()
    carried: set[str] = set()
    for stage in plan.stages:
        match stage:
            case Loop():
                wanted += [*stage.reads, *stage.statics]
                made.update(stage.emits)
            case Primitive():
                wanted += stage.form.operands
                made.update(stage.form.results)
            case Shift():
                made.update(stage.taps)
        carried |= {state.name for state in stage.states} if isinstance(stage, Loop | Primitive) else set()
    wanted += [state.next for state in plan.cell.states if state.name not in carried]
    return frozenset(postorder(wanted, stop=made.__contains__))
