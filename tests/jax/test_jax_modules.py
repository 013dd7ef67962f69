"""What emitted JAX modules promise beside numbers: parameters as declared, noise, names, errors, what they import."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from types import ModuleType

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lsrl import stages
from lsrl.backends import reference
from lsrl.backends.emit_jax import emit_jax
from lsrl.backends.module_loader import load_module
from support.golden import ROOT, Golden
from support.process import run_python
from support.programs import DRAWS, NOISY, PROGRAMS, Case, bound

CLASHES = """
cell apply(length=2, H=3):
    input jnp: [length], lax, lambda: [H], batch: []
    param einsum: [H, length] ~ normal(1)
    param floats, over_time: [H]
    state params, inputs: [H] = 0
    key = einsum @ jnp + floats
    params' = tanh(params + key * batch + lax)
    inputs' = inputs / 2 + params' * lambda
    partial = params' + inputs' + over_time
    output init = partial, step = inputs'
"""

GOLDEN = ("mingru", "lstm", "mlstm", "lru", "selective_ssm", "gated_delta", "reversed", "lags", "resets", "noisy")


def source(case: Case, dtype: str = "float32", name: str = "") -> str:
    cell, sizes = bound(case)
    command = f"lsrl compile {name} --target jax"
    return emit_jax(stages.make(cell, sizes, "jax").plan, dtype, name, command)


def emitted(case: Case, dtype: str = "float32") -> ModuleType:
    return load_module(source(case, dtype), "emitted_module")


@pytest.fixture
def double() -> Iterator[None]:
    with jax.enable_x64(True):
        yield


@pytest.mark.parametrize("name", GOLDEN)
def test_text(name: str, golden: Golden) -> None:
    """Whole files, for people to review; the same cases run in `test_jax_programs`."""
    case = PROGRAMS[name]
    golden.check(ROOT / name / "jax.py", source(case, name=f"{name}.lsrl" if "\n" in case.source else case.source))


@pytest.mark.parametrize("name", PROGRAMS)
def test_text_is_tidy(name: str) -> None:
    text = source(PROGRAMS[name], "bfloat16")
    assert text == source(PROGRAMS[name], "bfloat16")
    assert max(map(len, text.splitlines())) <= 120
    imported = {
        alias.name if isinstance(node, ast.Import) else str(node.module)
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
    }
    assert imported <= {"math", "functools", "jax", "jax.numpy"}


def test_emission_needs_no_jax() -> None:
    code = "import sys, lsrl.backends.emit_jax; print('jax' in sys.modules)"
    assert run_python("-c", code).strip() == "False"


def test_parameters_follow_their_distributions(double: None) -> None:
    params = emitted(Case(DRAWS), "float64").init(3)
    moments = {name: (float(jnp.mean(array.real)), float(jnp.std(array.real))) for name, array in params.items()}
    glorot, plain = np.sqrt(6 / 500), np.sqrt(1 / 200)
    uniform = {"a": (-0.5, 0.5), "b": (-1, 3), "e": (-glorot, glorot), "o": (-plain, plain)}
    for name, (low, high) in uniform.items():
        assert low <= params[name].min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < params[name].max() <= high
        np.testing.assert_allclose(moments[name], ((low + high) / 2, (high - low) / 12**0.5), atol=0.01 * (high - low))
    for name, wanted in {"c": (0, 2), "d": (5, 0.1), "k": (0, 1)}.items():
        np.testing.assert_allclose(moments[name], wanted, atol=0.02 * wanted[1])
    np.testing.assert_allclose(jnp.std(params["k"].imag), 1, atol=0.02)
    assert abs(jnp.mean(params["k"].real * params["k"].imag)) < 0.02
    np.testing.assert_allclose(params["f"].mT @ params["f"], np.stack([np.eye(200)] * 2), atol=1e-10)
    np.testing.assert_array_equal(params["g"], np.stack([np.eye(300)] * 2))
    np.testing.assert_array_equal(params["m"], 0.75)
    np.testing.assert_array_equal(params["n"], 1.75)


def test_seeds() -> None:
    module = emitted(Case(DRAWS))
    first, again, other = module.init(0), module.init(0), module.init(1)
    for name in ("a", "c", "f", "k"):
        np.testing.assert_array_equal(first[name], again[name])
        assert not np.array_equal(first[name], other[name])
    assert not np.array_equal(first["f"][0], first["f"][1])


def test_noise_is_drawn_with_a_key() -> None:
    module = emitted(Case(NOISY, (("D", 400),)))
    params, inputs = {"scale": jnp.ones(()), "width": jnp.full((), 2.0)}, {"x": jnp.zeros((3, 50, 400))}
    one, two = (module.apply(params, inputs, key=jax.random.key(seed))[0]["h"] for seed in (0, 1))
    assert not np.array_equal(one, two)
    np.testing.assert_allclose([one[:, 0].std(), two[:, 0].std()], 2, rtol=0.1)
    masked, _ = module.apply(params, {"x": jnp.ones((3, 50, 400)), "eps": 0 * one}, key=jax.random.key(0))
    assert set(np.unique(masked["h"][:, 0])) == {0.0, 1.0}
    with pytest.raises(ValueError, match="the noise eps is not among the inputs"):
        module.apply(params, inputs)


def test_names_of_the_program_shadow_nothing(double: None) -> None:
    case = Case(CLASHES)
    generator = np.random.default_rng(0)
    cell, sizes = bound(case)
    params = {p.name: generator.normal(size=[d.evaluate(sizes) for d in p.shape]) for p in cell.params}
    inputs = {i.name: generator.normal(size=(2, 3, *(d.evaluate(sizes) for d in i.shape))) for i in cell.inputs}
    outputs, final = emitted(case, "float64").apply(params, inputs)
    wanted = reference.run(cell, sizes, params, inputs)
    for found, truth in ((outputs, wanted.outputs), (final, wanted.state)):
        assert found.keys() == truth.keys()
        for name, array in truth.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-10)


def test_an_unknown_state_is_an_error() -> None:
    module = emitted(PROGRAMS["lstm"])
    with pytest.raises(ValueError, match="there is no state hidden; the states are h, c"):
        module.apply(module.init(0), {"x": jnp.zeros((1, 2, 3))}, {"hidden": jnp.zeros((1, 5))})


def test_double_precision_must_be_allowed() -> None:
    with pytest.raises(RuntimeError, match="jax_enable_x64"):
        emitted(PROGRAMS["lstm"], "float64")


def test_a_reversed_program_has_no_step() -> None:
    module = emitted(PROGRAMS["reversed"])
    assert not hasattr(module, "step")
    assert "There is no `step`: mingru.h arrives from the end" in str(module.__doc__)


def test_tracebacks_show_the_emitted_text() -> None:
    module = emitted(PROGRAMS["lstm"])
    with pytest.raises(ValueError, match="label 'd'") as raised:
        module.apply(module.init(0), {"x": jnp.zeros((1, 2, 4))})
    assert any('einsum("btd,gd->btg", x, W_ih)' in str(entry.statement) for entry in raised.traceback)
