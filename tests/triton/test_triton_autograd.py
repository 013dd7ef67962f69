"""What PyTorch does with emitted loops: transformations, compilation, export, checkpoints, operators.

Loops run in their plain form here, which is fast; what surrounds them is the same for kernels.
"""

from __future__ import annotations

import re
from functools import cache
from pathlib import Path
from types import ModuleType

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from lsrl import stages
from lsrl.backends.emit_triton import emit_triton
from lsrl.backends.module_loader import load_module
from support.comparing import arrays
from support.process import run_python
from support.programs import PROGRAMS, bound

Tensors = dict[str, torch.Tensor]
LOOPS = [("gru", "sequential"), ("gated_delta", "sequential(recompute=2)")]
SOUND = [*LOOPS, ("lru", "sequential"), ("reversed", "sequential"), ("lags", "sequential")]
pytestmark = pytest.mark.filterwarnings("ignore:.*each loop runs in its plain PyTorch form")


@cache
def source(name: str, schedule: str = "sequential", gradients: bool = True) -> str:
    cell, sizes = bound(PROGRAMS[name])
    return emit_triton(stages.make(cell, sizes, "triton", schedule).plan, "float64", gradients=gradients)


@cache
def module(name: str, schedule: str) -> ModuleType:
    return plain(source(name, schedule))


def plain(text: str) -> ModuleType:
    emitted = load_module(text, "emitted_plain")
    emitted.INTERPRETED = False
    return emitted


def tensors(name: str, length: int = 3) -> tuple[Tensors, Tensors, Tensors]:
    params, inputs, state = ({k: torch.tensor(a) for k, a in group.items()} for group in arrays(PROGRAMS[name], length))
    return params, inputs, state


class Looped:
    """A program as a function of its first input and its initial state, by which it is differentiated."""

    def __init__(self, name: str, schedule: str) -> None:
        self.module, (self.params, self.inputs, self.state) = module(name, schedule), tensors(name)
        self.input, self.start = next(iter(self.inputs)), next(iter(self.state))

    @property
    def leaves(self) -> tuple[torch.Tensor, torch.Tensor]:
        return self.inputs[self.input], self.state[self.start]

    def __call__(self, x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        """All results in one row."""
        inputs, state = {**self.inputs, self.input: x}, {**self.state, self.start: start}
        outputs, final = self.module.apply(self.params, inputs, state)
        return torch.cat([y.flatten() for y in (*outputs.values(), *final.values())])

    def square(self, x: torch.Tensor, start: torch.Tensor) -> torch.Tensor:
        return (self(x, start) ** 2).sum()


@pytest.fixture(params=LOOPS, ids=lambda each: each[0])
def looped(request: pytest.FixtureRequest) -> Looped:
    return Looped(*request.param)


def test_jacobians(looped: Looped) -> None:
    """Row by row, and all rows at once under vmap."""
    found = torch.func.jacrev(looped, (0, 1))(*looped.leaves)
    wanted = torch.autograd.functional.jacobian(looped, looped.leaves)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_hessians(looped: Looped) -> None:
    """Nested transformations; double backward itself is held to differences in `test_triton_modules`."""
    found = torch.func.jacrev(torch.func.jacrev(looped.square, 1), 1)(*looped.leaves)
    x, start = looped.leaves
    wanted = torch.autograd.functional.hessian(lambda start: looped.square(x, start), start)
    torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_mapped_inputs(looped: Looped) -> None:
    x, start = looped.leaves
    several = torch.stack([x, 2 * x, -x], 1)  # mapped along an axis in the middle
    found = torch.vmap(looped, (1, None))(several, start)
    torch.testing.assert_close(found, torch.stack([looped(each, start) for each in several.unbind(1)]))


def test_mapped_gradients(looped: Looped) -> None:
    x, start = looped.leaves
    gradient = torch.func.grad(looped.square)
    several = torch.stack([x, 2 * x])
    found = torch.vmap(gradient, (0, None))(several, start)
    torch.testing.assert_close(found, torch.stack([gradient(each, start) for each in several]))


def test_mapped_params() -> None:
    """Several models at once."""
    emitted, (params, inputs, state) = module("gru", "sequential"), tensors("gru")
    several = {name: torch.stack([each, -each]) for name, each in params.items()}

    def loss(params: Tensors) -> torch.Tensor:
        return emitted.apply(params, inputs, state)[0]["h"].square().sum()

    found = torch.vmap(torch.func.grad(loss))(several)
    for place in range(2):
        wanted = torch.func.grad(loss)({name: each[place] for name, each in several.items()})
        torch.testing.assert_close({name: each[place] for name, each in found.items()}, wanted)


@pytest.mark.filterwarnings("ignore:`torch.jit.script` is deprecated")  # PyTorch's own, on first use
@pytest.mark.parametrize("gradients", [True, False])
def test_forward_mode_is_refused(gradients: bool) -> None:
    """Never zeros in silence."""
    emitted = plain(source("mingru", gradients=gradients))
    params, inputs, state = tensors("mingru")

    def output(x: torch.Tensor) -> torch.Tensor:
        return emitted.apply(params, {"x": x}, state)[0]["h"]

    with pytest.raises((RuntimeError, NotImplementedError), match=r"jvp|forward"):
        torch.func.jvp(output, (inputs["x"],), (inputs["x"],))
    with pytest.raises((RuntimeError, NotImplementedError), match=r"jvp|forward"):
        torch.func.jacfwd(output)(inputs["x"])


def test_checkpoints(looped: Looped) -> None:
    x, start = (leaf.clone().requires_grad_() for leaf in looped.leaves)
    checkpoint(looped.square, x, start, use_reentrant=False).backward()
    wanted = torch.func.grad(looped.square)(*looped.leaves)
    torch.testing.assert_close(x.grad, wanted)


def test_inference_keeps_no_states() -> None:
    emitted = module("gru", "sequential")
    params, inputs, state = tensors("gru", length=5)
    with torch.no_grad():
        projected = torch.zeros(2, 5, 15, dtype=torch.float64)
        given = [projected, params["W_hh"], params["b_hh"], state["h"]]
        assert [tuple(each.shape) for each in emitted.h_operator(given, 5, 0)] == [(2, 5, 5), (2, 5), (2, 0, 5)]
        assert [tuple(each.shape) for each in emitted.h_operator(given, 5, 2)] == [(2, 5, 5), (2, 5), (2, 3, 5)]
        emitted.apply(params, inputs, state)


@pytest.mark.parametrize(
    ("name", "schedule"), [*LOOPS, *((name, "sequential") for name in ("lru", "reversed", "lags"))]
)
def test_operators_are_sound(name: str, schedule: str) -> None:
    """Schemas, shapes without running, no shared memory, as PyTorch checks operators."""
    emitted = module(name, schedule)
    operators = [each for each in vars(emitted).values() if isinstance(each, torch.library.CustomOpDef)]
    seen: dict[str, tuple[object, ...]] = {}
    params, inputs, state = tensors(name)
    leaves = [tensor.requires_grad_() for tensor in (*params.values(), *state.values())]
    with Recorder(seen):
        outputs, final = emitted.apply(params, inputs, state)
        torch.autograd.grad([y.abs().sum() for y in (*outputs.values(), *final.values())], leaves, allow_unused=True)
    assert len(seen) >= 2  # forward and backward; those that run within others are not seen
    for operator in (each for each in operators if each._name in seen):
        torch.library.opcheck(operator, seen[operator._name], test_utils=("test_schema", "test_faketensor"))


class Recorder(torch.utils._python_dispatch.TorchDispatchMode):
    """Notes what each operator of an emitted module was called with."""

    def __init__(self, seen: dict[str, tuple[object, ...]]) -> None:
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):  # type: ignore[no-untyped-def]
        if func.namespace.startswith("lsrl_"):
            self.seen[func._opname] = args
        return func(*args, **(kwargs or {}))


def test_a_module_can_be_loaded_twice() -> None:
    """Both go on working, since they have the same operators."""
    params, inputs, state = tensors("mingru")
    first = plain(source("mingru"))
    wanted = first.apply(params, inputs, state)[0]["h"]
    second = plain(source("mingru"))
    for emitted in (first, second):
        leaves = {name: each.clone().requires_grad_() for name, each in params.items()}
        found = emitted.apply(leaves, inputs, state)[0]["h"]
        found.sum().backward()
        torch.testing.assert_close(found, wanted)
        assert all(leaf.grad is not None for leaf in leaves.values())


def test_modules_of_other_texts_have_operators_of_their_own() -> None:
    spaces = {re.search(r'own_namespace\("(\w+)"\)', source(name)).group(1) for name in ("mingru", "gru", "lru")}  # type: ignore[union-attr]
    assert len(spaces) == 3


def test_modules_of_the_same_text_have_operators_of_their_own() -> None:
    """The first module must go on to work when a second one is there, and when that is gone."""
    first, second = plain(source("gru")), plain(source("gru"))
    assert first.OPERATORS != second.OPERATORS
    params, inputs, state = tensors("gru")
    expected = second.apply(params, inputs, state)[0]
    del second
    for name, output in first.apply(params, inputs, state)[0].items():
        torch.testing.assert_close(output, expected[name], rtol=0, atol=0)


TRACED = """
import sys, warnings
from pathlib import Path
import torch
from lsrl.backends.module_loader import load_module
warnings.simplefilter("ignore")
module = load_module(Path(sys.argv[1]).read_text(), "standalone")
keys = sys.argv[2].split(",")
generator = torch.Generator().manual_seed(0)
params = {name: x.requires_grad_() for name, x in module.init(0).items()}

def arguments(length):
    state = module.initial_state(params, 2)
    shapes = {"x": (2, length, 3), "v": (2, length, 2, 5), "a": (2, length, 2), "b": (2, length, 2)}
    shapes |= {"q": (2, length, 2, 3), "k": (2, length, 2, 3)}
    inputs = {key: torch.randn(shapes[key], generator=generator, dtype=torch.float64) for key in keys}
    return {key: x.requires_grad_() for key, x in inputs.items()}, state

def loss(inputs, state):
    outputs, final = module.apply(params, inputs, state)
    return sum((y * y).sum() for y in (*outputs.values(), *final.values()))

for backend in ("eager", "aot_eager"):
    torch._dynamo.reset()
    compiled = torch.compile(loss, fullgraph=True, backend=backend)
    for length in (4, 6, 9):
        inputs, state = arguments(length)
        leaves = [*params.values(), *inputs.values()]
        found = torch.autograd.grad(compiled(inputs, state), leaves)
        wanted = torch.autograd.grad(loss(inputs, state), leaves)
        torch.testing.assert_close(found, wanted)

class Model(torch.nn.Module):
    def forward(self, inputs, state):
        return module.apply(params, inputs, state)

params = {name: x.detach() for name, x in params.items()}
inputs, state = torch.utils._pytree.tree_map(torch.Tensor.detach, arguments(6))
length = torch.export.Dim("length", min=2, max=64)
shapes = {"inputs": {key: {1: length} for key in keys}, "state": {key: None for key in state}}
exported = torch.export.export(Model(), (inputs, state), dynamic_shapes=shapes).module()
inputs, state = arguments(11)
torch.testing.assert_close(exported(inputs, state)[0], Model()(inputs, state)[0])
print("agree")
"""


@pytest.mark.parametrize(("name", "schedule"), LOOPS)
def test_compiled_whole_and_exported(name: str, schedule: str, tmp_path: Path) -> None:
    """In one graph, forward and backward, for several lengths, in a process that interprets no kernels."""
    (tmp_path / "module.py").write_text(source(name, schedule))
    inputs = ",".join(each.name for each in bound(PROGRAMS[name])[0].inputs)
    assert run_python("-c", TRACED, str(tmp_path / "module.py"), inputs).strip() == "agree"
