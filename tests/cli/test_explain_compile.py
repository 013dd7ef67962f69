"""`lsrl explain`, `compile`, `graph` and `list`."""

from __future__ import annotations

import ast
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest

from lsrl.ir import text as graph_text
from lsrl.loader import library
from support.commands import Run
from support.golden import ROOT, Golden

GRID = """cell grid(K, V) over y, x:
    input k: [K], v: [V], a, b: []
    state R: [K, V] along x = 0
    state D: [K, V] along y = 0
    R' = a * R + b * D + outer(k, v)
    D' = b * D + outer(k, v)
    output o = k @ R'
"""

TAGGER = """from std import gru


cell tagger(V=10, D=4, H=6, L=2):
    input token: [] int(V)
    param E: [V, D] ~ normal(0.02)
    x = E[token]
    repeat L:
        x = x + gru(D, D)(x)
    output y = concat(gru(D, H)(x), reverse gru(D, H)(x))
"""


def section(text: str, heading: str) -> list[str]:
    """The lines below a heading, without their indentation."""
    lines = text.split(f"\n{heading}\n")[1].split("\n\n")[0].splitlines()
    return [line.removeprefix("  ") for line in lines]


@pytest.mark.parametrize("name", ["decay", "grid", "tagger", "gated_delta"])
def test_reports_as_reviewed(run: Run, golden: Golden, name: str) -> None:
    Path("grid.lsrl").write_text(GRID)
    Path("tagger.lsrl").write_text(TAGGER)
    done = run("explain", f"{name}.lsrl" if Path(f"{name}.lsrl").exists() else f"std/{name}", "--batch", 2)
    assert (done.status, done.err) == (0, "")
    golden.check(ROOT / "explain" / f"{name}.txt", done.out)


def test_costs_are_counted(run: Run) -> None:
    """By hand, for D=3, H=4, B=2, T=5: per position one product [8, 3] and H each for sigmoid, 1 - a, the product with
    Wb @ x, and in the loop a * h and the sum; x, a and (1 - a) * (Wb @ x) move, and h'."""
    words = ("explain", "decay.lsrl", "--set", "D=3", "--batch", 2, "--length", 5, "--dtype", "bfloat16", "--json")
    costs = run(*words).data["costs"]
    assert costs == {
        "parameters": 24,
        "state_elements": 4,
        "flops_step": 2 * (4 + 4),
        "bytes_step": 2 * 2 * (4 + 4 + 4),
        "flops": 2 * 5 * (2 * 8 * 3 + 4 + 4 + 4 + 4 + 4),
        "bytes": 2 * 5 * 2 * (3 + 4 + 4 + 4 + 4 + 4) + 2 * 24,
        "bytes_parameters": 2 * 24,
    }


def test_complex_numbers_cost_more(run: Run) -> None:
    """h' = a * h + u, complex: 6 and 2 per element."""
    Path("spin.lsrl").write_text(
        "cell spin(N):\n    input u, a: [N] complex\n    state h: [N] complex = 0\n    h' = a * h + u\n    output h'\n"
    )
    assert run("explain", "spin.lsrl", "--set", "N=5", "--batch", 1, "--json").data["costs"]["flops_step"] == 5 * 8


def test_missing_sizes_are_assumed_and_named(run: Run) -> None:
    done = run("explain", "decay.lsrl")
    assert "Assumed, since not given: D=64." in done.out
    assert run("explain", "decay.lsrl", "--json").data["assumed"] == ["D"]
    assert "Assumed" not in run("explain", "decay.lsrl", "--set", "D=2").out


def test_what_needs_no_state_leaves_the_loop(run: Run) -> None:
    data = run("explain", "decay.lsrl", "--json").data
    assert data["hoisted"] == [["a = sigmoid(Wa @ x)", "decay.lsrl:8"]]
    assert data["fused"] == [{"products": ["Wa @ x", "Wb @ x"], "shape": "[2*H, D]", "in_loop": False}]
    (loop,) = [stage for stage in data["loops"] if stage["sequential"]]
    assert loop["carries"] == ["h [H]"]
    assert len(loop["lines"]) == 1


def test_matrices_made_of_parameters_are_computed_once(run: Run) -> None:
    Path("skew.lsrl").write_text(
        "cell skew(H):\n    param W: [H, H]\n    state h: [H] = 1\n    h' = tanh((W - W.T) @ h)\n    output h'\n"
    )
    assert [line.strip() for line in section(run("explain", "skew.lsrl").out, "Loops")[:2]] == [
        "once:",
        "W_minus_W_T = W - W.T",
    ]


def test_products_of_mixed_operands_are_taken_apart(run: Run) -> None:
    Path("mixed.lsrl").write_text(
        "cell mixed(D, H):\n    input x: [D]\n    param W: [H, D+H]\n    state h: [H] = 0\n"
        "    h' = tanh(W @ concat(x, h))\n    output h'\n"
    )
    assert section(run("explain", "mixed.lsrl").out, "Products taken apart") == [
        "W @ concat(x, h), into one product for each of x, h"
    ]


def test_a_program_without_recurrence_says_so(run: Run) -> None:
    Path("shift.lsrl").write_text("cell shift(D):\n    input x: [D]\n    output y = x - x[t-1]\n")
    out = run("explain", "shift.lsrl").out
    assert section(out, "Recurrences")[0].startswith("None: no state feeds back")
    assert "remembers, does not feed back" in out


def test_a_module_stands_alone(run: Run) -> None:
    """It imports jax and nothing of ours; what it computes is tested elsewhere."""
    assert run("compile", "decay.lsrl", "--target", "jax", "--set", "D=3", "-o", "build/").status == 0
    text = Path("build/decay_jax.py").read_text()
    imported = {
        name.name.split(".")[0]
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in (node.names if isinstance(node, ast.Import) else [ast.alias(node.module or "")])
    }
    assert "jax" in imported
    assert imported <= {"jax", "math", "functools"}
    code = """
import sys
sys.path[:0] = ["build"]
import decay_jax, numpy
outputs, state = decay_jax.apply(decay_jax.init(0), {"x": numpy.ones((2, 5, 3))})
print(outputs["h"].shape, "lsrl" in sys.modules)
"""
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "(2, 5, 4) False"


def test_the_header_tells_how_to_make_it_again(run: Run) -> None:
    first = run("compile", "decay.lsrl", "--target", "jax", "--set", "D=3", "H=2", "--dtype", "float64").out
    command = next(line.strip() for line in first.splitlines() if line.strip().startswith("lsrl compile"))
    assert command == "lsrl compile decay.lsrl --target jax --set D=3 H=2 --dtype float64"
    assert run(*command.split()[1:]).out == first


@pytest.mark.parametrize("target", ["jax", "triton", "reference"])
def test_the_same_bytes_come_out(run: Run, target: str) -> None:
    words = ("compile", "decay.lsrl", "--target", target, "--set", "D=3")
    printed = run(*words).out
    folder = Path("elsewhere").absolute()
    folder.mkdir()
    moved = Path("decay.lsrl").rename(folder / "decay.lsrl")
    assert run("compile", moved, *words[2:]).out.replace(str(folder), "") == printed
    assert run("compile", moved, *words[2:], "-o", "a.py").status == 0
    assert Path("a.py").read_text() == run("compile", moved, *words[2:]).out


def test_the_reference_gives_its_graph(run: Run) -> None:
    out = run("compile", "decay.lsrl", "--target", "reference", "--set", "D=3").out
    assert graph_text.show(graph_text.parse(out)) == out


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (("decay.lsrl", "--target", "jax"), "decay needs a value for the size D"),
        (("decay.lsrl", "--target", "jax", "--set", "D=1", "Q=2"), "decay has no size Q; its sizes are D, H"),
        (("grid.lsrl", "--target", "triton", "--set", "K=2", "V=2", "--schedule", "newton"), "runs over y, x"),
        (("decay.lsrl", "--target", "jax", "--set", "D=1", "--schedule", "h=newton"), "so `newton` cannot run it"),
        (("decay.lsrl", "--target", "jax", "--set", "D=1", "--schedule", "fast"), "there is no schedule `fast`"),
        (("decay.lsrl", "--target", "jax", "--set", "D=1", "--schedule", "g=sequential"), "its recurrences are h"),
        (("decay.lsrl", "--target", "jax", "--set", "D=1", "--cell", "other"), "other"),
    ],
)
def test_what_cannot_be_compiled_is_refused(run: Run, words: tuple[str, ...], says: str) -> None:
    Path("grid.lsrl").write_text(GRID)
    done = run("compile", *words, "-o", "out.py")
    assert done.status == 1
    assert says in done.err
    assert not Path("out.py").exists()


def test_a_cell_of_several_is_chosen(run: Run) -> None:
    both = Path("decay.lsrl").read_text() + "\n\ncell half(D):\n    input x: [D]\n    output y = x / 2\n"
    Path("both.lsrl").write_text(both)
    assert run("explain", "both.lsrl").out.startswith("half(D=64)")
    assert run("explain", "both.lsrl", "--cell", "decay").out.startswith("decay(")


@pytest.mark.parametrize(("suffix", "start"), [("svg", "<svg"), ("dot", "digraph"), ("mmd", "flowchart")])
def test_pictures(run: Run, suffix: str, start: str) -> None:
    assert run("graph", "decay.lsrl", "-o", f"decay.{suffix}").status == 0
    text = Path(f"decay.{suffix}").read_text()
    assert start in text[:200]
    assert "sigmoid" in text


def test_the_library_is_listed(run: Run) -> None:
    everything = {entry["name"] for entry in run("list", "--json").data}
    assert everything == set(library())
    found = run("list", "gru", "--json").data
    assert {"std/gru", "std/gru2014"} <= {entry["name"] for entry in found} < everything
    gru = next(entry for entry in found if entry["name"] == "std/gru")
    assert gru["signature"] == "(D, H) x: [D] -> h: [H]"
    assert gru["recurrences"] == [
        {"states": ["h"], "kind": "nonlinear, dense Jacobian", "schedules": ["sequential", "newton"]}
    ]
    (check,) = gru["checks"]
    assert check["reference"] == "torch.nn.GRU"
    assert max(check["values"], check["gradients"]) < 1e-12
    assert "nothing in the library" in run("list", "no such thing").out


def test_few_matches_are_shown_with_what_is_known_of_them(run: Run) -> None:
    lines = run("list", "std/gru", "torch.nn.GRU").out.splitlines()
    assert lines[:3] == [
        "std/gru  Gated recurrent unit, reset after the product (torch.nn.GRU and cuDNN).",
        "  (D, H) x: [D] -> h: [H]",
        "  h: nonlinear, dense Jacobian; sequential, newton",
    ]
    assert lines[3].startswith("  agrees with torch.nn.GRU: values ")
    assert len(lines) == 4
    many = run("list").out.splitlines()
    assert "Classic cells" in many
    assert any(line.startswith("  std/gru ") for line in many)


def test_equations_are_printed(run: Run) -> None:
    rows = run("tex", "std/mingru").out.splitlines()
    assert rows == [
        r"\begin{aligned}",
        r"z_{t} &= \sigma\!\left(W_{z} \, x_{t} + b_{z}\right) \\",
        r"c_{t} &= W_{h} \, x_{t} + b_{h} \\",
        r"h_{t} &= \left(1 - z_{t}\right) \odot h_{t-1} + z_{t} \odot c_{t}",
        r"\end{aligned}",
    ]


def test_a_backward_pass_can_be_left_out(run: Run) -> None:
    words = ("compile", "decay.lsrl", "--target", "triton", "--set", "D=3", "--schedule", "sequential")
    assert "def backward(" in run(*words).out
    assert "def backward(" not in run(*words, "--no-grad").out


MAJORITY = '''
cell majority():
    input x: [] int(2)
    state ones: [] = 0, zeros: [] = 0
    ones' = ones + float(x)
    zeros' = zeros + (1 - float(x))
    output out = float(ones' > zeros')
'''


def test_compile_weights(run: Run) -> None:
    """A folder and one line about it; what is missing, or not for weights, is wrong usage; a refusal has a place."""
    Path("majority.lsrl").write_text(MAJORITY)
    done = run("compile", "majority.lsrl", "--target", "weights", "--arch", "lstm", "-o", "out")
    assert done.status == 0
    assert done.err == (
        "out: majority as torch.nn.LSTM, stacked, with a linear read-out, float32, depth 2, width 2, 91 parameters, "
        "error 0\n"
    )
    assert {path.name for path in Path("out").iterdir()} >= {"model.safetensors", "config.json", "load.py"}
    assert run("compile", "majority.lsrl", "--target", "weights", "-o", "out").status == 2
    assert run("compile", "majority.lsrl", "--target", "jax", "--arch", "lstm").status == 2
    asked = "compile", "majority.lsrl", "--target", "weights", "--arch", "lstm", "-o", "out"
    np.savez("in.npz", x=np.array([[1, 0, 1]]))
    assert run(*asked, "--html", "random.html").status == 0
    assert run(*asked, "--html", "given.html", "--inputs", "in.npz").status == 0
    pages = [Path(name).read_text() for name in ("random.html", "given.html")]
    assert [page.count('scope="row"') for page in pages] == [4, 4]
    assert [page.count("<small>") for page in pages] == [4 * 32, 4 * 3]
    assert run(*asked, "--inputs", "in.npz").status == 2
    assert run(*asked[:-1], "model.onnx").err.startswith("model.onnx: majority as torch.nn.LSTM, stacked")
    assert onnx.load("model.onnx").graph.name == "majority"
    refused = run("compile", "decay.lsrl", "--target", "weights", "--arch", "lstm", "--set", "D=2", "-o", "no")
    assert refused.status == 1
    assert "no network holds `a` (decay.lsrl:8): `sigmoid` is a smooth function that is not piecewise linear" in (
        refused.err
    )
    assert not Path("no").exists()


def test_explain_architectures(run: Run) -> None:
    """Which networks hold a program; the exit status is 1 when none of those asked for does."""
    done = run("explain", "std/exact/parity", "--arch", "all")
    assert done.status == 0
    told = dict(line.split(maxsplit=1) for line in done.out.splitlines())
    assert told["rnn"] == "exact; depth 1, width 2, 13 parameters"
    assert told["hawk"].startswith("impossible: `odd'` (std/exact/parity.lsrl:6): a state reads its own last value")
    assert run("explain", "std/exact/parity", "--arch", "hawk").status == 1
    (row,) = run("explain", "std/exact/majority", "--arch", "lstm", "--json").data
    assert (row["obstacle"], row["depth"], row["errors"]) == (None, 2, {"float32": 0.0, "float64": 0.0})
