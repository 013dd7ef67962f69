"""How the text of a cell spells its values: which have names, which names, and which are written out in place."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from lsrl.ir.cell import Cell
from lsrl.ir.ops import OPS
from lsrl.ir.value import Value, depends_on, postorder, users
from lsrl.lexical import RESERVED
from lsrl.reversal import USE
from lsrl.surface import HERE, REDUCTIONS
from lsrl.syntax import Binary, Expr, Index, Name, Num, Prime

DECLARED = ("input", "param", "noise", "state")
BARE = (*DECLARED, "const", "size", "iota", USE)
FUNCTIONS = frozenset((*OPS, *REDUCTIONS.values(), "dot", "outer", "diag", "full", "zeros", "float", "int", "complex"))
FIXED = RESERVED | FUNCTIONS | {"t", "graph", "pi", "inf", "bool", "iota"}
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
    taken: set[str] = field(default_factory=lambda: set(FIXED))

    def identifier(self, name: str) -> str:
        """A new identifier as close to `name` as can be."""
        plain = name if self.exact else re.sub(r"[^A-Za-z0-9_\u0370-\u03ff]+", "_", name).strip("_")
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


def spell(cell: Cell, exact: bool = False) -> Spelling:
    """The names of everything in a cell: identifiers, or (`exact`) the names as they are, for people to read."""
    spelling = Spelling(exact)
    spelling.taken |= {size.name for size in cell.sizes} | {cell.name} | set(cell.axes)
    _declared(cell, spelling)
    local = _local(cell)
    outputs = {output.name for output in cell.outputs}
    spelling.taken |= outputs
    _users_names(cell, spelling, local, outputs)
    for state in cell.states:
        if state.next not in spelling.named and state.next.op not in BARE:
            spelling.named[state.next] = Prime(spelling.declared["state", state.name])
    _new_names(cell, spelling, local)
    return spelling


def _declared(cell: Cell, spelling: Spelling) -> None:
    names = [("input", i.name) for i in cell.inputs] + [("param", p.name) for p in cell.params]
    names += [("noise", n.name) for n in cell.noises] + [("state", s.name) for s in cell.states]
    for key in names:
        spelling.declared[key] = spelling.identifier(key[1])
    along = {state.name: state.axes for state in cell.states}
    for leaf in postorder(cell.all_roots()):
        if leaf.op not in DECLARED:
            continue
        name = str(leaf.attr("name"))
        spelled = Name(spelling.declared[leaf.op, name])
        one_back = Binary("-", Name(str(leaf.attr("axis"))), Num(1)) if leaf.op == "state" else Num(0)
        spelling.named[leaf] = Index(spelled, (one_back,)) if len(along.get(name, ())) > 1 else spelled


def _local(cell: Cell) -> frozenset[Value]:
    """Values that only mean something inside `sum_in` or `max_in`, so that no statement can define them."""
    inside = depends_on(cell.roots(), lambda v: v.op == "read" and v.attr("via") not in HERE)
    outside = depends_on(cell.roots(), lambda v: v.op in ("sum_in", "max_in"))
    return inside - outside


def _users_names(cell: Cell, spelling: Spelling, local: frozenset[Value], outputs: set[str]) -> None:
    """The user's names; `h'` and the like are spelled by their states, an output's own name may be used for it."""
    primed = {(state.next, f"{state.name}'") for state in cell.states} | {(s.next, s.name) for s in cell.states}
    given = {output.value: output.name for output in cell.outputs}
    for value in postorder(cell.roots()):
        name = cell.names.get(value)
        if name is None or value.op in BARE or value.op == "read" or value in local or (value, name) in primed:
            continue
        if given.get(value) == name and name not in FIXED and name in outputs:
            spelling.taken.discard(name)
        spelling.assign(value, name)


def _new_names(cell: Cell, spelling: Spelling, local: frozenset[Value]) -> None:
    """Names for what is used more than once, or would make an expression too long."""
    reads = users(cell.roots())
    nexts = [state.next for state in cell.states]
    length: dict[Value, int] = {}
    number = 0
    for value in postorder(cell.roots()):
        if value in spelling.named or value.op in BARE:
            length[value] = 1
            continue
        length[value] = 1 + sum(length[arg] for arg in value.args)
        many = len(reads[value]) + nexts.count(value) > 1 and not _is_constant(value)
        if (many or length[value] > LONGEST) and value not in local and value.op != "read":
            number += 1
            spelling.assign(value, f"v{number}")
            length[value] = 1


def _is_constant(value: Value) -> bool:
    return all(leaf.op in ("const", "size", "iota") for leaf in postorder([value]) if not leaf.args)
