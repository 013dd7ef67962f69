"""Random syntax trees of every construct, such that a parser could have made them."""

import inspect
from fractions import Fraction
from typing import TypeVar

from hypothesis import strategies as st

from lsrl.lexical import RESERVED
from lsrl.syntax import (
    Array,
    Assign,
    Attribute,
    Binary,
    Bool,
    Call,
    Cell,
    Choice,
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
    Otherwise,
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
    Statement,
    Str,
    Target,
    Type,
    Unary,
)

T = TypeVar("T")
OPERATORS = ("or", "and", "==", "!=", "<", "<=", ">", ">=", "+", "-", "*", "/", "//", "%", "@", "**")

words = st.from_regex(r"[A-Za-z_][A-Za-z0-9_]{0,9}", fullmatch=True).filter(lambda word: word not in RESERVED)
names = st.builds(Name, words)
decimals = st.builds(lambda digits, places: Fraction(digits, 10**places), st.integers(0, 10**12), st.integers(0, 30))
imaginary = st.floats(0, 1e300, allow_nan=False).map(lambda value: complex(0, value))
numbers = st.builds(Num, st.one_of(st.integers(0, 10**30), decimals, imaginary))
printable = st.characters(codec="ascii", min_codepoint=32, max_codepoint=126)
strings = st.builds(Str, st.text(printable.filter(lambda character: character != '"')))



def several(strategy: st.SearchStrategy[T], least: int = 0, most: int = 3) -> st.SearchStrategy[tuple[T, ...]]:
    return st.lists(strategy, min_size=least, max_size=most).map(tuple)


def _composed(parts: st.SearchStrategy[Expr]) -> st.SearchStrategy[Expr]:
    """Expressions with the given ones inside."""
    missing = st.none() | parts
    items = st.one_of(parts, st.builds(Slice, missing, missing, missing), st.just(Ellipsis()))
    return st.one_of(
        st.builds(Unary, st.sampled_from(("-", "+", "not")), parts),
        st.builds(Binary, st.sampled_from(OPERATORS), parts, parts),
        st.builds(Call, parts, several(parts), several(st.builds(Keyword, words, parts), most=2)),
        st.builds(Index, parts, several(items, least=1)),
        st.builds(Attribute, parts, words),
        st.builds(Array, several(parts, least=1)),
        st.builds(Reverse, parts),
    )


atoms = st.one_of(names, st.builds(Prime, words), numbers, st.builds(Bool, st.booleans()), strings)
expressions: st.SearchStrategy[Expr] = st.recursive(atoms, _composed, max_leaves=12)
sizes = st.recursive(names | st.builds(Num, st.integers(0, 99)), _composed, max_leaves=3)

doc_texts = st.text(printable | st.just("\n"), max_size=60)
docs = st.none() | doc_texts.map(lambda text: text.replace('"""', "")).map(
    lambda text: "\n".join(line.rstrip() for line in inspect.cleandoc(text).split("\n"))
).filter(lambda text: text == inspect.cleandoc(text) and '"""' not in text)

_kinds = st.sampled_from((("float", None), ("complex", None), ("bool", None), ("int", None))) | st.tuples(
    st.just("int"), sizes
)


def types(padded: bool = False, axes: int = 0) -> st.SearchStrategy[Type]:
    def built(
        shape: tuple[Expr, ...], kind: tuple[str, Expr | None], shared: bool, pad: Expr | None, along: tuple[Name, ...]
    ) -> Type:
        return Type(shape, kind[0], kind[1], shared, pad, along)

    pads = st.none() | sizes if padded else st.none()
    return st.builds(built, several(sizes), _kinds, st.booleans(), pads, several(names, most=axes))


def _groups(role: str) -> st.SearchStrategy[Group]:
    """Names with what a declaration of that role may say of them."""
    nothing, value = st.none(), st.none() | expressions
    many = several(names, least=1)
    match role:
        case "input":
            return st.builds(Group, many, types(padded=True), nothing, nothing)
        case "state":
            return st.builds(Group, many, types(axes=3), value, nothing)
        case "noise":
            return st.builds(Group, many, types(), nothing, value)
        case _:
            by_value = st.builds(Group, many, types(), value, nothing)
            return by_value | st.builds(Group, many, types(), nothing, expressions)


_domains = st.sampled_from(("", "node", "edge", "turn"))
declarations = st.sampled_from(("input", "param", "state", "noise")).flatmap(
    lambda role: st.builds(Declaration, st.just(role), several(_groups(role), least=1), _domains)
)
targets = st.builds(Target, words, st.booleans())
assigns = st.builds(Assign, several(targets, least=1), expressions)
consts = st.builds(Const, names, st.none() | types(), expressions)
outputs = st.builds(Output, several(st.builds(OutputItem, targets, st.none() | expressions), least=1))
_simple: st.SearchStrategy[Statement] = st.one_of(
    declarations, assigns, consts, outputs, st.builds(Reset, expressions), st.builds(Hold, expressions)
)
statements: st.SearchStrategy[Statement] = st.recursive(
    _simple,
    lambda inner: st.builds(
        Repeat, sizes, st.booleans(), st.none() | words, several(inner, least=1), st.none() | names
    )
    | st.builds(
        Choice, expressions, several(inner, least=1), st.none() | st.builds(Otherwise, several(inner, least=1))
    ),
    max_leaves=4,
)

parameters = several(st.builds(Parameter, words, st.none() | sizes))
_paths = several(words, least=1)
items = st.one_of(
    st.builds(Import, _paths, st.none() | words),
    st.builds(FromImport, _paths, several(st.builds(ImportedName, words, st.none() | words), least=1)),
    consts,
    st.builds(
        lambda name, given, value: Function(name, given, (), Return((value,)), True), names, parameters, expressions
    ),
    st.builds(
        Function,
        names,
        parameters,
        several(assigns),
        st.builds(Return, several(expressions, least=1)),
        st.just(False),
        docs,
    ),
    st.builds(Cell, names, parameters, st.none(), several(names), docs, several(statements, least=1, most=4)),
    st.builds(
        Cell, names, parameters, sizes, several(names), docs, several(statements, least=1, most=4), st.none() | names
    ),
)
programs = st.builds(Program, docs, several(items))
