"""How the text of a cell spells its values: which have names, which names, and which are written out in place."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field

from lsrl.ir.cell import Cell
from lsrl.ir.value import Domain, Value, depends_on, postorder, users
from lsrl.lexical import RESERVED
from lsrl.reversal import USE
from lsrl.shorthand import Lag
from lsrl.surface import HERE, INFIX, REDUCTIONS, SUMS
from lsrl.syntax import Binary, Expr, Index, Name, Num, Prime

DECLARED = ("input", "param", "noise", "state")
BARE = (*DECLARED, "const", "size", "iota", USE)
FORMS = frozenset(("full", "expand", "dot", "outer", "diag", "einsum", "float", "int", "bool", "complex"))
SPECIAL = RESERVED | FORMS | {"pi", "inf"}
IDENTIFIER = re.compile(r"[A-Za-z_\u0370-\u03ff][A-Za-z0-9_\u0370-\u03ff]*")
LONGEST = 14  # operations in one expression


@dataclass
class Spelling:
    """The names in the text of one cell.

    Attributes:
        declared: the identifier of each input, param, noise and state, by role and name.
        named: how a value is written where it is used: a name, `h'`, or a state of a grid, `h[y-1]`.
        assigned: the identifier of each value that a statement of its own defines.
        taken: identifiers that stand for something already.
        exact: names stay as they are, identifiers or not.
    """

    exact: bool = False
    declared: dict[tuple[str, str], str] = field(default_factory=dict)
    named: dict[Value, Expr] = field(default_factory=dict)
    assigned: dict[Value, str] = field(default_factory=dict)
    taken: set[str] = field(default_factory=lambda: set(SPECIAL))

    def identifier(self, name: str) -> str:
        """A new identifier as close to `name` as can be."""
        plain = name if self.exact or IDENTIFIER.fullmatch(name) else re.sub(r"\W+", "_", name, flags=re.A).strip("_")
        plain = plain if plain and not plain[0].isdigit() else f"v{plain}"
        chosen, number = plain, 1
        while chosen in self.taken:
            number += 1
            chosen = f"{plain}_{number}"
        self.taken.add(chosen)
        return chosen

    def assign(self, value: Value, name: str) -> None:
        """Have a statement define `value` under `name`."""
        self.assigned[value] = self.identifier(name)
        self.named[value] = Name(self.assigned[value])


def spell(cell: Cell, lags: Mapping[Value, Lag], exact: bool = False) -> Spelling:
    """The names of everything in a cell: identifiers, or (`exact`) the names as they are, for people to read.

    The leaves of `lags` are written `x[t-1]`.
    """
    spelling = Spelling(exact)
    functions = {REDUCTIONS.get(value.op, value.op) for value in postorder(cell.all_roots()) if value.op not in INFIX}
    spelling.taken |= functions | {size.name for size in cell.sizes} | {cell.name} | set(cell.axes)
    _declared(cell, spelling, lags)
    local = _local(cell)
    outputs = {output.name for output in cell.outputs}
    _users_names(cell, spelling, local, outputs)
    spelling.taken |= outputs
    _lagged(spelling, lags)
    for state in cell.states:
        if state.next not in spelling.named and state.next.op not in BARE:
            spelling.named[state.next] = Prime(spelling.declared["state", state.name])
    _new_names(cell, spelling, local)
    _only_outputs(cell, spelling, lags)
    return spelling


def _lagged(spelling: Spelling, lags: Mapping[Value, Lag]) -> None:
    """What is read from earlier positions has a name."""
    for lag in lags.values():
        if lag.source not in spelling.named:
            spelling.assign(lag.source, lag.name)
    for leaf, lag in lags.items():
        distance = Binary("-", Name(lag.axis), Num(lag.steps))
        spelling.named[leaf] = Index(spelling.named[lag.source], (distance,))


def _declared(cell: Cell, spelling: Spelling, lags: Mapping[Value, Lag]) -> None:
    names = [("input", i.name) for i in cell.inputs] + [("param", p.name) for p in cell.params]
    names += [("noise", n.name) for n in cell.noises] + [("state", s.name) for s in cell.states]
    for key in names:
        spelling.declared[key] = spelling.identifier(key[1])
    along = {state.name: state.axes for state in cell.states}
    for leaf in postorder([*cell.all_roots(), *(lag.source for lag in lags.values())]):
        if leaf.op not in DECLARED or leaf in lags:
            continue
        name = str(leaf.attr("name"))
        spelled = Name(spelling.declared[leaf.op, name])
        one_back = Binary("-", Name(str(leaf.attr("axis"))), Num(1)) if leaf.op == "state" else Num(0)
        spelling.named[leaf] = Index(spelled, (one_back,)) if len(along.get(name, ())) > 1 else spelled


def _local(cell: Cell) -> frozenset[Value]:
    """Values that only mean something inside `sum_in` or `max_in`, so that no statement can define them."""
    found: set[Value] = set()
    for value in postorder(cell.roots()):
        reads = value.op == "read" and value.attr("via") not in HERE
        arrives = value.op == "state" and value.domain is Domain.EDGE
        if value.op not in SUMS and (reads or arrives or any(arg in found for arg in value.args)):
            found.add(value)
    return frozenset(found)


def _summed(cell: Cell) -> frozenset[Value]:
    """Values of the edge being updated, which only their names can bring into a sum over other edges."""
    reads = users(cell.roots())
    local = _local(cell)
    here = depends_on(cell.roots(), lambda v: v.op == "read" and v.attr("via") in HERE)
    return frozenset(v for v in here if v.domain and any(user in local or user.op in SUMS for user in reads[v]))


def _users_names(cell: Cell, spelling: Spelling, local: frozenset[Value], outputs: set[str]) -> None:
    """The user's names; `h'` and the like are spelled by their states, an output's own name may be used for it."""
    primed = {(state.next, f"{state.name}'") for state in cell.states} | {(s.next, s.name) for s in cell.states}
    given = {output.value: output.name for output in cell.outputs}
    for value in postorder(cell.roots()):
        name = cell.names.get(value, given.get(value))
        if (
            name is None
            or (value.op in BARE and value.op != USE)
            or value.op == "read"
            or value in local
            or (value, name) in primed
        ):
            continue
        if name in outputs and given.get(value) != name:
            continue
        spelling.assign(value, name)


def _new_names(cell: Cell, spelling: Spelling, local: frozenset[Value]) -> None:
    """Names for what is used more than once, or would make an expression too long."""
    reads = users(cell.roots())
    nexts = [state.next for state in cell.states]
    summed = _summed(cell)
    length: dict[Value, int] = {}
    number = 0
    for value in postorder(cell.roots()):
        if value in spelling.named or value.op in BARE:
            length[value] = 1
            continue
        length[value] = 1 + sum(length[arg] for arg in value.args)
        many = len(reads[value]) + nexts.count(value) > 1 and not _is_constant(value)
        if (many or length[value] > LONGEST or value in summed) and value not in local and value.op != "read":
            number += 1
            spelling.assign(value, f"v{number}")
            length[value] = 1


def _only_outputs(cell: Cell, spelling: Spelling, lags: Mapping[Value, Lag]) -> None:
    """What is only given out needs no statement besides `output o = ...`."""
    reads = users(cell.roots())
    given = [output.value for output in cell.outputs]
    kept = {state.next for state in cell.states} | {lag.source for lag in lags.values()}
    for output in cell.outputs:
        value = output.value
        alone = not reads[value] and given.count(value) == 1 and value not in kept
        if alone and spelling.assigned.get(value) == output.name:
            del spelling.assigned[value], spelling.named[value]


def _is_constant(value: Value) -> bool:
    return all(leaf.op in ("const", "size", "iota") for leaf in postorder([value]) if not leaf.args)
