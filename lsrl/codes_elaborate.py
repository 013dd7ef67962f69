"""Diagnostics of meaning: names (E03xx), structure (E05xx), sizes and limits (E06xx), warnings (W03xx)."""

from __future__ import annotations

from lsrl.codes_types import CodeEntry

_X = "cell f(D):\n    input x: [D]\n"
_STATE = "cell f(D, H):\n    input x: [D]\n    param W: [H, D]\n    state h: [H] = 0\n"

NAMES: tuple[CodeEntry, ...] = (
    CodeEntry(
        "E0301",
        "an unknown name",
        "Nothing has this name: no declaration or definition above, no function of the file, the language or the "
        "prelude. The nearest name that there is may be what you meant.",
        _X + "    output y = sigmoide(x)\n",
    ),
    CodeEntry(
        "E0302",
        "a name before its definition",
        "Statements are read in order: a name is defined above what uses it. To use the value of the position before, "
        "write `z[t-1]`.",
        _X + "    y = x * z\n    z = tanh(x)\n    output y\n",
    ),
    CodeEntry(
        "E0303",
        "declared twice",
        "A name of a file, an input, a param, a state, a size or an output is declared once.",
        _X + "    param x: [D]\n    output y = x\n",
    ),
    CodeEntry(
        "E0304",
        "not this kind of thing",
        "A value is called like a function, a function or cell stands where a value is needed, or a text where there "
        "should be none. A cell is used with its sizes, then its inputs: `gru(D, H)(x)`.",
        _X + "    output y = x(1 - x)\n",
    ),
    CodeEntry(
        "E0305",
        "no such member",
        "After the dot stands an output of a used cell (`r.h`), a name of an imported module (`logic.step`), or `T`, "
        "the transpose of a value.",
        "cell g(D):\n    input x: [D]\n    output y = tanh(x), z = sigmoid(x)\n\n"
        + _X
        + "    r = g(D)(x)\n    output y = r.h\n",
    ),
    CodeEntry(
        "E0306",
        "no such module",
        "A program can import the files beside it and the library `std`, nothing else.",
        "from std.logik import step\n\n" + _X + "    output y = step(x)\n",
    ),
    CodeEntry(
        "E0307",
        "the module has no such name",
        "The imported file defines nothing of this name.",
        "from std.logic import steps\n\n" + _X + "    output y = steps(x)\n",
    ),
    CodeEntry(
        "E0308",
        "an import of itself",
        "A file imports itself, directly or through files that it imports. What both need goes to a third file.",
        "from example import g\n\ndef g(x) = x\n\n" + _X + "    output y = g(x)\n",
    ),
    CodeEntry(
        "E0309",
        "an unknown size",
        "Shapes are made of the cell's sizes, which stand in parentheses after its name, of whole numbers and of "
        "constants.",
        "cell f(D):\n    input x: [D]\n    param W: [H, D]\n    output y = W @ x\n",
    ),
    CodeEntry(
        "E0310",
        "a name that stays what it is",
        "Sizes, constants, params and noises cannot be given another value.",
        _X + "    param W: [D, D]\n    W = 2 * W\n    output y = W @ x\n",
    ),
    CodeEntry(
        "W0301",
        "never used",
        "Nothing reads this name, which is often a sign of a mistyped one. "
        "A name that begins with `_` is not reported.",
        "cell f(D):\n    input x: [D]\n    y = tanh(x)\n    z = sigmoid(x)\n    output y\n",
    ),
    CodeEntry(
        "W0302",
        "a function is hidden",
        "A name that a function of the language has: in the rest of the cell the function cannot be called.",
        "cell f(D):\n    input x: [D]\n    sum = x + 1\n    output y = tanh(sum)\n",
    ),
)

STRUCTURE: tuple[CodeEntry, ...] = (
    CodeEntry(
        "E0501",
        "a state without update",
        "Every state says what it passes on: `h' = ...`.",
        _STATE + "    output y = W @ x + h\n",
    ),
    CodeEntry(
        "E0502",
        "a state with two updates",
        "A state has exactly one update in each position.",
        _STATE + "    h' = W @ x\n    h' = tanh(h)\n    output h'\n",
    ),
    CodeEntry(
        "E0503",
        "a prime on what is no state",
        "`'` marks the value that a state passes on; other names have none.",
        _STATE + "    z' = W @ x\n    h' = h + W @ x\n    output h'\n",
    ),
    CodeEntry(
        "E0504",
        "a missing prime",
        "A state's name is the value that arrives, which nobody can change. What is passed on is `h'`.",
        _STATE + "    h = tanh(W @ x + h)\n    output h'\n",
    ),
    CodeEntry(
        "E0505",
        "a state's new value before its update",
        "`h'` can be read below its definition; `h` is the value that arrives.",
        _STATE + "    z = tanh(h')\n    h' = W @ x + h\n    output z\n",
    ),
    CodeEntry(
        "E0506",
        "which axis?",
        "On a grid a state says along which axes it travels; one that travels along several is read as `h[y-1]` or "
        "`h[x-1]`.",
        "cell f(K) over y, x:\n    input u: [K]\n    state h: [K] along y, x = 0\n    h' = u + h\n    output h'\n",
    ),
    CodeEntry(
        "E0507",
        "no output",
        "A cell gives out at least one value, and a program that is run has at least one cell.",
        _STATE + "    h' = W @ x + h\n",
    ),
    CodeEntry(
        "E0508",
        "recursion",
        "Cells and functions are inlined, so they cannot use themselves. Repetition in depth is `repeat`, in time a "
        "state.",
        "def f(x) = g(x)\n\ndef g(x) = f(x)\n\ncell c(D):\n    input x: [D]\n    output y = f(x)\n",
    ),
    CodeEntry(
        "E0509",
        "not here",
        "Inputs, outputs and `reset when` belong to the cell itself, not into `repeat`; nodes, edges and turns exist "
        "`over graph` only; modifiers apply to the declarations that have them.",
        _X + "    repeat 2:\n        input z: [D]\n        x = x + z\n    output y = x\n",
    ),
    CodeEntry(
        "E0510",
        "an earlier position that cannot be read",
        "`x[t-1]` reads a named value a known number of positions back, `window(x, K)` the last K values. Later "
        "positions are read by running a cell backwards.",
        _X + "    output y = x[t+1]\n",
    ),
    CodeEntry(
        "E0511",
        "only cells run backwards",
        "`reverse` stands before the use of a cell.",
        _X + "    output y = reverse tanh(x)\n",
    ),
    CodeEntry(
        "E0512",
        "an axis that the cell has not",
        "The axes of a cell stand after `over`; without it there is one, `t`. States travel along them, and `reverse "
        "along` names them.",
        "cell f(K) over y, x:\n    input u: [K]\n    state h: [K] along z = 0\n    h' = u + h\n    output h'\n",
    ),
    CodeEntry(
        "E0513",
        "a reset that cannot be",
        "The condition of `reset when` is one truth value, made of inputs. A cell has at most one; graphs have none.",
        _STATE + "    reset when h[0] > 1\n    h' = W @ x + h\n    output h'\n",
    ),
    CodeEntry(
        "E0514",
        "cells along different axes",
        "A cell with states runs along the axes of the cell that uses it.",
        "from std import gru\n\ncell f(D) over y, x:\n    input u: [D]\n    output v = gru(D, D)(u)\n",
    ),
    CodeEntry(
        "E0515",
        "values of edges outside of a sum",
        "In a cell over a graph many edges arrive at a node: say how they are collected, `sum_in(...)` or "
        "`max_in(...)`. An output is one value per node.",
        "cell f(K) over graph:\n    node input u: [K]\n    edge state C: [K] = 0\n    C' = C + u\n"
        "    output v = sum_in(C)\n",
    ),
    CodeEntry(
        "E0516",
        "a hold that cannot be",
        "A cell has at most one `hold when`, above all updates and uses of cells. States along several axes, or of "
        "edges, have no one value to keep.",
        _STATE + "    h' = W @ x + h\n    hold when h[0] > 1\n    output h'\n",
    ),
)

SIZES: tuple[CodeEntry, ...] = (
    CodeEntry(
        "E0601",
        "not a size",
        "Shapes, slice bounds, turns of `repeat` and the like are whole numbers known when compiling: numbers, sizes, "
        "constants, and what `+ - * // % / **` make of them.",
        _X + "    param W: [D, 1.5 * D]\n    output y = x @ W\n",
    ),
    CodeEntry(
        "E0602",
        "too large",
        "The number, or the formula of a size, is beyond what any program needs.",
        _X + "    param W: [10**60, D]\n    output y = W @ x\n",
    ),
    CodeEntry(
        "E0603",
        "too many turns",
        "All `repeat`s of a program together make at most ten thousand turns, since they are written out.",
        _X + "    repeat 10**9:\n        x = tanh(x)\n    output y = x\n",
    ),
    CodeEntry(
        "E0604",
        "too many operations",
        "A program comes to at most 50,000 operations after inlining.",
        "def a(x) = x + x * x - x / 2\n\ndef b(x) = a(a(a(a(a(a(a(a(x))))))))\n\n"
        "cell c(D):\n    input x: [D]\n    y = x\n    repeat 3000:\n        y = b(y)\n    output y\n",
    ),
    CodeEntry(
        "E0605",
        "inlined too deep",
        "Functions and cells are inlined at most fifty deep.",
        "\n\n".join(["def f0(x) = x", *(f"def f{n}(x) = f{n - 1}(x)" for n in range(1, 61))])
        + "\n\ncell c(D):\n    input x: [D]\n    output y = f60(x)\n",
    ),
    CodeEntry(
        "E0606",
        "too far back",
        "At most 4096 positions back can be read, since all values up to there are kept.",
        _X + "    output y = x[t-5000]\n",
    ),
)
