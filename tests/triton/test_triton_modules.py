"""What emitted PyTorch and Triton modules promise beside numbers: autograd, fallback, parameters, names, errors."""

from __future__ import annotations

import ast
import pickle
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from lsrl import stages
from lsrl.backends import reference
from lsrl.backends.arrays import Array
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from support.process import run_python
from support.programs import DRAWS, NOISY, PROGRAMS, Case, bound
from support.running import random_arrays

CLASHES = """
cell apply(length=2, H=3, B=2, T=4):
    input torch: [length], tl, lambda: [H], batch, b_h, o_h, m_h: []
    param triton: [H, length] ~ normal(1)
    param softplus, power, i_b, p_tl: [H]
    state params, inputs, h: [H] = 0
    state grid: [B, T] = 0
    key = triton @ torch + softplus * power
    params' = tanh(params + key * batch + tl)
    inputs' = inputs / 2 + params' * lambda + i_b
    h' = b_h * h + o_h * p_tl + m_h
    grid' = grid + batch
    partial = params' + inputs' + h'
    output init = partial, step = inputs', num_warps = sum(grid', axis=0)
"""



def source(case: Case, dtype: str = "float32", name: str = "", gradients: bool = True) -> str:
    cell, sizes = bound(case)
    plan = stages.make(cell, sizes, "triton").plan
    return emit_triton(plan, dtype, name, f"lsrl compile {name} --target triton", gradients=gradients)


def emitted(case: Case, dtype: str = "float32", gradients: bool = True) -> ModuleType:
    return load_module(source(case, dtype, gradients=gradients), "emitted_module")


def random_tensors(case: Case, smooth: bool = False, length: int = 3) -> tuple[dict[str, torch.Tensor], ...]:
    cell, sizes = bound(case)
    groups = random_arrays(cell, sizes, 2, length)

    def tensor(array: Array) -> torch.Tensor:
        return torch.tensor(array, requires_grad=smooth and array.dtype.kind in "fc")

    return tuple({name: tensor(array) for name, array in group.items()} for group in groups)


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
    standard = {"functools", "math", "os", "sys", "warnings"}
    assert imported <= standard | {"torch", "torch.nn.functional", "triton", "triton.language"}


def test_emission_needs_no_torch() -> None:
    code = "import sys, lsrl.backends.emit_triton; print({'torch', 'triton', 'jax'} & set(sys.modules))"
    assert run_python("-c", code).strip() == "set()"


@pytest.mark.parametrize("name", ["mingru", "lru", "mlstm", "reversed", "autonomous"])
def test_derivatives_of_every_order(name: str) -> None:
    case = PROGRAMS[name]
    module = emitted(case, "float64")
    groups = random_tensors(case, smooth=True)
    names = [(place, key) for place, group in enumerate(groups) for key, t in group.items() if t.requires_grad]
    options = {} if bound(case)[0].inputs else {"length": 3, "batch": 2}

    def run(*leaves: torch.Tensor) -> tuple[torch.Tensor, ...]:
        given = [dict(group) for group in groups]
        for (place, key), leaf in zip(names, leaves, strict=True):
            given[place][key] = leaf
        outputs, final = module.apply(*given, **options)
        found = [*outputs.values(), *final.values()]
        return tuple(tensor for tensor in found if tensor.is_floating_point() or tensor.is_complex())

    leaves = tuple(groups[place][key] for place, key in names)
    assert torch.autograd.gradcheck(run, leaves, fast_mode=True)
    assert torch.autograd.gradgradcheck(run, leaves, fast_mode=True)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own, on first use
def test_forward_mode_is_refused() -> None:
    module = emitted(PROGRAMS["mingru"], "float64")
    params, inputs, state = random_tensors(PROGRAMS["mingru"])
    with pytest.raises(RuntimeError, match=r"jvp|forward"):
        torch.func.jvp(lambda x: module.apply(params, {"x": x}, state)[0]["h"], (inputs["x"],), (inputs["x"],))


def test_without_gradients_a_backward_pass_is_an_error() -> None:
    module = emitted(PROGRAMS["mingru"], gradients=False)
    assert "runs forward only" in str(module.__doc__)
    params = module.init(0)
    params["Wz"].requires_grad_()
    outputs, _ = module.apply(params, {"x": torch.randn(1, 2, 3)})
    with pytest.raises(RuntimeError, match="does not require grad"):
        outputs["h"].sum().backward()


DETACHED = """
cell detached():
    input x: []
    state h: [] = 0
    h' = stopgrad(x + h / 2)
    output h'
"""


def test_a_loop_without_derivative_passes_none_on() -> None:
    x = torch.randn(2, 3, requires_grad=True)
    outputs, _ = emitted(Case(DETACHED)).apply({}, {"x": x})
    (outputs["h"].sum() + x.sum()).backward()
    assert torch.equal(x.grad, torch.ones(2, 3))


FALLBACK = """
import sys, warnings
from pathlib import Path
import torch
from lsrl.backends.module_loader import load_module
with warnings.catch_warnings(record=True) as seen:
    warnings.simplefilter("always")
    module = load_module(Path(sys.argv[1]).read_text(), "standalone")
    params, inputs = module.init(0), {"x": torch.linspace(-1, 1, 30).reshape(2, 5, 3)}
    first, _ = module.apply(params, inputs)
    again, _ = module.apply(params, inputs)
print([str(each.message) for each in seen])
print(first["h"].flatten().tolist())
"""


def test_without_a_gpu_the_plain_form_runs_and_says_so(tmp_path: Path) -> None:
    text = source(PROGRAMS["lstm"])
    (tmp_path / "module.py").write_text(text)
    said, numbers = run_python("-c", FALLBACK, str(tmp_path / "module.py")).splitlines()
    assert ast.literal_eval(said) == [
        "standalone: no GPU, so each loop runs in its plain PyTorch form, not as a kernel"
    ]
    module = load_module(text, "emitted_module")
    outputs, _ = module.apply(module.init(0), {"x": torch.linspace(-1, 1, 30).reshape(2, 5, 3)})
    np.testing.assert_allclose(outputs["h"].flatten(), ast.literal_eval(numbers), rtol=1e-5, atol=1e-6)


CENTRED = """
cell centred(H=200):
    input x: [H]
    param U, V: [H, H] ~ normal(0.1)
    state h: [H] = 0
    u = U @ tanh(V @ h)
    h' = tanh(x + u - mean(u))
    output h'
"""


def test_loops_without_one_kernel_say_why() -> None:
    module = emitted(PROGRAMS["picture"])
    how = "position by position, products by PyTorch and then a Triton kernel"
    assert module.SCHEDULE["h"].startswith(how)
    assert module.SCHEDULE["h"].endswith("since `conv` in line 7 has no form in a kernel")
    assert how in str(module.__doc__)
    module = emitted(Case(CENTRED))
    assert module.SCHEDULE == {"h": "a loop in plain PyTorch: 65536 products at once are more than a program holds"}
    assert module.KERNELS == ()
    assert "Schedule of h: a loop in plain PyTorch: 65536 products" in str(module.__doc__)


def test_module_holds_parameters_by_name() -> None:
    case = PROGRAMS["stack"]
    module = emitted(case)
    net = module.Stack(seed=3)
    drawn = module.init(3)
    assert set(net.state_dict()) == set(drawn)
    inputs = {"x": torch.randn(2, 4, 3)}
    outputs, final = net(inputs)
    wanted, _ = module.apply(drawn, inputs)
    torch.testing.assert_close(outputs["x"], wanted["x"])
    outputs["x"].sum().backward()
    assert all(param.grad is not None for param in net.parameters())
    other = module.Stack(seed=4)
    other.load_state_dict(net.state_dict())
    torch.testing.assert_close(other(inputs)[0]["x"], wanted["x"])
    stepped, _ = net.step({"x": torch.randn(2, 3)}, final)
    assert stepped["x"].shape == (2, 3)
    again = pickle.loads(pickle.dumps(net))
    torch.testing.assert_close(again(inputs)[0]["x"], wanted["x"])


def test_parameters_follow_their_distributions() -> None:
    params = emitted(Case(DRAWS), "float64").init(3)
    glorot, plain = np.sqrt(6 / 500), np.sqrt(1 / 200)
    uniform = {"a": (-0.5, 0.5), "b": (-1, 3), "e": (-glorot, glorot), "o": (-plain, plain)}
    for name, (low, high) in uniform.items():
        array = params[name].numpy()
        assert low <= array.min() < low + 0.01 * (high - low)
        assert high - 0.01 * (high - low) < array.max() <= high
        moments = (array.mean(), array.std())
        np.testing.assert_allclose(moments, ((low + high) / 2, (high - low) / 12**0.5), atol=0.01 * (high - low))
    for name, (mean, deviation) in {"c": (0, 2), "d": (5, 0.1), "k": (0, 1)}.items():
        real = params[name].real.numpy()
        np.testing.assert_allclose((real.mean(), real.std()), (mean, deviation), atol=0.02 * deviation)
    np.testing.assert_allclose(params["k"].imag.std(), 1, atol=0.02)
    np.testing.assert_allclose(params["f"].mT @ params["f"], np.stack([np.eye(200)] * 2), atol=1e-10)
    np.testing.assert_array_equal(params["g"], np.stack([np.eye(300)] * 2))
    np.testing.assert_array_equal(params["m"], np.full(200, 0.75))
    np.testing.assert_array_equal(params["n"], np.full(200, 1.75))
    assert len(np.unique(params["c"])) > 59990  # drawn in double precision


def test_seeds() -> None:
    module = emitted(Case(DRAWS))
    first, again, other = module.init(0), module.init(0), module.init(1)
    for name in ("a", "c", "f", "k"):
        assert torch.equal(first[name], again[name])
        assert not torch.equal(first[name], other[name])


def test_noise_is_drawn_with_a_generator() -> None:
    module = emitted(Case(NOISY, (("D", 40),)))
    params, inputs = {"scale": torch.ones(()), "width": torch.full((), 2.0)}, {"x": torch.zeros(30, 5, 40)}
    one, two = (
        module.apply(params, inputs, generator=torch.Generator().manual_seed(seed))[0]["h"] for seed in (0, 1)
    )
    assert not torch.equal(one, two)
    np.testing.assert_allclose([one[:, 0].std(), two[:, 0].std()], 2, rtol=0.1)
    masked, _ = module.apply(params, {"x": torch.ones(30, 5, 40), "eps": 0 * one})
    assert set(masked["h"][:, 0].unique().tolist()) == {0.0, 1.0}


def test_names_of_the_program_shadow_nothing() -> None:
    case = Case(CLASHES)
    cell, sizes = bound(case)
    params, inputs, state = random_arrays(cell, sizes, 2, 3)
    wanted = reference.run(cell, sizes, params, inputs, state)
    module = emitted(case, "float64")
    assert len(module.KERNELS) == 2 * len(module.SCHEDULE)  # each with that of its derivative
    outputs, final = module.apply(*({n: torch.tensor(a) for n, a in g.items()} for g in (params, inputs, state)))
    for found, truth in ((outputs, wanted.outputs), (final, wanted.state)):
        assert found.keys() == truth.keys()
        for name, array in truth.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-10)


def test_an_unknown_state_is_an_error() -> None:
    module = emitted(PROGRAMS["lstm"])
    with pytest.raises(ValueError, match="there is no state hidden; the states are h, c"):
        module.apply(module.init(0), {"x": torch.zeros(1, 2, 3)}, {"hidden": torch.zeros(1, 5)})


def test_wrong_shapes_are_errors() -> None:
    """A kernel would read beyond the end of a tensor that is too small."""
    module = emitted(PROGRAMS["gated_delta"])
    _, inputs, state = random_tensors(PROGRAMS["gated_delta"])
    with pytest.raises(ValueError, match=r"k has the shape \(2, 3, 2, 2\), and should have \(2, 3, 2, 3\)"):
        module.apply({}, {**inputs, "k": inputs["k"][..., :2]}, state)
    with pytest.raises(ValueError, match=r"v has the shape \(2, 2, 2, 5\), and should have \(2, 3, 2, 5\)"):
        module.apply({}, {**inputs, "v": inputs["v"][:, :2]}, state)
    with pytest.raises(ValueError, match=r"S has the shape \(1, 2, 3, 5\), and should have \(2, 2, 3, 5\)"):
        module.apply({}, inputs, {"S": state["S"][:1]})


def test_a_reversed_program_has_no_step() -> None:
    module = emitted(PROGRAMS["reversed"])
    assert not hasattr(module, "step")
    assert "There is no `step`: mingru.h arrives from the end" in str(module.__doc__)


POISON = """
cell poisoned(N=5):
    \"\"\"Lanes beyond the end must not reach sums, products and maxima.\"\"\"
    input x: [N]
    state h: [N] = 1, m: [] = 0, S: [N, N] = 0
    g = exp(-h)
    p = softmax(1 / h)
    m' = sum(log(abs(h))) + max(g) - min(p) + logsumexp(1 / h) + m / 2
    S' = outer(1 / h, g) + 0.5 * S
    h' = 1 + abs(h) / 2 + p * x * x + (S @ g) / 100 + prod(g)
    output m', y = flip(h, axis=0) + concat(h[2:N], h[0:2]) * h[N-1], t = g @ S'
"""


def test_lanes_beyond_the_end_reach_nothing() -> None:
    case = Case(POISON)
    cell, sizes = bound(case)
    params, inputs, _ = random_arrays(cell, sizes, 3, 5)
    wanted = reference.run(cell, sizes, params, inputs)
    module = emitted(case, "float64")
    assert len(module.KERNELS) == 2
    with np.errstate(all="ignore"):
        outputs, final = module.apply({}, {"x": torch.tensor(inputs["x"])})
    for found, truth in ((outputs, wanted.outputs), (final, wanted.state)):
        for name, array in truth.items():
            np.testing.assert_allclose(found[name], array, rtol=1e-10, err_msg=name)
