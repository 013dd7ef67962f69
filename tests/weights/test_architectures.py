"""Compiled networks compute what the program does: exactly where they promise it, else within their bound."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file, save_file

import lsrl
from lsrl.weights import ARCHITECTURES, ArchitectureError, CompiledWeights, NotExact
from lsrl.weights import compile as compile_weights
from support.process import run_python
from support.token_words import answers, prompts

PROGRAMS = Path(__file__).parent / "programs"
MAJORITY = lsrl.load(PROGRAMS / "majority.lsrl")
MATCHING = lsrl.load(PROGRAMS / "token_matching.lsrl")
FLOAT32 = torch.finfo(torch.float32).eps

PRODUCTS = lsrl.parse(
    """
cell products():
    input x, y: [], p: [] bool
    state total: [] = 1/2
    total' = total / 2 + x
    output z = x * y, w = total' * total', g = float(p) * relu(x - y), s = total
"""
)
WITHIN = ("x=-1:1", "y=-2:2")
HOLD_PRODUCTS = ("gated-linear-rnn", "rnn-tanh", "lstm", "gru", "mamba", "hawk")


@pytest.mark.parametrize(
    ("arch", "dtype"), [*((arch, "float32") for arch in ARCHITECTURES), ("lstm", "float64"), ("gru", "float64")]
)
def test_token_matching_answers_every_query(arch: str, dtype: str) -> None:
    """25 pairs of random words, 25 queries; and every value inside the network is what the reference has."""
    compiled = compile_weights(MATCHING, arch, dtype=dtype, horizon=200)
    asked, values = prompts(3, 10, 25, seed=0)
    np.testing.assert_array_equal(answers(compiled({"x": asked})["out"], 3), values)
    traced = compiled.trace({"x": asked[:3]})
    assert {"t'", "place'", "query'", "matches'", "copying'", "found", "out"} <= traced.keys()
    assert {name: value.error for name, value in traced.items() if value.error} == {}
    assert {error.name: error.predicted for error in compiled.report.values if error.predicted} == {}


def test_majority_is_an_lstm_of_two_layers() -> None:
    """float32, unmodified, for 2,000 steps."""
    compiled = compile_weights(MAJORITY, "lstm")
    assert str(compiled.module.rnn) == "LSTM(1, 2, num_layers=2, batch_first=True)"
    bits = np.random.default_rng(0).integers(0, 2, (4, 2000))
    expected = 2 * np.cumsum(bits, 1) > np.arange(1, 2001)
    np.testing.assert_array_equal(compiled({"x": bits})["out"], expected)


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("arch", HOLD_PRODUCTS)
def test_reals_are_within_the_predicted_error(arch: str, dtype: str) -> None:
    compiled = compile_weights(PRODUCTS, arch, dtype=dtype, given=WITHIN, horizon=64)
    single = dtype == "float32" or arch in ("mamba", "hawk")  # whose states are float32 in any case
    limit = 1e-2 if single else 1e-9
    for error in compiled.report.values:
        assert error.measured <= error.predicted <= limit, error


def test_what_piecewise_linear_networks_do_not_hold_is_refused() -> None:
    with pytest.raises(ArchitectureError) as refused:
        compile_weights(PRODUCTS, "rnn", given=WITHIN)
    message = str(refused.value)
    assert message.startswith("rnn does not hold `z` (")
    assert message.endswith("is not piecewise linear (held by gated-linear-rnn, rnn-tanh, lstm, gru, mamba, hawk)")


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ("output y = tanh(x)", "`y` (<text>:3): `tanh` is a smooth function that is not piecewise linear"),
        ("output y = float(x > 0)", "may come arbitrarily close to each other"),
        ("state s: [] = 0\n    s' = s * x\n    output y = s'", "the next value of s depends on its last one through"),
        ("output y = 1 / x", "it divides by what is not a constant"),
    ],
)
def test_programs_that_are_not_exact_are_refused(body: str, reason: str) -> None:
    program = lsrl.parse(f"cell inexact():\n    input x: []\n    {body}\n")
    with pytest.raises(NotExact) as refused:
        compile_weights(program, "gated-linear-rnn", given=("x=-1:1",))
    assert reason in str(refused.value)


def test_nonlinear_recurrences_are_cells() -> None:
    """Parity is one layer of two units, or of two thresholds and the unit that they share."""
    parity = lsrl.load("std/exact/parity")
    bits = np.random.default_rng(0).integers(0, 2, (4, 1000)).astype(bool)
    for arch, hidden in (("rnn", 2), ("lstm", 2), ("rnn-tanh", 3), ("gru", 3)):
        compiled = compile_weights(parity, arch)
        rnn = getattr(compiled.module, "rnn", None) or compiled.module.stages[0].rnn
        assert (rnn.num_layers, rnn.hidden_size) == (1, hidden)
        (name,), (output,) = parity.inputs, parity.outputs
        np.testing.assert_array_equal(compiled({name: bits})[output], np.cumsum(bits, 1) % 2)
    with pytest.raises(ArchitectureError, match=r"last value through a ReLU.*\(held by rnn, rnn-tanh, lstm, gru\)$"):
        compile_weights(parity, "hawk")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("arch", ["rnn-tanh", "gru"])
def test_thresholds_decide_anew_at_every_step(arch: str, dtype: str) -> None:
    """Steps of a quarter, a start that is not 0, a linear state beside, and 2,000 positions."""
    program = lsrl.parse(
        """
cell walk():
    input i: [] int(5)
    state s, low, total: [] = 3/4
    s' = clamp(s + float(i) / 4 - 1/2, -1, 2)
    low' = min(low, s - float(i) / 4)
    total' = total / 2 + s
    output s', low', total', before = s
"""
    )
    compiled = compile_weights(program, arch, dtype=dtype, horizon=2000)
    assert [stage[0] for stage in compiled.emitted.config["stages"]].count("recurrent") <= 2
    inputs = {"i": np.random.default_rng(0).integers(0, 5, (2, 2000))}
    found, expected = compiled(inputs), program.reference({}, inputs).outputs
    for name in ("s", "low", "before"):
        np.testing.assert_array_equal(found[name], expected[name])
        assert compiled.report.data()["errors"][name]["predicted"] == 0


@pytest.mark.parametrize("arch", ["rnn-tanh", "gru"])
def test_reals_have_no_thresholds(arch: str) -> None:
    program = lsrl.parse("cell top():\n    input x: []\n    state m: [] = -1\n    m' = max(m, x)\n    output m'\n")
    with pytest.raises(ArchitectureError, match=r"`m'` \(<text>:4\).*a ReLU of reals, .*\(held by rnn, lstm\)$"):
        compile_weights(program, arch, given=("x=-1:1",))


def test_rotations_do_not_multiply_errors() -> None:
    """By an angle that is no part of a circle: the bound grows with the steps, and holds."""
    program = lsrl.parse(
        "cell wave():\n    input x: []\n    state s: [2] = [1, 0]\n"
        "    s' = [[cos(1), -sin(1)], [sin(1), cos(1)]] @ s + [x, 0]\n    output s'\n"
    )
    compiled = compile_weights(program, "linear-rnn", given=("x=-1:1",), horizon=1000)
    (bound,) = {error.predicted for error in compiled.report.values if error.name.startswith("s'")}
    inputs = compiled.samples(2, 1000)
    off = np.abs(compiled(inputs)["s"] - program.reference({}, inputs).outputs["s"]).max()
    assert 0 < off < bound < 1000


@pytest.mark.parametrize("arch", ["mamba", "hawk"])
def test_diagonal_transitions(arch: str) -> None:
    """Lags are taps of the convolution, what turns is a table of the position."""
    program = lsrl.parse(
        """
cell turning():
    input i: [] int(4)
    state line: [4] = 0, wheel: [2] = [1, 0], total: [] = 2
    a = float(i)
    line' = concat([a], line[0:3])
    wheel' = [[0, -1], [1, 0]] @ wheel
    total' = total + a - 1
    output y = line', z = wheel', w = wheel, v = total
"""
    )
    inputs = {"i": np.random.default_rng(0).integers(0, 4, (2, 30))}
    compiled = compile_weights(program, arch, horizon=100)
    assert compiled.report.data()["rewritten"] == ["wheel: of period 4, a table of the position modulo 4"]
    found = compiled(inputs)
    for name, expected in program.reference({}, inputs).outputs.items():
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("arch", ["mamba", "hawk"])
def test_ten_thousand_steps(arch: str) -> None:
    """What turns is read from a position beyond 2^13, a sum of both signs from channels of one sign."""
    program = lsrl.parse(
        """
cell long():
    input i: [] int(9)
    state place: [6] = one_hot(5, 6), total: [] = 0
    place' = concat(place[5:6], place[0:5])
    total' = total + float(i) / 4 - 1
    output place', total', late = where(total' > 50, 10 * total', total')
"""
    )
    compiled = compile_weights(program, arch, horizon=10_000)
    assert {error.predicted for error in compiled.report.values} == {0.0}
    inputs = {"i": np.random.default_rng(0).integers(0, 9, (1, 10_000))}
    found, expected = compiled(inputs), program.reference({}, inputs).outputs
    assert np.ptp(expected["total"]) > 50
    for name in expected:
        np.testing.assert_array_equal(found[name], expected[name])


def test_inputs_that_nothing_reads_have_samples_of_their_kind() -> None:
    program = lsrl.parse("cell one():\n    input x: [] int(3), p: [2] bool, y: []\n    output z = 2 * y\n")
    compiled = compile_weights(program, "rnn", given=("y=0:1:1",))
    samples = compiled.samples(2, 50)
    assert set(samples["x"].ravel()) == {0, 1, 2}
    assert set(samples["p"].ravel()) == {0, 1}
    np.testing.assert_array_equal(compiled(samples)["z"], 2 * samples["y"])


@pytest.mark.parametrize("arch", ["mamba", "hawk"])
@pytest.mark.parametrize(("lag", "depth"), [(3, 1), (4, 2), (6, 2), (7, 3), (10, 4)])
def test_long_lines_take_several_layers(arch: str, lag: int, depth: int) -> None:
    """Each layer reads three steps late."""
    program = lsrl.parse(f"cell late():\n    input i: [] int(8)\n    x = float(i)\n    output y = x[t-{lag}]\n")
    compiled = compile_weights(program, arch, horizon=100)
    assert compiled.report.depth == depth
    x = np.random.default_rng(0).integers(0, 8, (2, 25))
    expected = np.concatenate([np.zeros((2, lag)), x[:, :-lag]], 1)
    np.testing.assert_array_equal(compiled({"i": x})["y"], expected)
    assert {error.predicted for error in compiled.report.values} == {0.0}


@pytest.mark.parametrize("arch", ["mamba", "hawk"])
def test_a_long_register_starts_where_the_program_says(arch: str) -> None:
    """Every element is read, the sum of the last seven numbers too, and what arrives at the last one."""
    program = lsrl.parse(
        "cell register():\n    input i: [] int(4)\n    state line: [7] = 3\n"
        "    line' = concat([float(i)], line[0:6])\n    output y = line', z = sum(line'), w = line[6] - line'[0]\n"
    )
    inputs = {"i": np.random.default_rng(0).integers(0, 4, (2, 20))}
    found = compile_weights(program, arch, horizon=100)(inputs)
    for name, expected in program.reference({}, inputs).outputs.items():
        np.testing.assert_array_equal(found[name], expected)


@pytest.mark.parametrize("arch", ["mamba", "hawk"])
def test_lines_that_turn_or_start_differently_are_refused(arch: str) -> None:
    turning = "state a, b: [] = 0\n    a' = b + float(x)\n    b' = a\n    output y = a'"
    starting = "state a: [] = 1, b: [] = 0\n    a' = float(x)\n    b' = a\n    output y = b'"
    for body in (turning, starting):
        program = lsrl.parse(f"cell line():\n    input x: [] int(2)\n    {body}\n")
        with pytest.raises(ArchitectureError, match=rf"^{arch} does not hold .* another's last value"):
            compile_weights(program, arch, horizon=100)


def test_unknown_architecture_and_dtype() -> None:
    with pytest.raises(ArchitectureError, match="there is no architecture `elman`; there are linear-rnn, "):
        compile_weights(MAJORITY, "elman")
    with pytest.raises(ArchitectureError, match="weights are float32 or float64, not bfloat16"):
        compile_weights(MAJORITY, "lstm", dtype="bfloat16")


def test_parameters_become_weights() -> None:
    program = lsrl.parse("cell linear():\n    input x: [2]\n    param W: [3, 2]\n    output y = relu(W @ x)\n")
    W = np.array([[1.0, -2], [0.5, 3], [-1, 1]])
    x = np.random.default_rng(0).integers(-4, 5, (2, 5, 2)).astype(float)
    compiled = compile_weights(program, "rnn", params={"W": W}, given=("x=-4:4:1",))
    np.testing.assert_array_equal(compiled({"x": x})["y"], np.maximum(x @ W.T, 0))


ALONE = """
import sys
from importlib import util
from pathlib import Path
import torch
from safetensors.torch import load_file, save_file
sys.modules["lsrl"] = None                        # importing it fails
torch.set_num_threads(1)
for folder in map(Path, sys.argv[1:]):
    spec = util.spec_from_file_location("load", folder / "load.py")
    module = util.module_from_spec(spec)
    spec.loader.exec_module(module)
    x = load_file(folder / "x.safetensors")["x"]
    with torch.no_grad():
        save_file({"y": module.load()(x)}, folder / "y.safetensors")
"""


def saved(compiled: CompiledWeights, folder: Path) -> Path:
    compiled.save(folder)
    names = {"model.safetensors", "config.json", "load.py", "report.json", "report.md"}
    assert {path.name for path in folder.iterdir()} == names
    return folder


def test_folders_need_their_libraries_alone(tmp_path: Path) -> None:
    """All architectures, in a process that cannot import lsrl: token matching in float32, majority in float64."""
    asked, values = prompts(3, 10, 5, seed=1)
    bits = np.random.default_rng(1).integers(0, 2, (3, 100))
    for arch in ARCHITECTURES:
        matching = saved(compile_weights(MATCHING, arch, horizon=200), tmp_path / f"matching-{arch}")
        save_file({"x": asked[..., None].astype(np.float32)}, matching / "x.safetensors")
        majority = saved(compile_weights(MAJORITY, arch, dtype="float64"), tmp_path / f"majority-{arch}")
        save_file({"x": bits[..., None].astype(np.float64)}, majority / "x.safetensors")
    run_python("-c", ALONE, *map(str, tmp_path.iterdir()), cwd=tmp_path)
    for arch in ARCHITECTURES:
        found = load_file(tmp_path / f"matching-{arch}" / "y.safetensors")["y"]
        np.testing.assert_array_equal(answers(found[..., 0], 3), values)
        found = load_file(tmp_path / f"majority-{arch}" / "y.safetensors")["y"]
        np.testing.assert_array_equal(found[..., 0], 2 * np.cumsum(bits, 1) > np.arange(1, 101))


def test_report_and_weights_are_the_same_each_time(tmp_path: Path) -> None:
    first, second = (saved(compile_weights(MAJORITY, "gru"), tmp_path / name) for name in "ab")
    for path in first.iterdir():
        assert path.read_bytes() == (second / path.name).read_bytes()
    report = json.loads((first / "report.json").read_text())
    assert report["depth"] == report["width"] == 2
    assert report["errors"]["out"] == {"predicted": 0.0, "measured": 0.0}


def test_compiled_networks_train(tmp_path: Path) -> None:
    """They are ordinary modules: noise on the weights makes errors, training takes them away again."""
    compiled = compile_weights(MAJORITY, "gru", dtype="float64")
    bits = np.random.default_rng(0).integers(0, 2, (8, 12))
    x = torch.tensor(bits[..., None], dtype=torch.float64)
    target = torch.tensor(2.0 * np.cumsum(bits, 1) > np.arange(1, 13), dtype=torch.float64)
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        readout = compiled.module.readout
        readout.weight += 0.1 * torch.randn(readout.weight.shape, generator=generator, dtype=torch.float64)

    def loss() -> torch.Tensor:
        return ((compiled.module(x)[..., 0] - target) ** 2).mean()

    before = loss().item()
    optimiser = torch.optim.SGD(readout.parameters(), lr=1e-2)
    for _ in range(50):
        optimiser.zero_grad()
        loss().backward()
        optimiser.step()
    assert loss().item() < before / 2
    compiled.save(tmp_path)
    fresh = compile_weights(MAJORITY, "gru", dtype="float64")
    fresh.load(tmp_path)
    assert torch.equal(fresh.module(x), compiled.module(x))


PARTS = ("x", "y", "a", "s'", "1/3", "x * y", "relu(x - y)", "max(x, y / 3)", "where(a > 2, x, y)", "abs(x) * 0.7")


@pytest.mark.parametrize("seed", range(6))
def test_bounds_hold_on_random_programs(seed: int) -> None:
    """Thirds, products and decays, which no dyadic number is; a measurement beyond its bound is an error."""
    generator = np.random.default_rng(seed)
    p, q, r, s = (PARTS[place] for place in generator.integers(0, len(PARTS), 4))
    decay = generator.choice(["0.5", "1", "0.9"])
    program = lsrl.parse(
        "cell random():\n    input x, y: [], i: [] int(4)\n    state s: [] = 1/3\n    a = float(i)\n"
        f"    s' = s * {decay} + x - y / 3\n"
        f"    output u = ({p}) - 0.3 * ({q}), v = where(a > 1, {r}, relu({s}))\n"
    )
    for arch in ("gated-linear-rnn", "lstm", "hawk"):
        compiled = compile_weights(program, arch, given=("x=-1:1", "y=-2:2"), horizon=64)
        for error in compiled.report.values:
            assert error.measured <= error.predicted < 0.1, (arch, error)


def test_refusals_point_to_the_program() -> None:
    """Where an operation stands in a function of the library, the line that uses it is named too."""
    program = lsrl.parse(
        "cell c():\n    input p: [] bool\n    state n: [] = 0\n"
        "    n' = clamp(n + where(p, 1, -1), 0, 5)\n    output n'\n"
    )
    place = r"`max\(x, low\)` \(std/prelude.lsrl:\d+\), in `n'` at <text>:4"
    with pytest.raises(ArchitectureError, match=f"^hawk does not hold {place}: a state reads"):
        compile_weights(program, "hawk")
