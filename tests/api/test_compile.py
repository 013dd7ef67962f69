"""`lsrl.compile`: functions of JAX, PyTorch and NumPy that agree, and `lsrl.torch.Module`."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import torch

import lsrl
from lsrl.compiled import Compiled, StreamError
from lsrl.stages import TargetError
from support.commands import DECAY
from support.process import run_python

B, T, D, H = 2, 6, 3, 4
TARGETS = ("reference", "jax", "triton")
STACK = """from std import gru

cell stack(D, L=2):
    input x: [D], skip: [] bool
    param type: [D] = 1
    reset when skip
    repeat L:
        x = x + gru(D, D)(x)
    output y = type * x
"""
SPIN = """cell spin(D):
    input x: [D]
    param a: [D] complex ~ normal(1)
    state h: [D] complex = 0
    h' = cis(re(a)) * h + a * x
    output y = re(h'), z = im(h')
"""
BACK = """cell sums(D):
    input x: [D]
    state s: [D] = 0
    s' = s + x
    output s'

cell back(D):
    input x: [D]
    output y = reverse sums(D)(x)
"""
HOLD = """cell kept(D):
    input x: [D]
    param p: [D]
    state s: [D] = p
    s' = s
    output s
"""


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def numbers(compiled: Compiled, arrays: dict[str, object]) -> dict[str, np.ndarray]:
    return {name: compiled.engine.to_numpy(array) for name, array in arrays.items()}


def agree(found: dict[str, np.ndarray], expected: dict[str, np.ndarray], tolerance: float = 1e-5) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        np.testing.assert_allclose(found[name], array, rtol=tolerance, atol=tolerance, err_msg=name)


def decay_inputs(rng: np.random.Generator) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    params = {name: rng.normal(size=(H, D)).astype(np.float32) for name in ("Wa", "Wb")}
    return params, {"x": rng.normal(size=(B, T, D)).astype(np.float32)}


@pytest.mark.parametrize("target", TARGETS)
def test_a_compiled_program_is_what_the_program_means(rng: np.random.Generator, target: str) -> None:
    program = lsrl.parse(DECAY)
    params, inputs = decay_inputs(rng)
    compiled = lsrl.compile(program, target=target, sizes={"D": D})
    expected = program.reference(params, inputs)
    result = compiled(params, inputs)
    agree(numbers(compiled, result.outputs), dict(expected.outputs))
    agree(numbers(compiled, result.state), dict(expected.state))
    assert (compiled.target, compiled.sizes) == (target, {"D": D, "H": H})
    assert str(compiled.schedule) == ("h=scan" if target == "triton" else "h=sequential")
    assert compiled.explain().startswith("decay(D=3, H=4): A sum that forgets")


@pytest.mark.parametrize("target", TARGETS)
def test_arrays_may_lie_anyhow(rng: np.random.Generator, target: str) -> None:
    """Read backward, with other axes first, or one number for all places."""
    compiled = lsrl.compile(lsrl.parse(DECAY), target=target, sizes={"D": D})
    params, inputs = decay_inputs(rng)
    params = {name: np.broadcast_to(array.flat[0], array.shape) for name, array in params.items()}
    x = inputs["x"]
    expected = numbers(compiled, compiled({n: a.copy() for n, a in params.items()}, {"x": x[:, ::-1].copy()}).outputs)
    for given in (x[:, ::-1], np.asfortranarray(x[:, ::-1])):
        agree(numbers(compiled, compiled(params, {"x": given}).outputs), expected)


@pytest.mark.parametrize("target", TARGETS)
def test_a_sequence_can_be_cut_anywhere(rng: np.random.Generator, target: str) -> None:
    """Whole, in two parts, and position by position."""
    compiled = lsrl.compile(lsrl.parse(DECAY), target=target, sizes={"D": D})
    params, inputs = decay_inputs(rng)
    whole = numbers(compiled, compiled(params, inputs).outputs)["h"]
    first = compiled(params, {"x": inputs["x"][:, :2]})
    second = compiled(params, {"x": inputs["x"][:, 2:]}, first.state)
    parts = [numbers(compiled, part.outputs)["h"] for part in (first, second)]
    np.testing.assert_allclose(np.concatenate(parts, 1), whole, rtol=1e-5, atol=1e-6)
    state = compiled.initial_state(params, B)
    assert {name: tuple(array.shape) for name, array in state.items()} == {"h": (B, H)}
    for t in range(T):
        result = compiled.step(params, {"x": inputs["x"][:, t]}, state)
        np.testing.assert_allclose(numbers(compiled, result.outputs)["h"], whole[:, t], rtol=1e-5, atol=1e-6)
        state = result.state


@pytest.mark.parametrize("target", ["jax", "triton"])
@pytest.mark.parametrize("text", [DECAY, STACK, SPIN, BACK], ids=["decay", "stack", "spin", "back"])
def test_gradients_are_those_of_the_reference(rng: np.random.Generator, text: str, target: str) -> None:
    program = lsrl.parse(text)
    compiled = lsrl.compile(program, target=target, sizes={"D": D})
    reference = lsrl.compile(program, target="reference", sizes={"D": D})
    params = reference.init(seed=1)
    inputs: dict[str, np.ndarray] = {"x": rng.normal(size=(B, T, D))}
    if "skip" in program.inputs:
        inputs["skip"] = rng.random((B, T)) < 0.3
    result = reference(params, inputs)
    named = {**result.outputs, **{f"state.{name}": array for name, array in result.state.items()}}
    weights = {
        name: rng.normal(size=a.shape) + (1j * rng.normal(size=a.shape) if np.iscomplexobj(a) else 0)
        for name, a in named.items()
    }
    for cotangents in (None, weights):
        expected = reference.gradients(params, inputs, cotangents=cotangents)
        found = compiled.gradients(params, inputs, cotangents=cotangents)
        for part in ("params", "inputs", "state"):
            agree(numbers(compiled, getattr(found, part)), dict(getattr(expected, part)), 2e-4)


def test_an_initial_state_that_depends_on_a_parameter_hands_its_gradient_on(rng: np.random.Generator) -> None:
    """s stays at its start p, so over T positions ds/dp = T unless the state is given."""
    program = lsrl.parse(HOLD)
    inputs, params = {"x": np.zeros((B, T, D))}, {"p": rng.normal(size=D)}
    for target in TARGETS:
        compiled = lsrl.compile(program, target=target, sizes={"D": D})
        free = compiled.gradients(params, inputs)
        np.testing.assert_allclose(compiled.engine.to_numpy(free.params["p"]), np.full(D, B * T), rtol=1e-6)
        np.testing.assert_allclose(compiled.engine.to_numpy(free.state["s"]), np.full((B, D), T), rtol=1e-6)
        given = compiled.gradients(params, inputs, {"s": np.ones((B, D))})
        np.testing.assert_array_equal(compiled.engine.to_numpy(given.params["p"]), np.zeros(D))


@pytest.mark.parametrize("target", TARGETS)
def test_arrays_that_do_not_fit_are_refused(target: str) -> None:
    compiled = lsrl.compile(lsrl.parse(DECAY), target=target, sizes={"D": D})
    params = compiled.init(seed=0)
    with pytest.raises(lsrl.ArrayError, match=r"input x: expected float \[B, T, D=3\], found \[2, 6, 4\]"):
        compiled(params, {"x": np.zeros((B, T, 4), np.float32)})
    with pytest.raises(lsrl.ArrayError, match="there is no input y"):
        compiled(params, {"y": np.zeros((B, T, D), np.float32)})
    with pytest.raises(lsrl.ArrayError, match="param Wb is missing"):
        compiled({"Wa": params["Wa"]}, {"x": np.zeros((B, T, D), np.float32)})
    with pytest.raises(lsrl.ArrayError, match="state h"):
        compiled(params, {"x": np.zeros((B, T, D), np.float32)}, {"h": np.zeros((B, 1), np.float32)})
    with pytest.raises(lsrl.ArrayError, match="input x"):
        compiled.step(params, {"x": np.zeros((B, T, D), np.float32)})


@pytest.mark.parametrize("target", TARGETS)
def test_what_comes_from_the_end_cannot_be_streamed(target: str) -> None:
    compiled = lsrl.compile(lsrl.parse(BACK), target=target, sizes={"D": D})
    assert not compiled.streams
    with pytest.raises(StreamError, match="needs what comes later"):
        compiled.step({}, {"x": np.zeros((B, D))})


def test_unknown_targets_and_types_are_refused() -> None:
    program = lsrl.parse(DECAY)
    with pytest.raises(TargetError, match="no target `tpu`"):
        lsrl.compile(program, target="tpu", sizes={"D": D})
    with pytest.raises(TargetError, match="no dtype `float8`"):
        lsrl.compile(program, sizes={"D": D}, dtype="float8")


def test_a_jax_function_is_transformed_by_jax(rng: np.random.Generator) -> None:
    """jit, grad, vmap; results are pytrees."""
    compiled = lsrl.compile(lsrl.parse(DECAY), target="jax", sizes={"D": D})
    params, inputs = decay_inputs(rng)
    plain = compiled(params, inputs)
    jitted = jax.jit(compiled)(params, inputs)
    assert isinstance(jitted, lsrl.Result)
    np.testing.assert_allclose(jitted.outputs["h"], plain.outputs["h"], rtol=1e-6)

    def loss(params: dict[str, jax.Array], x: jax.Array) -> jax.Array:
        return jnp.sum(compiled(params, {"x": x}).outputs["h"])

    gradient = jax.jit(jax.grad(loss))({name: jnp.asarray(a) for name, a in params.items()}, inputs["x"])
    agree({n: np.asarray(a) for n, a in gradient.items()}, numbers(compiled, compiled.gradients(params, inputs).params))
    many = jax.vmap(lambda x: compiled(params, {"x": x}).outputs["h"])(jnp.stack([inputs["x"]] * 2))
    np.testing.assert_allclose(many[1], plain.outputs["h"], rtol=1e-6)
    assert len(jax.tree.leaves(plain)) == 2


def test_a_torch_function_is_differentiated_by_torch(rng: np.random.Generator) -> None:
    compiled = lsrl.compile(lsrl.parse(DECAY), target="triton", sizes={"D": D})
    params, inputs = decay_inputs(rng)
    leaves = {name: torch.from_numpy(array).requires_grad_() for name, array in params.items()}
    compiled(leaves, inputs).outputs["h"].sum().backward()
    expected = compiled.gradients(params, inputs).params
    for name, leaf in leaves.items():
        torch.testing.assert_close(leaf.grad, expected[name])


# lsrl.torch.Module


@pytest.fixture
def module() -> lsrl.torch.Module:
    return lsrl.torch.Module(lsrl.parse(STACK), sizes={"D": D}, seed=0)


def stack_inputs(rng: np.random.Generator) -> dict[str, torch.Tensor]:
    return {"x": torch.from_numpy(rng.normal(size=(B, T, D)).astype(np.float32)), "skip": torch.rand(B, T) < 0.3}


def test_a_module_keeps_parameters_under_their_names(module: lsrl.torch.Module, tmp_path: Path) -> None:
    """Dotted names are submodules; a name that nn.Module has itself gets a `_`."""
    names = {f"layers.{layer}.{name}" for layer in (0, 1) for name in ("W_ih", "W_hh", "b_ih", "b_hh")}
    assert set(module.params) == names | {"type"}
    assert set(module.state_dict()) == names | {"type_"}
    assert all(isinstance(p, torch.nn.Parameter) for p in module.parameters())
    torch.save(module.state_dict(), tmp_path / "m.pt")
    other = lsrl.torch.Module(lsrl.parse(STACK), sizes={"D": D}, seed=1)
    assert not torch.equal(other.params["layers.0.W_ih"], module.params["layers.0.W_ih"])
    other.load_state_dict(torch.load(tmp_path / "m.pt"))
    for name, tensor in module.params.items():
        assert torch.equal(other.params[name], tensor)


def test_a_module_computes_the_program(module: lsrl.torch.Module, rng: np.random.Generator) -> None:
    inputs = stack_inputs(rng)
    params = {name: tensor.detach().numpy() for name, tensor in module.params.items()}
    expected = lsrl.parse(STACK).reference(params, {name: tensor.numpy() for name, tensor in inputs.items()})
    calls: tuple[Callable[[], lsrl.Result], ...] = (
        lambda: module(inputs["x"], inputs["skip"]),
        lambda: module(inputs),
        lambda: module(**inputs),
        lambda: module(inputs["x"], skip=inputs["skip"]),
    )
    for call in calls:
        np.testing.assert_allclose(call().outputs["y"].detach(), expected.outputs["y"], rtol=1e-5, atol=1e-6)


def test_a_module_trains(module: lsrl.torch.Module, rng: np.random.Generator) -> None:
    inputs = stack_inputs(rng)
    optimiser = torch.optim.SGD(module.parameters(), lr=0.05)
    losses = []
    for _ in range(5):
        loss = (module(inputs).outputs["y"] ** 2).mean()
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
        losses.append(loss.item())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.95 * losses[0]


def test_a_module_streams_and_forgets(module: lsrl.torch.Module, rng: np.random.Generator) -> None:
    inputs = stack_inputs(rng)
    with torch.no_grad():
        whole = module(inputs).outputs["y"]
        for _ in range(2):
            parts = [module.step(inputs["x"][:, t], inputs["skip"][:, t]).outputs["y"] for t in range(T)]
            torch.testing.assert_close(torch.stack(parts, 1), whole)
            module.reset()


def test_a_module_can_be_copied_and_moved(module: lsrl.torch.Module, rng: np.random.Generator) -> None:
    inputs = stack_inputs(rng)
    twin = copy.deepcopy(module)
    torch.testing.assert_close(twin(inputs).outputs["y"], module(inputs).outputs["y"])
    with torch.no_grad():
        twin.params["type"].zero_()
    assert not twin(inputs).outputs["y"].any()
    assert module(inputs).outputs["y"].any()
    assert module.to("meta").params["type"].device.type == "meta"


TRACED = """
import sys, torch, lsrl
module = lsrl.torch.Module(lsrl.load(sys.argv[1]), sizes={"D": 3}, seed=0)
x = torch.linspace(-1, 1, 30).reshape(2, 5, 3)
expected = module(x).outputs["h"]
torch.testing.assert_close(torch.compile(module, backend="eager")(x).outputs["h"], expected)
exported = torch.export.export(module, (x,)).module()(x)
assert isinstance(exported, lsrl.Result)
torch.testing.assert_close(exported.outputs["h"], expected)
print("agree")
"""


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_a_module_in_a_file(module: lsrl.torch.Module, suffix: str, tmp_path: Path) -> None:
    module.save(tmp_path / f"m{suffix}")
    other = lsrl.torch.Module(lsrl.parse(STACK), sizes={"D": D}, seed=1)
    other.load(tmp_path / f"m{suffix}")
    assert {name: tensor.tolist() for name, tensor in other.params.items()} == {
        name: tensor.tolist() for name, tensor in module.params.items()
    }
    assert all(tensor.requires_grad for tensor in other.parameters())
    wide = lsrl.torch.Module(lsrl.parse(STACK), sizes={"D": D + 1}, seed=1)
    with pytest.raises(lsrl.ArrayError, match=r"param type: expected \[4\], found \[3\]"):
        wide.load(tmp_path / f"m{suffix}")
    with pytest.raises(lsrl.ArrayError, match="the params are Wa"):
        lsrl.torch.Module(lsrl.parse(DECAY), sizes={"D": D}).load(tmp_path / f"m{suffix}")


@pytest.mark.parametrize("text", [DECAY, SPIN], ids=["decay", "spin"])
def test_a_module_computes_in_the_type_it_is_moved_to(text: str) -> None:
    """Complex numbers keep their imaginary parts, and never have 16 bits."""
    module = lsrl.torch.Module(lsrl.parse(text), sizes={"D": 2}, seed=0)
    before = {name: tensor.detach().clone() for name, tensor in module.params.items()}
    x = torch.linspace(-1, 1, 6).reshape(1, 3, 2)
    known = module(x).outputs
    for dtype, tolerance in ((torch.float64, 1e-6), (torch.bfloat16, 2e-2), (torch.float32, 2e-2)):
        assert module.to(dtype) is module
        assert module.compiled.dtype == str(dtype).removeprefix("torch.")
        found = module(x.to(dtype)).outputs
        for name, tensor in found.items():
            assert tensor.dtype == dtype
            torch.testing.assert_close(tensor.float(), known[name], rtol=tolerance, atol=tolerance)
    for name, tensor in module.params.items():
        assert tensor.dtype == before[name].dtype
        torch.testing.assert_close(tensor, before[name], rtol=1e-2, atol=1e-2)


def test_a_module_is_traced_by_torch(tmp_path: Path) -> None:
    """By torch.compile and torch.export, in a process that interprets no kernels: those cannot be traced."""
    (tmp_path / "decay.lsrl").write_text(DECAY)
    assert run_python("-c", TRACED, str(tmp_path / "decay.lsrl")).strip() == "agree"


@pytest.mark.parametrize("text", [DECAY, SPIN], ids=["decay", "spin"])
def test_first_and_second_derivatives_of_a_module(text: str) -> None:
    """Against finite differences in float64, as PyTorch takes them."""
    module = lsrl.torch.Module(lsrl.parse(text), sizes={"D": 2}, dtype=torch.float64, seed=0)
    x = torch.linspace(-1, 1, 6, dtype=torch.float64).reshape(1, 3, 2).requires_grad_()

    def outputs(x: torch.Tensor, *params: torch.Tensor) -> tuple[torch.Tensor, ...]:
        named = dict(zip(module.params, params))
        return tuple(module.compiled(named, {"x": x}).outputs.values())

    params = tuple(tensor.detach().clone().requires_grad_() for tensor in module.params.values())
    assert torch.autograd.gradcheck(outputs, (x, *params))
    assert torch.autograd.gradgradcheck(outputs, (x, *params))


def test_global_seed_draws_the_parameters() -> None:
    program = lsrl.parse(DECAY)
    drawn = []
    for seed in (3, 3, 4):
        torch.manual_seed(seed)
        drawn.append(lsrl.torch.Module(program, sizes={"D": D}).params["Wa"])
    assert torch.equal(drawn[0], drawn[1])
    assert not torch.equal(drawn[0], drawn[2])


def test_what_a_module_is_shows() -> None:
    shown = repr(lsrl.torch.Module(lsrl.parse(DECAY), sizes={"D": D}, dtype=torch.float64))
    assert shown == "Module(decay(D=3, H=4), float64, schedule h=scan)"
