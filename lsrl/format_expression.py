"""Expressions as canonical text: as few parentheses as precedence allows, decimal numbers, spaces around operators.

Sizes are written tight (`[2*H, N+1]`, `x[t-1]`, `uniform(1/sqrt(D))`), and so are powers of names (`x**2`) and
fractions of numbers (`2*pi/5`).
"""

from __future__ import annotations

from fractions import Fraction
from typing import Final

from lsrl.pretty import Document, Group, Line, brackets, join
from lsrl.syntax import (
    Array,
    Attribute,
    Binary,
    Bool,
    Call,
    Ellipsis,
    Expr,
    Index,
    Keyword,
    Name,
    Num,
    Prime,
    Reverse,
    Slice,
    Str,
    Unary,
)

# From the loosest to the tightest, as in grammar.lark.
LOOSEST, OR, AND, NOT, COMPARISON, SUM, PRODUCT, UNARY, POWER, POSTFIX, ATOM = range(11)
_COMPARISONS: Final = ("==", "!=", "<", "<=", ">", ">=")
_LEVELS: Final = (
    {"or": OR, "and": AND, "+": SUM, "-": SUM, "**": POWER}
    | dict.fromkeys(_COMPARISONS, COMPARISON)
    | dict.fromkeys(("*", "/", "//", "%", "@"), PRODUCT)
)
_NEVER_TIGHT: Final = ("or", "and", "@", *_COMPARISONS)
# Decimals with more zeros behind the point, or more digits before it, take an exponent.
LEADING_ZEROS: Final = 4
WHOLE_DIGITS: Final = 7


def expression(node: Expr, level: int = LOOSEST, *, tight: bool = False) -> Document:
    """The document of an expression where the grammar wants at least the given level; `tight` without spaces."""
    own, text = _spelled(node, tight)
    return brackets("(", text, ")") if own < level else text


def _spelled(node: Expr, tight: bool) -> tuple[int, Document]:
    """An expression's own level, and its document without parentheses around it."""
    match node:
        case Num(value=value):
            return _number(value)
        case Bool(value=value):
            return ATOM, "true" if value else "false"
        case Str(value=value):
            return ATOM, f'"{value}"'
        case Name(id=name):
            return ATOM, name
        case Prime(id=name):
            return ATOM, f"{name}'"
        case Array(items=items):
            return ATOM, _array(items, tight)
        case Unary(op="not", operand=operand):
            return NOT, ("not ", expression(operand, NOT, tight=tight))
        case Unary(op=op, operand=operand):
            return UNARY, (op, expression(operand, UNARY, tight=tight))
        case Reverse(operand=operand, axes=axes):
            return UNARY, (f"reverse {_along(axes)}", expression(operand, UNARY, tight=tight))
        case Binary(op=op):
            return _LEVELS[op], _power(node, tight) if op == "**" else _chain(node, tight)
        case Attribute(base=base, name=name):
            return POSTFIX, (_base(base, tight), f".{name}")
        case Call(function=function, args=args, keywords=keywords):
            given = [*(expression(a, tight=tight) for a in args), *(_keyword(k, tight) for k in keywords)]
            return POSTFIX, (_base(function, tight), _listed("(", given, ")"))
        case Index(base=base, items=items):
            return POSTFIX, (_base(base, tight), _listed("[", [_index_item(item) for item in items], "]"))


def _base(node: Expr, tight: bool) -> Document:
    """What stands before `(`, `[` or `.`; the dot after a number would be read as a decimal point."""
    document = expression(node, POSTFIX, tight=tight)
    return ("(", document, ")") if isinstance(node, Num) and _number(node.value)[0] == ATOM else document


def _listed(opening: str, items: list[Document], closing: str) -> Document:
    return brackets(opening, join((",", Line()), items), closing) if items else opening + closing


def _keyword(keyword: Keyword, tight: bool) -> Document:
    return (keyword.name, "=", expression(keyword.value, tight=tight))


def _index_item(item: Expr | Slice | Ellipsis) -> Document:
    match item:
        case Ellipsis():
            return "..."
        case Slice(start=start, stop=stop, step=step):
            first = [expression(part, tight=True) if part is not None else "" for part in (start, stop)]
            last = (":", expression(step, tight=True)) if step is not None else ""
            return (first[0], ":", first[1], last)
        case _:
            return expression(item, tight=True)


def _array(items: tuple[Expr, ...], tight: bool) -> Document:
    """Rows on lines of their own; numbers fill their lines."""
    documents = [expression(item, tight=tight) for item in items]
    if not all(isinstance(item, Num | Unary) for item in items):
        return _listed("[", documents, "]")
    filled = tuple((",", Group((Line(), document))) for document in documents[1:])
    return brackets("[", (documents[0], filled) if documents else "", "]")


def _power(node: Binary, tight: bool) -> Document:
    close = tight or (_is_simple(node.left) and _is_simple(node.right))
    sign = "**" if close else " ** "
    return (expression(node.left, POSTFIX, tight=tight), sign, expression(node.right, UNARY, tight=tight))


def _chain(node: Binary, tight: bool) -> Document:
    """`a - b + c`: all operators of one level grouped from the left; lines break before the operators."""
    level = _LEVELS[node.op]
    links: list[Binary] = []
    left: Expr = node
    while isinstance(left, Binary) and _LEVELS[left.op] == level and (not links or _links(left.op, node.op)):
        links.append(left)
        left = left.left
    operands = [left, *(link.right for link in links)]
    close = level in (SUM, PRODUCT) and (tight or (level == PRODUCT and all(_is_number(o) for o in operands)))
    apart = isinstance(left, Binary) and _LEVELS[left.op] == level
    parts: list[Document] = [expression(left, level + apart, tight=tight)]
    for link in reversed(links):
        right = expression(link.right, level + 1, tight=tight)
        if close and link.op not in _NEVER_TIGHT:
            parts += [link.op, right]
        else:
            parts += [" " if tight else Line(), f"{link.op} ", right]
    return Group(tuple(parts))


def _links(left: str, right: str) -> bool:
    """Whether two operators of one level need no parentheses for a reader: `a * b / c`, but `(a * b) @ c`."""
    return _LEVELS[left] != COMPARISON and (left == "@") == (right == "@")


def _is_simple(node: Expr) -> bool:
    """Whether an operand of a power reads well without spaces around the operator."""
    match node:
        case Name() | Prime() | Num():
            return True
        case Attribute(base=base):
            return _is_simple(base)
        case Unary(op="-", operand=operand):
            return isinstance(operand, Num | Name)
        case _:
            return False


def _is_number(node: Expr) -> bool:
    match node:
        case Num() | Name(id="pi"):
            return True
        case Unary(op="-", operand=Num()):
            return True
        case _:
            return False


def _number(value: int | Fraction | complex) -> tuple[int, str]:
    """Level and text of a number; what no literal can say (3/7, 1+2j, -1) becomes an expression."""
    match value:
        case complex(real=real, imag=imag) if real:
            sign = "-" if imag < 0 else "+"
            return SUM, f"{_decimal(_shortest(real))} {sign} {_imaginary(abs(imag))}"
        case complex(imag=imag):
            return (UNARY if imag < 0 else ATOM), _imaginary(imag)
        case int():
            return (UNARY if value < 0 else ATOM), str(value)
        case _ if _is_decimal(value.denominator):
            return (UNARY if value < 0 else ATOM), _decimal(value)
        case _:
            return PRODUCT, f"{value.numerator}/{value.denominator}"


def _imaginary(value: float) -> str:
    return f"{_decimal(_shortest(value)).removesuffix('.0')}j"


def _along(axes: tuple[str, ...]) -> str:
    """`along y `, `along (z, y) `, or nothing."""
    if not axes:
        return ""
    return f"along {axes[0]} " if len(axes) == 1 else f"along ({', '.join(axes)}) "


def _shortest(value: float) -> Fraction:
    """The shortest decimal that reads back as the same binary number."""
    return Fraction(repr(value))


def _is_decimal(denominator: int) -> bool:
    for prime in (2, 5):
        while denominator % prime == 0:
            denominator //= prime
    return denominator == 1


def _decimal(value: Fraction) -> str:
    """A fraction's exact decimal, with a point or an exponent: `0.5`, `2.0`, `1e-30`."""
    places = 0
    while (value * 10**places).denominator != 1:
        places += 1
    digits = str(abs(int(value * 10**places)))
    point = len(digits) - places
    digits = digits.rstrip("0") or "0"
    sign = "-" if value < 0 else ""
    if -LEADING_ZEROS < point <= 0:
        return f"{sign}0.{'0' * -point}{digits}"
    if 0 < point <= WHOLE_DIGITS:
        return f"{sign}{digits[:point].ljust(point, '0')}.{digits[point:] or '0'}"
    fraction = f".{digits[1:]}" if len(digits) > 1 else ""
    return f"{sign}{digits[0]}{fraction}e{point - 1}"
