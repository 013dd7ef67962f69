"""Text to syntax tree: as Python reads it where the languages agree, by hand elsewhere; and where each node stands."""

import ast
from collections.abc import Iterator
from dataclasses import fields, is_dataclass
from fractions import Fraction
from pathlib import Path
from typing import get_args

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsrl.ir.span import LsrlError
from lsrl.parser import parse, parse_file
from lsrl.syntax import (
    Array,
    Assign,
    Attribute,
    Binary,
    Bool,
    Call,
    Cell,
    Const,
    Declaration,
    Ellipsis,
    Expr,
    FromImport,
    Function,
    Group,
    Hold,
    Import,
    ImportedName,
    Index,
    Keyword,
    Name,
    Num,
    Output,
    OutputItem,
    Parameter,
    Prime,
    Program,
    Repeat,
    Reset,
    Return,
    Reverse,
    Slice,
    Str,
    Target,
    Type,
    Unary,
)
from support.places import text_at
from support.process import ROOT

STD = sorted((ROOT / "lsrl/std").rglob("*.lsrl"))
A, B, C = Name("a"), Name("b"), Name("c")


def value_of(expression: str) -> Expr:
    program = parse(f"const c = {expression}\n")
    match program.items:
        case (Const(value=value),):
            return value
        case other:
            raise AssertionError(other)


def body_of(*lines: str) -> tuple[object, ...]:
    return parse("cell f():\n" + "".join(f"    {line}\n" for line in lines)).cells[0].body


# Expressions, as Python reads them

OPERATORS = {
    ast.Add: "+",
    ast.Sub: "-",
    ast.Mult: "*",
    ast.Div: "/",
    ast.FloorDiv: "//",
    ast.Mod: "%",
    ast.MatMult: "@",
    ast.Pow: "**",
    ast.Lt: "<",
    ast.GtE: ">=",
    ast.NotEq: "!=",
    ast.And: "and",
    ast.Or: "or",
    ast.USub: "-",
    ast.UAdd: "+",
    ast.Not: "not",
}


def as_python_reads(node: ast.expr) -> Expr:
    match node:
        case ast.Name(id=name):
            return Name(name)
        case ast.UnaryOp(op=op, operand=operand):
            return Unary(OPERATORS[type(op)], as_python_reads(operand))
        case ast.BinOp(op=op, left=left, right=right):
            return Binary(OPERATORS[type(op)], as_python_reads(left), as_python_reads(right))
        case ast.Compare(ops=[op], left=left, comparators=[right]):
            return Binary(OPERATORS[type(op)], as_python_reads(left), as_python_reads(right))
        case ast.BoolOp(op=op, values=[first, *rest]):
            joined = as_python_reads(first)
            for value in rest:
                joined = Binary(OPERATORS[type(op)], joined, as_python_reads(value))
            return joined
        case ast.Call(func=function, args=args):
            return Call(as_python_reads(function), tuple(map(as_python_reads, args)), ())
        case ast.Subscript(value=base, slice=item):
            return Index(as_python_reads(base), (as_python_reads(item),))
        case ast.Attribute(value=base, attr=name):
            return Attribute(as_python_reads(base), name)
        case other:
            raise AssertionError(ast.dump(other))


operators = st.sampled_from([op for op in OPERATORS.values() if op not in ("not",)])
written = st.recursive(
    st.sampled_from(("a", "b", "c", "f(a)", "a[b]", "a.b")),
    lambda inner: st.one_of(
        st.tuples(inner, operators, inner).map(" ".join),
        st.tuples(st.sampled_from(("-", "+", "not ")), inner).map("".join),
        inner.map("({})".format),
    ),
    max_leaves=10,
)


def is_chained(node: ast.AST) -> bool:
    return isinstance(node, ast.Compare) and len(node.ops) > 1


@settings(max_examples=200, deadline=None)
@given(written)
def test_expressions_group_as_in_python(text: str) -> None:
    try:
        tree = ast.parse(text, mode="eval")
    except SyntaxError:
        with pytest.raises(LsrlError):  # `a * not b`
            value_of(text)
        return
    if any(map(is_chained, ast.walk(tree))):
        with pytest.raises(LsrlError, match="E0206"):
            value_of(text)
        return
    assert value_of(text) == as_python_reads(tree.body)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("1", 1),
        ("1_000", 1000),
        ("0.1", Fraction(1, 10)),
        ("2.", Fraction(2)),
        (".5", Fraction(1, 2)),
        ("1e-3", Fraction(1, 1000)),
        ("1.5E+2", Fraction(150)),
        ("1e400", Fraction(10**400)),
        ("9" * 400, 10**400 - 1),
        ("2j", 2j),
        ("0.5j", 0.5j),
    ],
)
def test_numbers_are_exact(text: str, value: complex | Fraction) -> None:
    number = value_of(text)
    assert isinstance(number, Num)
    assert number.value == value
    assert type(number.value) is type(value)


@pytest.mark.parametrize(
    ("text", "node"),
    [
        ("h'", Prime("h")),
        ("true", Bool(True)),
        ('"k v, k -> v"', Str("k v, k -> v")),
        ("[[a, b], [c]]", Array((Array((A, B)), Array((C,))))),
        ("[a, b,]", Array((A, B))),
        ("a[b, :, 0:b, ::c, ...]", None),
        ("reverse a(b)(c)", Reverse(Call(Call(A, (B,), ()), (C,), ()))),
        ("-reverse a", Unary("-", Reverse(A))),
        ("reverse along a b", Reverse(B, ("a",))),
        ("[reverse along (a, b) c, a]", Array((Reverse(C, ("a", "b")), A))),
        ("a(b, k=c,)", Call(A, (B,), (Keyword("k", C),))),
        ("a()", Call(A, (), ())),
        ("(a)", A),
    ],
)
def test_expressions_of_our_own(text: str, node: Expr | None) -> None:
    slices = (
        B,
        Slice(None, None, None),
        Slice(Num(0), B, None),
        Slice(None, None, C),
        Ellipsis(),
    )
    assert value_of(text) == (node or Index(A, slices))


def test_brackets_join_lines() -> None:
    assert value_of("(a  # first\n\n  + b\n# second\n)") == Binary("+", A, B)


# Statements


def declared(role: str, *groups: Group, domain: str = "") -> Declaration:
    return Declaration(role, groups, domain)


@pytest.mark.parametrize(
    ("line", "node"),
    [
        (
            "edge input a, b: [c], x: [] int(c) shared pad -1",
            declared(
                "input",
                Group((A, B), Type((C,))),
                Group((Name("x"),), Type((), "int", C, True, Unary("-", Num(1)))),
                domain="edge",
            ),
        ),
        ("input a: [] pad 0 bool", declared("input", Group((A,), Type((), "bool", None, False, Num(0))))),
        ("param a: [b] ~ normal(c)", declared("param", Group((A,), Type((B,)), None, Call(Name("normal"), (C,), ())))),
        (
            "state a: [b] complex along c, x = 0, b: []",
            declared(
                "state",
                Group((A,), Type((B,), "complex", along=(C, Name("x"))), Num(0)),
                Group((B,), Type(())),
            ),
        ),
        ("state a: [] along b", declared("state", Group((A,), Type((), along=(B,))))),
        ("state a: [] along b, c", declared("state", Group((A,), Type((), along=(B, C))))),
        (
            "state a: [] along b, c: [] along b",
            declared("state", Group((A,), Type((), along=(B,))), Group((C,), Type((), along=(B,)))),
        ),
        ("reset when a", Reset(A)),
        ("hold when a", Hold(A)),
        ("a = b", Assign((Target("a", False),), B)),
        ("a, b' = c", Assign((Target("a", False), Target("b", True)), C)),
        ("output a', b = c", Output((OutputItem(Target("a", True), None), OutputItem(Target("b", False), C)))),
        ("const a: [2] int = b", Const(A, Type((Num(2),), "int"), B)),
        ("repeat a: b = c", None),
    ],
)
def test_statements(line: str, node: object) -> None:
    if node is None:
        with pytest.raises(LsrlError, match="E0217"):
            body_of(line)
        return
    assert body_of(line) == (node,)


def test_repeat() -> None:
    (node,) = body_of("repeat a shared as b:", "    repeat 2:", "        a = b", "    c = b")
    inner = Repeat(Num(2), False, None, (Assign((Target("a", False),), B),))
    assert node == Repeat(A, True, "b", (inner, Assign((Target("c", False),), B)))


def test_repeat_with_the_number_of_the_turn() -> None:
    (node,) = body_of("repeat a in 2*b as c:", "    a = b")
    assert node == Repeat(Binary("*", Num(2), B), False, "c", (Assign((Target("a", False),), B),), A)


def test_top_level() -> None:
    text = '''
"""Doc."""
import std.logic as l
from std import a, b as c
def a(b, c=1) = b
def b(c):
    "Twice."
    a = c
    return a, c
cell c(a, b=2*a) heads x in b over x, y:
    """Doc.

       Indented.
    """
    output a
'''
    returned = Return((A, C))
    assert parse(text) == Program(
        "Doc.",
        (
            Import(("std", "logic"), "l"),
            FromImport(("std",), (ImportedName("a", None), ImportedName("b", "c"))),
            Function(A, (Parameter("b", None), Parameter("c", Num(1))), (), Return((B,)), True),
            Function(B, (Parameter("c", None),), (Assign((Target("a", False),), C),), returned, False, "Twice."),
            Cell(
                C,
                (Parameter("a", None), Parameter("b", Binary("*", Num(2), A))),
                B,
                (Name("x"), Name("y")),
                "Doc.\n\nIndented.",
                (Output((OutputItem(Target("a", False), None),)),),
                Name("x"),
            ),
        ),
    )


@pytest.mark.parametrize("path", STD, ids=lambda path: path.stem)
def test_library_parses(path: Path) -> None:
    program = parse_file(path)
    assert program.doc
    assert program.items


def test_line_ends_and_byte_order_mark(tmp_path: Path) -> None:
    path = tmp_path / "f.lsrl"
    path.write_bytes(b"\xef\xbb\xbfcell f():\r\n    output a = 1\r\n")
    assert parse_file(path) == parse("cell f():\n    output a = 1")


def test_comments_know_their_place() -> None:
    comments = parse('# one\ncell f():  # two\n    a = "# no"  # three\n    # four\n').comments
    assert [(c.text, c.line, c.column, c.alone) for c in comments] == [
        ("# one", 1, 1, True),
        ("# two", 2, 12, False),
        ("# three", 3, 17, False),
        ("# four", 4, 5, True),
    ]


# Places


def nodes(node: object) -> Iterator[object]:
    if is_dataclass(node):
        yield node
        for field in fields(node):
            yield from nodes(getattr(node, field.name))
    elif isinstance(node, tuple):
        for item in node:
            yield from nodes(item)


@pytest.mark.parametrize("path", STD, ids=lambda path: path.stem)
def test_every_node_knows_its_place(path: Path) -> None:
    """What stands at a node's span reads as that node."""
    text = path.read_text()
    seen = 0
    for node in nodes(parse_file(path).items):
        if isinstance(node, get_args(Expr)):
            assert value_of(f"({text_at(text, node.span)})") == node
            seen += 1
        match node:
            case Cell() | Function() | Import() | FromImport() | Const():
                assert parse(text_at(text, node.span)).items == (node,)
            case Declaration() | Assign() | Output() | Reset() | Hold():
                assert body_of(text_at(text, node.span)) == (node,)
            case Type():
                assert text_at(text, node.span).startswith(": [")
            case Group():
                assert body_of(f"param {text_at(text, node.span)}") == (Declaration("param", (node,)),)
            case Target():
                assert text_at(text, node.span) == node.id + "'" * node.primed
            case Binary():
                assert text_at(text, node.op_span) == node.op
    assert seen > 10
