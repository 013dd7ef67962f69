"""`lsrl.jax.Module`: parameters by name as a pytree, whole sequences, streaming, files."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import safetensors.numpy

import lsrl
import lsrl.jax
from lsrl.compiled import StreamError

D, B, T = 3, 2, 5
STACK = """
from std import gru

cell stack(D, L=2):
    input x: [D], skip: [] bool
    param scale: [D] = 1
    h = x
    repeat L as layers:
        h = gru(D, D)(h)
    output y = where(skip, 0, scale * h)
"""
NOISY = """
cell noisy(D=3):
    input x: [D]
    noise eps: [D] ~ normal(1)
    state h: [D] = 0
    h' = 0.5 * h + x + eps
    output h'
"""


@pytest.fixture
def module() -> lsrl.jax.Module:
    return lsrl.jax.Module(lsrl.parse(STACK), sizes={"D": D}, schedule="sequential")


def inputs(seed: int = 0) -> dict[str, Any]:
    generator = np.random.default_rng(seed)
    return {"x": generator.normal(size=(B, T, D)).astype(np.float32), "skip": generator.random((B, T)) < 0.3}


def loss(model: lsrl.jax.Module, given: dict[str, Any]) -> jax.Array:
    return jnp.asarray((model(given).outputs["y"] ** 2).mean())


def test_it_computes_the_program(module: lsrl.jax.Module) -> None:
    given = inputs()
    wanted = lsrl.parse(STACK).reference({n: np.asarray(a) for n, a in module.params.items()}, given).outputs["y"]
    for result in (
        module(given),
        module(given["x"], given["skip"]),
        module(given["x"], skip=given["skip"]),
        module.apply(module.params, **given),
        jax.jit(lambda model, arrays: model(arrays))(module, given),
    ):
        np.testing.assert_allclose(result.outputs["y"], wanted, rtol=1e-5, atol=1e-6)


def test_leaves_are_the_parameters(module: lsrl.jax.Module) -> None:
    names = {f"layers.{layer}.{name}" for layer in (0, 1) for name in ("W_ih", "W_hh", "b_ih", "b_hh")} | {"scale"}
    assert module.params.keys() == names
    paths = {jax.tree_util.keystr(path) for path, _ in jax.tree_util.tree_leaves_with_path(module)}
    assert paths == {f".params['{name}']" for name in names}
    drawn = module.init(seed=1)
    assert drawn.keys() == names
    assert not np.array_equal(drawn["layers.0.W_ih"], module.params["layers.0.W_ih"])
    assert repr(module) == "Module(stack(D=3, L=2), float32, schedule layers.0.h=sequential,layers.1.h=sequential)"


def test_it_trains(module: lsrl.jax.Module) -> None:
    given = inputs()

    @jax.jit
    def update(model: lsrl.jax.Module) -> tuple[lsrl.jax.Module, jax.Array]:
        value, gradient = jax.value_and_grad(loss)(model, given)
        return jax.tree.map(lambda p, g: p - 0.2 * g, model, gradient), value

    losses = []
    for _ in range(5):
        module, value = update(module)
        losses.append(float(value))
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 0.9 * losses[0]


def test_an_ensemble_is_mapped(module: lsrl.jax.Module) -> None:
    given = inputs()
    members = [module.replace(module.init(seed)) for seed in range(3)]
    together = jax.tree.map(lambda *leaves: jnp.stack(leaves), *members)
    found = jax.vmap(lambda model: model(given).outputs["y"])(together)
    for place, member in enumerate(members):
        np.testing.assert_allclose(found[place], member(given).outputs["y"], rtol=1e-5, atol=1e-6)


def test_it_streams_and_begins_anew(module: lsrl.jax.Module) -> None:
    given = inputs()
    whole = module(given)
    step = jax.jit(lambda model, x, skip, state: model.step(x, skip, state=state))
    state = module.reset(batch=B)
    for place in range(T):
        result = step(module, given["x"][:, place], given["skip"][:, place], state)
        state = result.state
        np.testing.assert_allclose(result.outputs["y"], whole.outputs["y"][:, place], rtol=1e-5, atol=1e-6)
    for name, array in whole.state.items():
        np.testing.assert_allclose(state[name], array, rtol=1e-5, atol=1e-6)
    first = module({name: array[:, :2] for name, array in given.items()})
    then = module({name: array[:, 2:] for name, array in given.items()}, state=first.state)
    np.testing.assert_allclose(then.outputs["y"], whole.outputs["y"][:, 2:], rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("suffix", [".safetensors", ".npz"])
def test_parameters_go_to_files_and_back(module: lsrl.jax.Module, tmp_path: Path, suffix: str) -> None:
    path = tmp_path / f"params{suffix}"
    module.save(path)
    again = module.replace(module.init(seed=7)).load(path)
    assert again.params.keys() == module.params.keys()
    for name, array in module.params.items():
        np.testing.assert_array_equal(again.params[name], array)
    if suffix == ".safetensors":
        assert safetensors.numpy.load_file(path).keys() == module.params.keys()


def test_parameters_of_sixteen_bits_go_to_files_and_back(tmp_path: Path) -> None:
    module = lsrl.jax.Module(lsrl.parse(STACK), sizes={"D": D}, dtype=jnp.bfloat16)
    module.save(tmp_path / "params.safetensors")
    again = module.load(tmp_path / "params.safetensors")
    for name, array in module.params.items():
        assert again.params[name].dtype == jnp.bfloat16
        np.testing.assert_array_equal(again.params[name].astype(jnp.float32), array.astype(jnp.float32))


def test_other_parameters_are_refused(module: lsrl.jax.Module) -> None:
    missing = {name: array for name, array in module.params.items() if name != "scale"}
    with pytest.raises(lsrl.ArrayError, match=r"the params are .*scale"):
        module.replace(missing)
    with pytest.raises(lsrl.ArrayError, match=r"param scale: expected \[3\], found \[4\]"):
        module.replace({**missing, "scale": np.zeros(4)})
    with pytest.raises(lsrl.ArrayError, match="skip"):
        module(inputs()["x"])
    with pytest.raises(lsrl.ArrayError, match="3 were given"):
        module(1, 2, 3)


def test_noise_is_drawn_by_a_key() -> None:
    module = lsrl.jax.Module(lsrl.parse(NOISY))
    x, eps = np.zeros((B, T, D)), np.ones((B, T, D))
    one, other = (module(x, key=jax.random.key(seed)).outputs["h"] for seed in (0, 1))
    assert not np.allclose(one, other)
    np.testing.assert_array_equal(one, module(x, key=jax.random.key(0)).outputs["h"])
    np.testing.assert_allclose(module(x, eps=eps).outputs["h"][0, :, 0], 2 * (1 - 0.5 ** np.arange(1, T + 1)))
    with pytest.raises(ValueError, match="without `key` it cannot be drawn"):
        module(x)
    stepped = module.step(x[:, 0], key=jax.random.key(0), state=module.reset(batch=B))
    assert np.all(stepped.outputs["h"] != 0)


def test_what_comes_from_the_end_does_not_stream() -> None:
    module = lsrl.jax.Module(
        lsrl.parse(
            "from std import mingru\ncell back(D=3):\n    input x: [D]\n    output y = reverse mingru(D, D)(x)\n"
        )
    )
    with pytest.raises(StreamError, match="it needs what comes later"):
        module.step(np.zeros((B, 3)))


def test_a_program_without_inputs_is_told_its_length() -> None:
    module = lsrl.jax.Module(lsrl.parse("cell tick():\n    state n: [] = 0\n    n' = n + 1\n    output n'\n"))
    np.testing.assert_array_equal(module(length=3, batch=2).outputs["n"], [[1, 2, 3]] * 2)
    assert module.step(state=module.reset(batch=2), batch=2).outputs["n"].shape == (2,)
    with pytest.raises(lsrl.ArrayError, match="has the inputs none; 1 were given"):
        module(np.zeros((2, 3)))
