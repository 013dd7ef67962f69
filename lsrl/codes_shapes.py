"""Diagnostics of shapes and kinds (E04xx)."""

from __future__ import annotations

from lsrl.codes_types import CodeEntry

_X = "cell f(D, H):\n    input x: [D]\n    param W: [H, D]\n"

SHAPES: tuple[CodeEntry, ...] = (
    CodeEntry(
        "E0401",
        "shapes differ",
        "Operands of an element-wise operation have equal shapes, or one is a scalar: nothing is broadcast silently. "
        "Sizes are compared as formulas, so `[H]` and `[D]` differ even if both will be 64. Rows are scaled by "
        "`diag(a) @ S`, columns by `S @ diag(b)`.",
        _X + "    output y = x @ W\n",
    ),
    CodeEntry(
        "E0402",
        "the wrong kind of value",
        "Kinds promote upwards, bool, int, float, complex; the other way is always written: `re(z)`, `int(x)`, "
        "`x > 0`.",
        "cell f(D):\n    input x: [D]\n    output y = where(x, 1, 2)\n",
    ),
    CodeEntry(
        "E0403",
        "wrong arguments",
        "A function, a cell or a distribution has other arguments: too many, too few, or another name.",
        "cell f(D):\n    input x: [D]\n    output y = softmax(x, 0, 1)\n",
    ),
    CodeEntry(
        "E0404",
        "no such axis",
        "The value has no axis of this number or size, or two of this size.",
        "cell f(D):\n    input x: [D]\n    output y = sum(x, axis=1)\n",
    ),
    CodeEntry(
        "E0405",
        "a malformed einsum",
        'The axes of every operand, then `->` and those of the result: `einsum("k v, k -> v", S, q)`.',
        _X + '    output y = einsum("h d, d", W, x)\n',
    ),
    CodeEntry(
        "E0406",
        "nodes, edges and turns mixed",
        "A value per edge cannot become one per node by itself; collect it with `sum_in`.",
        "cell f(K) over graph:\n    node input u: [K]\n    turn input s: []\n    edge state C: [K] = 0\n"
        "    C' = s * u\n    output v = sum_in(C)\n",
    ),
    CodeEntry(
        "E0407",
        "the wrong number of axes",
        "`@`, `outer`, `dot`, `diag` and the like take vectors or matrices. For more axes there is `einsum`.",
        _X + "    output y = outer(W, x)\n",
    ),
    CodeEntry(
        "E0408",
        "a size without meaning",
        "The sizes make no array: a division by zero, a power that is no number, a split into no parts.",
        "cell f(D):\n    input x: [D]\n    y = split(x, 0)\n    output y\n",
    ),
    CodeEntry(
        "E0409",
        "no derivative",
        "`grad` takes a real scalar, and derives by floats or complex numbers.",
        _X + "    output y = grad(W @ x, x)\n",
    ),
    CodeEntry(
        "E0411",
        "an index out of range",
        "An index or slice lies outside of its axis, or has too many parts. What depends on the numbers of sizes is "
        "checked when these are known.",
        "cell f():\n    input x: [3]\n    output y = x[1:5]\n",
    ),
    CodeEntry(
        "E0412",
        "how is it drawn?",
        "After `~` stands a distribution: `uniform`, `normal`, `log_uniform`, `bernoulli`, `glorot`, `orthogonal`, "
        "`eye`, `zeros`, `ones`.",
        "cell f(D, H):\n    input x: [D]\n    param W: [H, D] ~ gaussian(1)\n    output y = W @ x\n",
    ),
    CodeEntry(
        "E0413",
        "not known before the first step",
        "Initial values, paddings and the arguments of distributions are computed once, from params, constants and "
        "sizes.",
        "cell f(D):\n    input x: [D]\n    state h: [D] = x\n    h' = tanh(h + x)\n    output h'\n",
    ),
    CodeEntry(
        "E0414",
        "another number of names",
        "As many names stand on the left as the right side has parts.",
        _X + "    a, b, c = split(W @ x, 2)\n    output y = a * b * c\n",
    ),
)
