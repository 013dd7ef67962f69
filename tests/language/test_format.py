"""The canonical layout: it says the same, it is its own layout, and it keeps every comment."""

from dataclasses import replace
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lsrl.format import WIDTH, format_program
from lsrl.parser import parse
from lsrl.syntax import Cell, Const, Declaration, Function, Name, Num, Program
from support.process import ROOT
from support.syntax_trees import programs

STD = sorted((ROOT / "lsrl/std").rglob("*.lsrl"))


def formatted(text: str) -> str:
    return format_program(parse(text))


def formatted_value(expression: str) -> str:
    """An expression's canonical text, in a line wide enough for it."""
    return formatted(f"const c = {expression}\n").removeprefix("const c = ").removesuffix("\n")


@settings(max_examples=100, deadline=None)
@given(programs)
def test_parse_undoes_format(program: Program) -> None:
    text = format_program(program)
    parsed = parse(text)
    assert parsed == program
    # 1 equals Fraction(1), and is another number in a program all the same.
    assert repr(parsed) == repr(program)
    assert format_program(parsed) == text


def without_docstrings(program: Program) -> Program:
    items = [replace(item, doc=None) if isinstance(item, Cell | Function) else item for item in program.items]
    return replace(program, doc=None, items=tuple(items))


@settings(max_examples=60, deadline=None)
@given(programs, st.data())
def test_comments_survive_in_order(program: Program, data: st.DataObject) -> None:
    lines: list[str] = []
    for line in format_program(without_docstrings(program)).splitlines():
        kind = data.draw(st.sampled_from(("none", "none", "above", "behind", "blank")))
        if kind == "above":
            lines.append(" " * data.draw(st.integers(0, 12)) + f"# {len(lines)}")
        if kind == "blank":
            lines += [""] * data.draw(st.integers(1, 4))
        lines.append(f"{line} # {len(lines)}" if kind == "behind" else line)
    parsed = parse("\n".join(lines))
    assert parsed == without_docstrings(program)
    once = format_program(parsed)
    twice = parse(once)
    assert [c.text for c in twice.comments] == [c.text for c in parsed.comments]
    assert twice == parsed
    assert format_program(twice) == once


@pytest.mark.parametrize("path", STD, ids=lambda path: path.stem)
def test_library_is_canonical(path: Path) -> None:
    assert formatted(path.read_text()) == path.read_text()


MESSY = '''
# About the file.
"""  Two things.

  At some length.
"""
import std.logic   as  l
from std import gru,lstm as L


# The first.

const  table : [2,2]int=[[0,1],[1,0]]   # a table
const a=1
cell one( D , H = 2*D )   heads  h  in N over  y,x :   # one
  """One thing."""
  node input q,k:[D],v:[H] shared  int(8)  pad  -1

  state h:[H]   complex along y , x=(0), g: [] = -inf
  # before the value
  z=((1-q)*(k)+ -(v**2))@W

      # inside, deeper

  repeat  i  in L  shared  as  block :
      # about w
      w=h'  [ 0 : D , ... ]
      # behind w
  # behind the block
  h' =  z


  output h',o=q@ ( S'@ k )
# behind the cell
def f(x,k=1000)=x*k
def g(x):
  return x,x   # two
# the end
'''
NEAT = '''\
# About the file.
"""Two things.

At some length.
"""

import std.logic as l
from std import gru, lstm as L

# The first.

const table: [2, 2] int = [[0, 1], [1, 0]]  # a table
const a = 1


cell one(D, H=2*D) heads h in N over y, x:  # one
    """One thing."""
    node input q, k: [D], v: [H] int(8) shared pad -1

    state h: [H] complex along y, x = 0, g: [] = -inf
    # before the value
    z = ((1 - q) * k + -v**2) @ W

    # inside, deeper

    repeat i in L shared as block:
        # about w
        w = h'[0:D, ...]
        # behind w
    # behind the block
    h' = z

    output h', o = q @ (S' @ k)


# behind the cell
def f(x, k=1000) = x * k


def g(x):
    return x, x  # two


# the end
'''


def test_a_messy_program() -> None:
    assert formatted(MESSY) == NEAT
    assert formatted(NEAT) == NEAT


@pytest.mark.parametrize(
    ("written", "canonical"),
    [
        ("(a+b)*c", "(a + b) * c"),
        ("a+(b*c)", "a + b * c"),
        ("a-(b-c)", "a - (b - c)"),
        ("(a-b)-c", "a - b - c"),
        ("-(a**2)", "-a**2"),
        ("(-a)**2", "(-a)**2"),
        ("2**(-a)", "2**-a"),
        ("(a**b)**c", "(a**b) ** c"),
        ("a**(b**c)", "a ** b**c"),
        ("not (a and b) or (c)", "not (a and b) or c"),
        ("not (a == b)", "not a == b"),
        ("(not a) == b", "(not a) == b"),
        ("(a<b)==c", "(a < b) == c"),
        ("2*pi/5", "2*pi/5"),
        ("k*1/2", "k * 1 / 2"),
        ("x[ t - 1 ]", "x[t-1]"),
        ("x[:,0:D+1, ::2,...]", "x[:, 0:D+1, ::2, ...]"),
        ("(reverse gru(D,H))(x)", "(reverse gru(D, H))(x)"),
        ("reverse (gru(D,H)(x))", "reverse gru(D, H)(x)"),
        ("reverse  along y f(D)(x)", "reverse along y f(D)(x)"),
        ("reverse along (y) reverse along(y,x) f(D)(x)", "reverse along y reverse along (y, x) f(D)(x)"),
        ("(a).T @ (b.h)", "a.T @ b.h"),
        ("(a + b).T", "(a + b).T"),
        ("1_000", "1000"),
        ("0.50", "0.5"),
        (".5", "0.5"),
        ("2.", "2.0"),
        ("1e-3", "0.001"),
        ("1e-30", "1e-30"),
        ("1.25E+9", "1.25e9"),
        ("1e3", "1000.0"),
        ("2.0j", "2j"),
        ("0.10j", "0.1j"),
        ("a*b@c", "(a * b) @ c"),
        ("(a@b)/c", "(a @ b) / c"),
        ("(a@b)@c+d@e", "a @ b @ c + d @ e"),
        ("( 1 )[0]", "(1)[0]"),
    ],
)
def test_expressions(written: str, canonical: str) -> None:
    assert formatted_value(written) == canonical
    assert formatted_value(canonical) == canonical


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (-1, "-1"),
        (Fraction(3, 7), "3/7"),
        (Fraction(-1, 2), "-0.5"),
        (1 + 2j, "1.0 + 2j"),
        (0.5 - 1j, "0.5 - 1j"),
    ],
)
def test_numbers_no_literal_can_say(value: complex | Fraction, text: str) -> None:
    assert format_program(Program(None, (Const(Name("c"), None, Num(value)),))) == f"const c = {text}\n"


LONG = "alpha_gate * memory_value"


@pytest.mark.parametrize(
    ("written", "lines"),
    [
        (
            f"y = {' + '.join([LONG] * 4)}",
            ["y = (", *[f"    {'+ ' if n else ''}{LONG}" for n in range(4)], ")"],
        ),
        (
            f"y = concat({', '.join([LONG] * 4)})",
            ["y = concat(", *[f"    {LONG}{',' if n < 3 else ''}" for n in range(4)], ")"],
        ),
        (
            "y = [" + ", ".join(["123456789"] * 12) + "]",
            ["y = [", "    " + "123456789, " * 7 + "123456789,", "    123456789, 123456789, 123456789, 123456789", "]"],
        ),
    ],
)
def test_long_lines_break_inside_brackets(written: str, lines: list[str]) -> None:
    text = f"cell f():\n    {written}\n"
    broken = "cell f():\n" + "".join(f"    {line}\n" for line in lines)
    assert formatted(text) == broken
    assert max(map(len, broken.splitlines())) <= WIDTH
    assert formatted(broken) == broken


def test_trailing_comment_of_a_broken_line_stays_behind_it() -> None:
    text = f"cell f():\n    y = {' + '.join([LONG] * 4)} # why\n"
    once = formatted(text)
    assert once.splitlines()[-1] == "    )  # why"
    assert formatted(once) == once


def test_comment_inside_a_statement_moves_above_it() -> None:
    text = "cell f():\n    y = g(  # first\n        a,  # second\n        b)  # third\n"
    assert formatted(text) == "cell f():\n    # first\n    # second\n    y = g(a, b)  # third\n"


def test_axes_and_names_stay_apart() -> None:
    """Both are separated by commas: parentheses show where the axes end when nothing else does."""
    text = "cell f() over y, x:\n    state a: [] along (y, x), b: []\n    state c: [] along y, x = 0, d: []\n"
    program = parse(text)
    assert formatted(text) == text
    states = [line for line in program.cells[0].body if isinstance(line, Declaration)]
    axes = [[axis.id for axis in group.type.along] for state in states for group in state.groups]
    assert axes == [["y", "x"], [], ["y", "x"], []]


def test_a_program_of_nothing() -> None:
    assert format_program(Program(None, ())) == ""
    assert formatted("\n\n# only this\n\n") == "# only this\n"


def test_a_long_condition_goes_on_in_parentheses() -> None:
    sizes = " and ".join(f"SomeSize{n} > {n}" for n in range(12))
    text = formatted(f"cell f(D):\n    input x: [D]\n    if {sizes}:\n        x = 2 * x\n    output y = x\n")
    assert "    if (\n" in text
    assert formatted(text) == text
