"""Python names for the values of a cell: the user's where there is one, otherwise one that says what the value is.

`z` stays `z`, `gru.Wz` becomes `gru_Wz`, `h'` becomes `h_next`, `x[t-2]` becomes `x_prev2`.  A value of the compiler's
own is called after its operands: `W_ih @ x` is `W_ih_x`, `exp(i - m')` is `exp_i_minus_m_next`.
"""

from __future__ import annotations

import builtins
import keyword
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy

from lsrl.ir.cell import Cell
from lsrl.ir.dims import Dim
from lsrl.ir.infer import dim, integer
from lsrl.ir.value import Value, postorder, users

LONGEST = 28
_INFIX = {
    "add": "plus",
    "sub": "minus",
    "div": "over",
    "pow": "to",
    "mod": "mod",
    "lt": "below",
    "le": "upto",
    "gt": "above",
    "ge": "from",
    "eq": "is",
    "ne": "isnt",
    "and": "and",
    "or": "or",
}
_JOINED = ("mul", "einsum", "gather", "conv")
_NOUNS = {
    "add": "sum",
    "sub": "difference",
    "mul": "product",
    "einsum": "product",
    "div": "ratio",
    "where": "choice",
    "expand": "wide",
    "slice": "part",
    "select": "item",
    "concat": "parts",
    "reshape": "folded",
}
_PREFIX = {"neg": "minus", "not": "not", "reduce_sum": "sum", "reduce_max": "max", "reduce_min": "min", "re": "re"}
_WITH_NUMBER = {"add": "plus", "sub": "minus", "mul": "scaled", "div": "scaled", "pow": "power"}
_SUFFIX = {"slice": "part", "select": "at", "transpose": "T", "expand": "wide", "reshape": "folded", "flip": "flipped"}


class Names:
    """Unique identifiers within one emitted module.

    Args:
        cell: whose values are named; declared names and names of the user are taken before any other is made up.
        reserved: identifiers that the module uses for something else.
    """

    def __init__(self, cell: Cell, reserved: Iterable[str] = ()) -> None:
        self._reserved = frozenset((*keyword.kwlist, *keyword.softkwlist, *dir(builtins), *reserved))
        self._taken: set[str] = set()
        self._names: dict[Value, str] = {}
        self._user = dict(cell.names)
        self._users: Mapping[Value, tuple[Value, ...]] = users(cell.all_roots())
        self._given = dict(_given(cell))
        self.sizes = {size.name: self.fresh(size.name) for size in cell.sizes}
        for value, wanted in self._given.items():
            self._names[value] = self.fresh(wanted)

    def __getitem__(self, value: Value) -> str:
        """The identifier of a value, the same at every call."""
        if value not in self._names:
            self._names[value] = self.fresh(self._described(value))
        return self._names[value]

    def inside(self, own: Sequence[Value], visible: Iterable[Value], scope: str) -> Names:
        """The names within a function: its own values go without the prefix of the scope that they are in.

        Args:
            own: arguments of the function and what it computes.
            visible: values from outside that it mentions; their names are the same here and there.
            scope: a dotted prefix such as `layers.0.`, or nothing.
        """
        inner = copy(self)
        prefix = scope.replace(".", "_")
        inner._names = {value: self[value] for value in visible}
        inner._taken = {*self.sizes.values(), *inner._names.values()}
        for value in own:
            if value in self._names:
                short = self._names[value].removeprefix(prefix)
                inner._names[value] = inner.fresh(short if short.isidentifier() else self._names[value])
        return inner

    def users(self, value: Value) -> tuple[Value, ...]:
        """The values of the cell that use a value directly."""
        return self._users.get(value, ())

    def is_named(self, value: Value) -> bool:
        """Whether the name is the user's, so that the value deserves a line of its own."""
        return value in self._user

    def fresh(self, wanted: str) -> str:
        """An identifier like `wanted` that nothing else in the module has."""
        base = identifier(wanted)
        base += "_" * (base in self._reserved)
        found, number = base, 2
        while found in self._taken:
            found, number = f"{base}_{number}", number + 1
        self._taken.add(found)
        return found

    def _described(self, value: Value) -> str:
        words, purpose = self._words(value, 2), self._purpose(value)
        scope = self._scope(purpose)
        short = re.sub(rf"\b{scope}|(?<=_){scope}", "", words) if scope else words
        if short and len(short) <= LONGEST:
            return short if short == words else f"{scope}{short}"
        noun = _NOUNS.get(value.op, _operation(value.op))
        return noun if purpose is None else f"{self._names[purpose]}_{noun}"

    def _purpose(self, value: Value) -> Value | None:
        """The named value that this one is computed for."""
        while value not in self._names:
            following = self._users.get(value, ())
            if not following:
                return None
            value = following[0]
        return value

    def _scope(self, purpose: Value | None) -> str:
        """The scope of a named value, as a prefix of its identifier where it has that: `layers_0_`."""
        if purpose is None or purpose not in self._given:
            return ""
        scope = self._given[purpose].rpartition(".")[0].replace(".", "_")
        return f"{scope}_" if scope and self._names[purpose].startswith(f"{scope}_") else ""

    def _words(self, value: Value, depth: int) -> str:
        """A description of the value by its operation and operands; empty when there is no short one."""
        if value in self._names:
            return self._names[value]
        if value.op == "iota":
            return "iota"
        if depth == 0 or not value.args:
            return ""
        if value.op == "slice" and (part := _part(value)):
            return "_".join(self._words(arg, 1) for arg in part)
        described = [arg for arg in value.args if arg.op != "const" or arg.attr("value") == 1]
        operands = ["one" if arg.op == "const" else self._words(arg, depth - 1) for arg in described]
        if not operands or not all(operands) or all(arg.op == "const" for arg in described):
            return ""
        if value.op == "concat":
            return joined(operands)
        if value.op == "cast":
            return f"{operands[0]}_{value.kind}"
        if value.op in _SUFFIX:
            return f"{operands[0]}_{_SUFFIX[value.op]}"
        if len(operands) == 1 and value.op in _WITH_NUMBER:
            return f"{operands[0]}_{_WITH_NUMBER[value.op]}"
        if len(operands) == 1:
            return f"{_PREFIX.get(value.op, _operation(value.op))}_{operands[0]}"
        if value.op == "einsum" and len(operands[0]) > LONGEST // 2 and value.args[0].op == "concat":
            return f"{operands[1]}_products"
        if value.op in _JOINED:
            return "_".join(operands)
        if value.op in _INFIX:
            return f"{operands[0]}_{_INFIX[value.op]}_{operands[1]}"
        return f"{_operation(value.op)}_{'_'.join(operands)}"


def identifier(name: str) -> str:
    """A Python identifier that reads like a name of a program: `gru.h'` is `gru_h_next`, `x[t-1]` is `x_prev`."""
    text = re.sub(r"\[\w+-(\d+)\]", lambda lag: "_prev" + ("" if lag[1] == "1" else lag[1]), name)
    text = re.sub(r"\[\w+-(\d+):\w+\]", r"_last\1", text)
    text = re.sub(r"\W+", "_", text.replace("'", "_next")).strip("_" if not name.startswith("_") else "")
    if not text or text[0].isdigit():
        text = f"v{text}"
    return text if not name.endswith("_") else f"{text}_"


def joined(names: Sequence[str]) -> str:
    """One name for several side by side: `Wz`, `Wh` are `W_zh`, `bi`, `bf`, `bz`, `bo` are `b_ifzo`."""
    unique = list(dict.fromkeys(names))
    prefix = _common_prefix(unique)
    rests = [name[len(prefix) :] for name in unique]
    if len(unique) > 1 and prefix.strip("_") and all(rests) and all(len(rest) <= 2 for rest in rests):
        return f"{prefix.rstrip('_')}_{''.join(rests)}"
    if len(unique) > 1 and prefix.endswith("_") and prefix.strip("_") and all(rests):
        return f"{prefix.rstrip('_')}_{'_'.join(rests)}"
    return "_".join(unique)


def _common_prefix(names: Sequence[str]) -> str:
    shortest = min(names, key=len)
    for length in range(len(shortest), 0, -1):
        if all(name.startswith(shortest[:length]) for name in names):
            return shortest[:length]
    return ""


def _part(value: Value) -> tuple[Value, Value] | None:
    """For a piece of `concat(A, B) @ x` that one part gave: that part, and x."""
    (whole,) = value.args
    if whole.op != "einsum" or len(whole.args) != 2:
        return None
    for place, arg in enumerate(whole.args):
        start = Dim.of(0)
        for part in arg.args if arg.op == "concat" else ():
            size = part.shape[integer(arg.attr("axis"))]
            if (start, size) == (dim(value.attr("start")), dim(value.attr("size"))):
                return part, whole.args[1 - place]
            start = start + size
    return None


def _operation(op: str) -> str:
    return op.removeprefix("reduce_")


def _given(cell: Cell) -> Iterator[tuple[Value, str]]:
    """Every value with a name of its own: declared arrays first, then what the user named, operands before users."""
    order = list(postorder(cell.all_roots()))
    leaves = [v for v in order if v.op in ("input", "param", "noise", "state")]
    yield from ((leaf, str(leaf.attr("name"))) for leaf in leaves)
    nexts = {state.next: f"{state.name}'" for state in reversed(cell.states)}
    outputs = {output.value: output.name for output in reversed(cell.outputs)}
    named = {**outputs, **nexts, **cell.names}
    states = {state.name for state in cell.states}
    for value in order:
        if value in named and value not in leaves:
            restarted = value.op == "where" and named[value] in states
            yield value, f"{named[value]}_or_init" if restarted else named[value]
