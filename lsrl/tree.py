"""From Lark's tree to the syntax tree: one method per rule of `grammar.lark`, named like it.

What a grammar does not say is checked here: kinds, modifiers given twice, declarations without a shape.
"""

from __future__ import annotations

import inspect
from dataclasses import dataclass, replace
from difflib import get_close_matches

from lark import Token, v_args
from lark.tree import Meta

from lsrl import syntax
from lsrl.ir.span import Span
from lsrl.syntax import Expr
from lsrl.tree_expression import Along, ExpressionBuilder

KINDS = ("float", "complex", "int", "bool")
# What may follow the type of a declaration, by role.
INITIALS = {"input": "", "param": "=~", "state": "=", "noise": "~"}
_REMEDIES = {
    "input": "an input comes from outside; a value of the cell's own is `name = ...`",
    "state": "a state starts at a value: `= 0`",
    "noise": "noise is drawn at every step: `~ normal(1)`",
}


@dataclass(frozen=True, slots=True)
class _Kind:
    name: str
    bound: Expr | None
    span: Span


@dataclass(frozen=True, slots=True)
class _Shared:
    span: Span


@dataclass(frozen=True, slots=True)
class _Pad:
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class _Initial:
    """`= value` or `~ value`"""

    sign: str
    value: Expr
    span: Span


@dataclass(frozen=True, slots=True)
class _Declared:
    name: syntax.Name
    type: syntax.Type | None
    initial: _Initial | None
    span: Span


_Modifier = _Kind | _Shared | _Pad | Along


@v_args(meta=True, inline=True)
class Builder(ExpressionBuilder):
    """Builds the program of one text; what is wrong with its parts is collected in `diagnostics`."""

    # Top level

    def start(self, meta: Meta, doc: str | None, *items: syntax.Item) -> syntax.Program:
        return syntax.Program(doc, items, self.source, self.comments)

    def docstring(self, meta: Meta, token: Token) -> str:
        text = token[3:-3] if token.startswith('"""') else token[1:-1]
        return inspect.cleandoc("\n".join(line.rstrip() for line in text.split("\n")))

    def import_module(self, meta: Meta, path: list[Token], alias: Token | None) -> syntax.Import:
        return syntax.Import(tuple(map(str, path)), str(alias) if alias else None, self._span(meta))

    def import_names(self, meta: Meta, path: list[Token], *names: syntax.ImportedName) -> syntax.FromImport:
        path_span = self._span(path[0]).to(self._span(path[-1]))
        return syntax.FromImport(tuple(map(str, path)), names, self._span(meta), path_span)

    def path(self, meta: Meta, *parts: Token) -> list[Token]:
        return list(parts)

    def imported(self, meta: Meta, name: Token, alias: Token | None) -> syntax.ImportedName:
        return syntax.ImportedName(str(name), str(alias) if alias else None, self._span(meta))

    def const(self, meta: Meta, name: Token, type_: syntax.Type | None, value: Expr) -> syntax.Const:
        return syntax.Const(self._name(name), type_, value, self._span(meta))

    def inline_function(
        self, meta: Meta, name: Token, parameters: tuple[syntax.Parameter, ...], value: Expr
    ) -> syntax.Function:
        result = syntax.Return((value,), value.span)
        return syntax.Function(self._name(name), parameters, (), result, True, None, self._span(meta))

    def function(
        self,
        meta: Meta,
        name: Token,
        parameters: tuple[syntax.Parameter, ...],
        doc: str | None,
        *lines: syntax.Assign | syntax.Return,
    ) -> syntax.Function:
        body = tuple(line for line in lines if isinstance(line, syntax.Assign))
        result = next(line for line in lines if isinstance(line, syntax.Return))
        return syntax.Function(self._name(name), parameters, body, result, False, doc, self._span(meta))

    def returned(self, meta: Meta, *values: Expr) -> syntax.Return:
        return syntax.Return(values, self._span(meta))

    def cell(
        self,
        meta: Meta,
        name: Token,
        sizes: tuple[syntax.Parameter, ...],
        heads: tuple[syntax.Name | None, Expr] | None,
        axes: tuple[syntax.Name, ...] | None,
        doc: str | None,
        *body: syntax.Statement,
    ) -> syntax.Cell:
        counter, count = heads or (None, None)
        return syntax.Cell(self._name(name), sizes, count, axes or (), doc, body, counter, self._span(meta))

    def heads(self, meta: Meta, counter: syntax.Name | None, count: Expr) -> tuple[syntax.Name | None, Expr]:
        return counter, count

    def over(self, meta: Meta, *axes: Token) -> tuple[syntax.Name, ...]:
        return tuple(self._name(axis) for axis in axes)

    def parameters(self, meta: Meta, *parameters: syntax.Parameter | None) -> tuple[syntax.Parameter, ...]:
        return tuple(parameter for parameter in parameters if parameter is not None)

    def parameter(self, meta: Meta, name: Token, default: Expr | None) -> syntax.Parameter:
        return syntax.Parameter(str(name), default, self._span(meta))

    # Declarations

    def declaration(self, meta: Meta, domain: str | None, role: str, *declared: _Declared) -> syntax.Declaration:
        groups: list[syntax.Group] = []
        untyped: list[_Declared] = []
        for one in declared:
            untyped.append(one)
            if one.type:
                names = tuple(each.name for each in untyped)
                groups.append(_group(names, one.type, one.initial, one.span))
            elif one.initial:
                self._widen(groups, untyped)
            if one.type or one.initial:
                untyped = []
        if untyped:
            self._widen(groups, untyped)
        for group in groups:
            for sign, value in (("=", group.init), ("~", group.draw)):
                if value is not None and sign not in INITIALS[role]:
                    self._refuse("E0210", f"`{sign}` does not go with `{role}`", value.span, _REMEDIES[role])
        return syntax.Declaration(role, tuple(groups), domain or "", self._span(meta))

    def _widen(self, groups: list[syntax.Group], axes: list[_Declared]) -> None:
        """`state h: [H] along y, x = 0`: names without a type behind `along` are further axes of the last group."""
        if not groups or not groups[-1].type.along or groups[-1].init is not None:
            name = axes[-1].name
            self._refuse("E0204", f"`{name.id}` has no shape", name.span, f"write `{name.id}: []` for a scalar")
            return
        last = groups.pop()
        along = (*last.type.along, *(axis.name for axis in axes))
        span = last.span.to(axes[-1].span)
        groups.append(_group(last.names, replace(last.type, along=along), axes[-1].initial, span))

    def role(self, meta: Meta, word: Token) -> str:
        return str(word)

    def domain(self, meta: Meta, word: Token) -> str:
        return str(word)

    def declared(self, meta: Meta, name: Token, type_: syntax.Type | None, initial: _Initial | None) -> _Declared:
        return _Declared(self._name(name), type_, initial, self._span(meta))

    def init(self, meta: Meta, value: Expr) -> _Initial:
        return _Initial("=", value, self._span(meta))

    def draw(self, meta: Meta, value: Expr) -> _Initial:
        return _Initial("~", value, self._span(meta))

    def type(self, meta: Meta, shape: tuple[Expr, ...], *modifiers: _Modifier) -> syntax.Type:
        made = syntax.Type(shape, span=self._span(meta))
        given: set[type[_Modifier]] = set()
        for modifier in modifiers:
            if type(modifier) in given:
                self._refuse("E0205", "a modifier is given twice", modifier.span)
            given.add(type(modifier))
            match modifier:
                case _Kind(name=name, bound=bound):
                    made = replace(made, kind=name, bound=bound)
                case _Shared():
                    made = replace(made, shared=True)
                case _Pad(value=value):
                    made = replace(made, pad=value)
                case Along(axes=axes):
                    made = replace(made, along=axes)
        return made

    def shape(self, meta: Meta, *dims: Expr | None) -> tuple[Expr, ...]:
        return tuple(dim for dim in dims if dim is not None)

    def kind(self, meta: Meta, name: Token, bound: Expr | None) -> _Kind:
        if name not in KINDS:
            near = get_close_matches(name, KINDS, 1, 0.5)
            remedy = f"did you mean `{near[0]}`?" if near else "the kinds are float, complex, int, int(N) and bool"
            self._refuse("E0213", f"there is no kind `{name}`", self._span(name), remedy)
        elif bound is not None and name != "int":
            self._refuse("E0213", f"`{name}` has no bound", self._span(meta), "only int has one: `int(V)`")
        return _Kind(str(name), bound, self._span(meta))

    def shared(self, meta: Meta) -> _Shared:
        return _Shared(self._span(meta))

    def pad(self, meta: Meta, value: Expr) -> _Pad:
        return _Pad(value, self._span(meta))

    # Statements

    def assign(self, meta: Meta, *parts: syntax.Target | Expr) -> syntax.Assign:
        *targets, value = parts
        return syntax.Assign(tuple(targets), value, self._span(meta))  # type: ignore[arg-type]

    def target(self, meta: Meta, token: Token) -> syntax.Target:
        return syntax.Target(self._unprimed(token), token.endswith("'"), self._span(token))

    def output(self, meta: Meta, *items: syntax.OutputItem) -> syntax.Output:
        return syntax.Output(items, self._span(meta))

    def output_item(self, meta: Meta, target: syntax.Target, value: Expr | None) -> syntax.OutputItem:
        return syntax.OutputItem(target, value, self._span(meta))

    def reset(self, meta: Meta, condition: Expr) -> syntax.Reset:
        return syntax.Reset(condition, self._span(meta))

    def hold(self, meta: Meta, condition: Expr) -> syntax.Hold:
        return syntax.Hold(condition, self._span(meta))

    def counter(self, meta: Meta, name: Token) -> syntax.Name:
        return self._name(name)

    def repeat(
        self,
        meta: Meta,
        counter: syntax.Name | None,
        count: Expr,
        shared: _Shared | None,
        name: Token | None,
        *body: syntax.Statement,
    ) -> syntax.Repeat:
        called = str(name) if name else None
        return syntax.Repeat(count, shared is not None, called, body, counter, self._span(meta), count.span)

    def choice(self, meta: Meta, condition: Expr, *parts: syntax.Statement | syntax.Otherwise | None) -> syntax.Choice:
        *body, last = parts
        otherwise = last if isinstance(last, syntax.Otherwise) else None
        return syntax.Choice(condition, tuple(body), otherwise, self._span(meta))  # type: ignore[arg-type]

    def otherwise(self, meta: Meta, *body: syntax.Statement) -> syntax.Otherwise:
        return syntax.Otherwise(body, self._span(meta))


def _group(names: tuple[syntax.Name, ...], type_: syntax.Type, initial: _Initial | None, last: Span) -> syntax.Group:
    init = initial.value if initial and initial.sign == "=" else None
    draw = initial.value if initial and initial.sign == "~" else None
    return syntax.Group(names, type_, init, draw, names[0].span.to(last))
