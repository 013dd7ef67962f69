"""Taking apart a cell into parts that run forwards: recurrences that run backwards become cells of their own.

The language has no states that run backwards, only cells that are used with `reverse`.  So each backward recurrence is
cut out; in its place stand values of the operation `USE`, which only exist on the way to text.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from lsrl.ir import ops
from lsrl.ir.cell import Cell, Input, Output, Param, Size, State
from lsrl.ir.fault import Refusal
from lsrl.ir.pipeline import Component, components
from lsrl.ir.substitute import rebuild, substitute
from lsrl.ir.value import Value, depends_on, intern, postorder, users
from lsrl.ir.verify import dims_of

USE = "use"


@dataclass(frozen=True)
class Reversal:
    """A backward recurrence as a cell that runs forwards.

    Attributes:
        cell: its states, with what they need from elsewhere as inputs.
        uses: what stands for its outputs in the rest of the program, in their order.
        axes: those on which it runs backward, in the order of the program's.
    """

    cell: Cell
    uses: tuple[Value, ...]
    axes: tuple[str, ...]

    @property
    def args(self) -> tuple[Value, ...]:
        """The value of each input of the cell, in its place."""
        return self.uses[0].args


def split_reversed(cell: Cell) -> tuple[Cell, tuple[Reversal, ...]]:
    """The cell without its backward recurrences, and these.

    Raises:
        Refusal: a parameter starts a backward state and another one, so that no one cell can declare it.
    """
    cut = [_Cut.of(cell, part) for part in components(cell) if part.reverse]
    if not cut:
        return cell, ()
    _check_owners(cell, cut)
    table = {value: use for each in cut for value, use in zip(each.exported, each.uses(), strict=True)}
    backward = frozenset(state.name for each in cut for state in each.states)
    forward = replace(
        cell,
        states=tuple(state for state in cell.states if state.name not in backward),
        params=tuple(param for param in cell.params if all(param not in each.params for each in cut)),
    )
    done = rebuild([*forward.all_roots(), *table.values()], table)
    reversals = tuple(
        Reversal(each.cell(cell), tuple(done[use] for use in each.uses()), each.axes(cell)) for each in cut
    )
    return substitute(forward, table), reversals


@dataclass(frozen=True)
class _Cut:
    """Where a recurrence is cut out of its cell.

    Attributes:
        given: the values it reads that are computed elsewhere.
        exported: its values, or states, that others read.
        params: the parameters that its initial states need, which are declared with it.
    """

    name: str
    states: tuple[State, ...]
    reverse: frozenset[str]
    given: tuple[Value, ...]
    exported: tuple[Value, ...]
    params: tuple[Param, ...]

    @staticmethod
    def of(cell: Cell, part: Component) -> _Cut:
        """The smallest cut: inside is only what depends on the states and is needed for their next values."""
        nexts, inits = [state.next for state in part.states], [state.init for state in part.states]
        inside = depends_on(nexts, lambda v: v.op == "state" and v.attr("name") in part.names)
        own = {str(v.attr("name")) for v in postorder(inits) if v.op == "param"}
        names = {"state": part.names, "param": own}
        leaves = [v for v in postorder(cell.all_roots()) if v.op in names and v.attr("name") in names[v.op]]
        within = inside | frozenset(leaves)
        edge = [arg for value in postorder(nexts) if value in inside for arg in value.args]
        varied = depends_on([*edge, *nexts], lambda v: not v.args and v.op not in ("const", "size", "iota"))
        given = [v for v in dict.fromkeys((*edge, *nexts)) if v not in within and v in varied]
        return _Cut(
            re.sub(r"\W+", "_", f"backward_{part.states[0].name}").strip("_"),
            part.states,
            part.reverse,
            tuple(given),
            tuple(_exported(cell, part, within)),
            tuple(param for param in cell.params if param.name in own),
        )

    def axes(self, whole: Cell) -> tuple[str, ...]:
        """The axes on which it runs backward."""
        return tuple(axis for axis in whole.axes if axis in self.reverse)

    def uses(self) -> tuple[Value, ...]:
        """A value for each of the exported ones: a result of using the cell."""
        return tuple(
            intern(USE, self.given, (("cell", self.name), ("output", position)), v.shape, v.kind, v.domain)
            for position, v in enumerate(self.exported)
        )

    def cell(self, whole: Cell) -> Cell:
        """The recurrence as a cell that runs forwards; `whole` gives sizes and axes."""
        names = [_name(whole, v, place) for place, v in enumerate(self.given)]
        unique = [name if names.count(name) == 1 else f"{name}_{place}" for place, name in enumerate(names)]
        inputs = tuple(Input(name, v.shape, v.kind) for name, v in zip(unique, self.given, strict=True))
        # The stand-ins keep apart what is given and the inputs, which may have the names of inputs that are given.
        stands = {
            v: intern("given", (), (("place", place),), v.shape, v.kind, v.domain) for place, v in enumerate(self.given)
        }
        leaves = {
            stand: ops.leaf("input", i.name, i.shape, i.kind) for i, stand in zip(inputs, stands.values(), strict=True)
        }
        states = tuple(replace(state, reverse=frozenset()) for state in self.states)
        outputs = tuple(Output(f"out_{place}", value) for place, value in enumerate(self.exported))
        own = Cell(self.name, "", (), whole.axes, inputs, self.params, (), states, outputs)
        named = replace(own, names=dict(whole.names))
        cut = substitute(substitute(named, stands), leaves)
        used = _sizes(cut)
        sizes = tuple(Size(size.name) for size in whole.sizes if size.name in used)
        return replace(cut, sizes=sizes)


def _check_owners(cell: Cell, cut: Sequence[_Cut]) -> None:
    """A parameter that starts a backward state is declared with it, and nothing else can start from it."""
    backward = {state.name for each in cut for state in each.states}
    forward = [state.init for state in cell.states if state.name not in backward]
    needed = [{str(v.attr("name")) for v in postorder(forward) if v.op == "param"}]
    needed += [{param.name for param in each.params} for each in cut]
    for place, names in enumerate(needed):
        shared = sorted(names & set().union(*needed[place + 1 :]))
        if shared:
            raise Refusal(
                f"{cell.name} has no flat text: the parameter {shared[0]} starts a backward recurrence and another one"
            )


def _name(cell: Cell, value: Value, place: int) -> str:
    """What a value is called where it is given to a recurrence that was cut out."""
    leaf = str(value.attr("name")) if value.op in ("input", "param", "noise", "state") else f"in_{place}"
    return cell.names.get(value, leaf)


def _sizes(cell: Cell) -> frozenset[str]:
    """The sizes that a cell's declarations and values use."""
    shapes = [i.shape for i in cell.inputs] + [p.shape for p in cell.params] + [s.shape for s in cell.states]
    shapes += [tuple(dims_of(value)) for value in postorder(cell.all_roots())]
    return frozenset(name for shape in shapes for dim in shape for name in dim.names)


def _exported(cell: Cell, part: Component, within: frozenset[Value]) -> Iterable[Value]:
    """The values of a recurrence that the rest of the cell, or another recurrence, reads."""
    own = {id(state) for state in part.states}
    others = [state for state in cell.states if id(state) not in own]
    roots: Sequence[Value] = [o.value for o in cell.outputs]
    roots = [*roots, *(state.next for state in others)]
    reads = users(cell.all_roots())
    for value in postorder(cell.all_roots()):
        if value in within and (value in roots or any(user not in within for user in reads[value])):
            yield value
