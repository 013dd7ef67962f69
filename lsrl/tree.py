"""From Lark's tree to the syntax tree: one method per rule of `grammar.lark`."""

from __future__ import annotations

from fractions import Fraction
from typing import Union

from lark import Token, Tree

from lsrl import syntax
from lsrl.ir.span import Diagnostic, Source, Span
from lsrl.lexical import RESERVED

Branch = Union["Tree[Token]", Token]

DEEPEST_EXPRESSION = 100
LARGEST_EXPONENT = 400
LONGEST_NUMBER = 400


class Builder:
    """Builds the nodes of one text; what is wrong with names and numbers is collected in `diagnostics`."""

    def __init__(self, source: Source) -> None:
        self.source = source
        self.diagnostics: list[Diagnostic] = []

    # Places and words

    def span(self, branch: Branch) -> Span:
        at = branch if isinstance(branch, Token) else branch.meta
        return Span(self.source, at.line or 1, at.column or 1, at.end_line or 1, at.end_column or 1)

    def refuse(self, code: str, message: str, span: Span, remedy: str | None = None) -> None:
        self.diagnostics.append(Diagnostic(code, message, span, remedy=remedy))

    def name(self, token: Branch) -> syntax.Name:
        text = str(token)
        if text in RESERVED:
            remedy = f"rename it, for instance `{text}_`"
            self.refuse("E0203", f"`{text}` is a reserved word, not a name", self.span(token), remedy)
        return syntax.Name(text, self.span(token))

    def docstring(self, branch: Branch | None) -> str | None:
        if branch is None:
            return None
        text = str(_children(branch)[0])
        return text[3:-3] if text.startswith('"""') else text[1:-1]

    # Top level

    def program(self, tree: Branch, comments: tuple[syntax.Comment, ...]) -> syntax.Program:
        doc, *items = _children(tree)
        return syntax.Program(self.docstring(doc), tuple(self.item(i) for i in items if i), self.source, comments)

    def item(self, tree: Branch) -> syntax.Item:
        match _rule(tree):
            case "import":
                path, alias = _children(tree)
                return syntax.Import(self.path(path), self.alias(alias), self.span(tree))
            case "from_import":
                path, *names = _children(tree)
                imported = tuple(self.imported(name) for name in names)
                return syntax.FromImport(self.path(path), imported, self.span(tree), self.span(_there(path)))
            case "const":
                return self.const(tree)
            case "cell":
                return self.cell(tree)
            case _:
                return self.function(tree)

    def path(self, tree: Branch | None) -> tuple[str, ...]:
        return tuple(str(token) for token in _children(_there(tree)))

    def alias(self, token: Branch | None) -> str | None:
        return self.name(token).id if token is not None else None

    def imported(self, tree: Branch | None) -> syntax.ImportedName:
        name, alias = _children(_there(tree))
        return syntax.ImportedName(self.name(_there(name)).id, self.alias(alias), self.span(_there(tree)))

    def function(self, tree: Branch) -> syntax.Function:
        name, parameters, *rest = _children(tree)
        inline = _rule(tree) == "inline_function"
        doc, *lines = [None, *rest] if inline else rest
        last = _there(lines[-1])
        body = tuple(self.assign(_there(line)) for line in lines[:-1])
        returned = [last] if inline else [_there(c) for c in _children(last)]
        result = syntax.Return(tuple(self.expression(value) for value in returned), self.span(last))
        declared = self.parameters(parameters)
        named = self.name(_there(name))
        return syntax.Function(named, declared, body, result, inline, self.docstring(doc), self.span(tree))

    def cell(self, tree: Branch) -> syntax.Cell:
        name, parameters, heads, over, doc, *body = _children(tree)
        axes = tuple(self.name(_there(axis)) for axis in _children(over)) if over is not None else ()
        return syntax.Cell(
            self.name(_there(name)),
            self.parameters(parameters),
            self.expression(_there(_children(heads)[0])) if heads is not None else None,
            axes,
            self.docstring(doc),
            tuple(self.statement(_there(s)) for s in body),
            self.span(tree),
        )

    def parameters(self, tree: Branch | None) -> tuple[syntax.Parameter, ...]:
        return tuple(self.parameter(_there(p)) for p in _children(tree)) if tree is not None else ()

    def parameter(self, tree: Branch) -> syntax.Parameter:
        name, default = _children(tree)
        return syntax.Parameter(self.name(_there(name)).id, self.optional(default), self.span(tree))

    # Statements

    def statement(self, tree: Branch) -> syntax.Statement:
        match _rule(tree):
            case "declaration":
                return self.declaration(tree)
            case "assign":
                return self.assign(tree)
            case "output":
                items = tuple(self.output_item(_there(item)) for item in _children(tree))
                return syntax.Output(items, self.span(tree))
            case "reset":
                return syntax.Reset(self.expression(_there(_children(tree)[0])), self.span(tree))
            case "const":
                return self.const(tree)
            case _:
                return self.repeat(tree)

    def assign(self, tree: Branch) -> syntax.Assign:
        *targets, value = _children(tree)
        return syntax.Assign(
            tuple(self.target(_there(t)) for t in targets), self.expression(_there(value)), self.span(tree)
        )

    def target(self, tree: Branch) -> syntax.Target:
        name, prime = _children(tree)
        return syntax.Target(self.name(_there(name)).id, prime is not None, self.span(tree))

    def output_item(self, tree: Branch) -> syntax.OutputItem:
        target, value = _children(tree)
        return syntax.OutputItem(self.target(_there(target)), self.optional(value), self.span(tree))

    def const(self, tree: Branch) -> syntax.Const:
        name, type_, value = _children(tree)
        declared = self.type(type_) if type_ is not None else None
        return syntax.Const(self.name(_there(name)), declared, self.expression(_there(value)), self.span(tree))

    def repeat(self, tree: Branch) -> syntax.Repeat:
        count, shared, name, *body = _children(tree)
        statements = tuple(self.statement(_there(s)) for s in body)
        number = self.expression(_there(count))
        return syntax.Repeat(number, shared is not None, self.alias(name), statements, self.span(tree), number.span)

    # Declarations

    def declaration(self, tree: Branch) -> syntax.Declaration:
        domain, role, *declared = _children(tree)
        groups: list[syntax.Group] = []
        waiting: list[syntax.Name] = []
        for branch in declared:
            name, type_, init = _children(_there(branch))
            if type_ is not None:
                names = (*waiting, self.name(_there(name)))
                groups.append(self.group(names, self.type(type_), init))
                waiting = []
            elif init is None:
                waiting.append(self.name(_there(name)))
            else:
                self.add_axes(groups, [*waiting, self.name(_there(name))], init)
                waiting = []
        if waiting:
            self.add_axes(groups, waiting, None)
        return syntax.Declaration(str(role), tuple(groups), str(domain or ""), self.span(tree))

    def group(self, names: tuple[syntax.Name, ...], type_: syntax.Type, init: Branch | None) -> syntax.Group:
        given, drawn = self.initial(init)
        return syntax.Group(names, type_, given, drawn, names[0].span.to(type_.span))

    def add_axes(self, groups: list[syntax.Group], axes: list[syntax.Name], init: Branch | None) -> None:
        """`state h: [H] along y, x = 0`: names without a type behind an `along` are further axes of the last group."""
        if not groups or not groups[-1].type.along or groups[-1].init is not None:
            self.refuse("E0204", f"`{axes[0].id}` has no shape", axes[0].span, f"write `{axes[0].id}: []` for a scalar")
            return
        last = groups.pop()
        along = (*last.type.along, *axes)
        type_ = syntax.Type(
            last.type.shape, last.type.kind, last.type.bound, last.type.shared, last.type.pad, along, last.type.span
        )
        given, drawn = self.initial(init)
        groups.append(syntax.Group(last.names, type_, given, drawn, last.span.to(axes[-1].span)))

    def initial(self, init: Branch | None) -> tuple[syntax.Expr | None, syntax.Expr | None]:
        if init is None:
            return None, None
        if _rule(init) == "equals":
            return self.expression(_there(_children(init)[0])), None
        return None, self.expression(init)

    def type(self, tree: Branch) -> syntax.Type:
        shape, *modifiers = _children(tree)
        dims = tuple(self.expression(d) for d in _children(_there(shape)) if d is not None)
        parts: dict[str, list[Branch]] = {}
        for modifier in modifiers:
            parts.setdefault(_rule(_there(modifier)).removeprefix("int_"), []).append(_there(modifier))
        for name, given in parts.items():
            if len(given) > 1 and name != "along":
                self.refuse("E0205", f"{name} is given twice", self.span(given[1]))
        kind, bound = self.kind(parts.get("kind", [None])[0])
        pad = parts.get("pad")
        along = tuple(self.name(_there(_children(m)[0])) for m in parts.get("along", []))
        before = self.expression(_there(_children(pad[0])[0])) if pad else None
        return syntax.Type(dims, kind, bound, "shared" in parts, before, along, self.span(tree))

    def kind(self, tree: Branch | None) -> tuple[str, syntax.Expr | None]:
        if tree is None:
            return "float", None
        if _rule(tree) == "int_kind":
            return "int", self.optional(_children(tree)[0])
        return str(_children(tree)[0]), None

    # Expressions

    def optional(self, branch: Branch | None) -> syntax.Expr | None:
        return self.expression(branch) if branch is not None else None

    def expression(self, branch: Branch, depth: int = 0) -> syntax.Expr:
        if depth > DEEPEST_EXPRESSION:
            self.refuse(
                "E0108", f"an expression nests deeper than {DEEPEST_EXPRESSION}", self.span(branch), "name its parts"
            )
            return syntax.Num(0, self.span(branch))
        rule = _rule(branch)
        if rule in ("disjunction", "conjunction", "comparison", "sum", "product"):
            return self.chain(_children(branch), rule, depth)
        return self.plain(branch, rule, depth + 1)

    def chain(self, parts: list[Branch | None], rule: str, depth: int) -> syntax.Expr:
        """`a - b + c`: operands and operators in turn, grouped from the left."""
        operators = len(parts) // 2
        if rule == "comparison" and operators > 1:
            remedy = "write `a < b and b < c`"
            self.refuse("E0206", "comparisons do not chain", self.span(_there(parts[3])), remedy)
        if depth + operators > DEEPEST_EXPRESSION:
            span = self.span(_there(parts[0])).to(self.span(_there(parts[-1])))
            self.refuse("E0108", f"an expression nests deeper than {DEEPEST_EXPRESSION}", span, "name its parts")
            return syntax.Num(0, span)
        left = self.expression(_there(parts[0]), depth + operators)
        for place in range(1, len(parts), 2):
            right = self.expression(_there(parts[place + 1]), depth + operators)
            operator = _there(parts[place])
            left = syntax.Binary(str(operator), left, right, left.span.to(right.span), self.span(operator))
        return left

    def plain(self, branch: Branch, rule: str, depth: int) -> syntax.Expr:
        span, parts = self.span(branch), _children(branch)
        match rule:
            case "name":
                return syntax.Name(self.name(_there(parts[0])).id, span)
            case "number":
                return self.number(str(parts[0]), span)
            case "string":
                return syntax.Str(str(parts[0])[1:-1], span)
            case "true" | "false":
                return syntax.Bool(rule == "true", span)
            case "prime":
                return syntax.Prime(self.name(_there(parts[0])).id, span)
            case "group":
                return self.expression(_there(parts[0]), depth)
            case "array":
                return syntax.Array(tuple(self.expression(p, depth) for p in parts if p is not None), span)
            case "negation" | "signed":
                return syntax.Unary(str(parts[0]), self.expression(_there(parts[1]), depth), span)
            case "reverse":
                return syntax.Reverse(self.expression(_there(parts[0]), depth), span)
            case "power":
                left = self.expression(_there(parts[0]), depth)
                right = self.expression(_there(parts[2]), depth)
                return syntax.Binary("**", left, right, span, self.span(_there(parts[1])))
            case "attribute":
                base, name = self.expression(_there(parts[0]), depth), _there(parts[1])
                return syntax.Attribute(base, str(name), span, self.span(name))
            case "call":
                return self.call(parts, span, depth)
            case _:
                base = self.expression(_there(parts[0]), depth)
                return syntax.Index(base, tuple(self.index_item(_there(p), depth) for p in parts[1:]), span)

    def call(self, parts: list[Branch | None], span: Span, depth: int) -> syntax.Call:
        function = self.expression(_there(parts[0]), depth)
        given = _children(parts[1]) if parts[1] is not None else []
        args: list[syntax.Expr] = []
        keywords: list[syntax.Keyword] = []
        for branch in (_there(g) for g in given):
            if _rule(branch) == "keyword":
                name, value = (_there(c) for c in _children(branch))
                keywords.append(syntax.Keyword(str(name), self.expression(value, depth), self.span(branch)))
            elif keywords:
                self.refuse("E0207", "a positional argument behind a named one", self.span(branch))
            else:
                args.append(self.expression(branch, depth))
        return syntax.Call(function, tuple(args), tuple(keywords), span)

    def index_item(self, branch: Branch, depth: int) -> syntax.Expr | syntax.Slice | syntax.Ellipsis:
        match _rule(branch):
            case "ellipsis":
                return syntax.Ellipsis(self.span(branch))
            case "slice":
                return self.slice(branch, depth)
            case _:
                return self.expression(branch, depth)

    def slice(self, branch: Branch, depth: int) -> syntax.Slice:
        start, _, stop, second, step = _children(branch)
        del second
        parts = (self.expression(p, depth) if p is not None else None for p in (start, stop, step))
        return syntax.Slice(*parts, self.span(branch))

    def number(self, text: str, span: Span) -> syntax.Num:
        digits = text.replace("_", "").lower()
        exponent = digits.rstrip("j").partition("e")[2]
        if len(digits) > LONGEST_NUMBER or (exponent and abs(int(exponent[:6])) > LARGEST_EXPONENT):
            self.refuse("E0109", "a number with too many digits or too large an exponent", span)
            return syntax.Num(0, span)
        if digits.endswith("j"):
            return syntax.Num(complex(digits), span)
        exact = Fraction(digits)
        whole = digits.isdigit()
        return syntax.Num(int(exact) if whole else exact, span)


def _rule(branch: Branch) -> str:
    return str(branch.data) if isinstance(branch, Tree) else branch.type


def _children(branch: Branch | None) -> list[Branch | None]:
    return list(branch.children) if isinstance(branch, Tree) else []


def _there(branch: Branch | None) -> Branch:
    assert branch is not None
    return branch
