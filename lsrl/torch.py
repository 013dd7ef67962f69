"""Programs as modules of PyTorch."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Self

import torch

from lsrl.arguments import Arguments, named_inputs
from lsrl.array_files import read_arrays, write_arrays
from lsrl.backends.arrays import ArrayError
from lsrl.backends.result import Result
from lsrl.compiled import Compiled
from lsrl.compiling import compile_program
from lsrl.program import Program
from lsrl.schedule import AUTO

Tensors = Mapping[str, torch.Tensor]


class Module(torch.nn.Module):
    """A program as an `nn.Module` around its Triton target.

    Parameters are registered under their names, those of cells that the program uses in submodules, so the keys of
    `state_dict` are the names that LSRL uses everywhere: `Wz`, `layers.0.Wz`.  They are drawn as the program says.

    Args:
        program: what it computes.
        sizes: numbers for the sizes without a default, and for others if wanted.
        dtype: of parameters and data; with 16 bits states and sums are float32.
        schedule: as for `lsrl.compile`.
        target: `triton`, with kernels for GPUs, or `cpu`, with loops in C.
        seed: for the parameters; None takes one from PyTorch's generator, which `torch.manual_seed` sets.

    Attributes:
        compiled: the compiled program, with its `source` and `explain()`.
    """

    def __init__(
        self,
        program: Program,
        sizes: Mapping[str, int] | None = None,
        dtype: torch.dtype = torch.float32,
        schedule: str = AUTO,
        seed: int | None = None,
        target: str = "triton",
    ) -> None:
        super().__init__()
        self._recipe = (program, target, sizes, schedule)
        self.compiled: Compiled = compile_program(*self._recipe, str(dtype).removeprefix("torch."))
        drawn = self.compiled.init(int(torch.randint(2**31, ())) if seed is None else seed)
        self._places = {name: _register(self, name, tensor) for name, tensor in drawn.items()}
        self._stream: dict[str, torch.Tensor] | None = None

    @property
    def params(self) -> dict[str, torch.Tensor]:
        """The parameters under the program's names."""
        found = {**dict(self.named_parameters()), **dict(self.named_buffers())}
        return {name: found[place] for name, place in self._places.items()}

    def forward(self, *inputs: Any, state: Tensors | None = None, **named: Any) -> Result:
        """Run whole sequences: a result with `outputs` and final `state` by name.

        Args:
            inputs: tensors [B, T, *shape] in the order of declaration, or one mapping by name.
            named: inputs by name; for a program without inputs `length` and `batch`.
            state: initial states by name, [B, *shape]; missing ones start as the program says.
        """
        given, extent = named_inputs(self.compiled.cell, inputs, named)
        if torch.compiler.is_compiling():  # names and shapes were checked in the call before
            known = {"B": extent.get("batch", 1), "T": extent.get("length", 1)}
            return self.compiled.engine.run(Arguments(self.params, given, state or {}, known))
        return self.compiled(self.params, given, state, seed=self._seed(), **extent)

    def step(self, *inputs: Any, state: Tensors | None = None, **named: Any) -> Result:
        """Run one position, inputs [B, *shape], going on from the last one; `state` takes the place of what it left."""
        given, extent = named_inputs(self.compiled.cell, inputs, named)
        start = self._stream if state is None else state
        result = self.compiled.step(self.params, given, start, seed=self._seed(), **extent)
        self._stream = dict(result.state)
        return result

    def reset(self) -> None:
        """Forget the state that `step` left: the next one begins a new sequence."""
        self._stream = None

    def save(self, path: str | Path) -> None:
        """Write the parameters to a `.safetensors` or `.npz` file, which every target reads.

        Raises:
            FileError: another suffix, or a format that cannot hold them.
            OSError: the file cannot be written.
        """
        write_arrays(Path(path), {name: self.compiled.engine.to_numpy(x) for name, x in self.params.items()})

    def load(self, path: str | Path) -> None:
        """Take the parameters of a file.

        Raises:
            ArrayError: the file holds others.
            FileError, OSError: it cannot be read.
        """
        arrays, params = read_arrays(Path(path)), self.params
        if arrays.keys() != params.keys():
            raise ArrayError(f"the params are {', '.join(params)}; the file has {', '.join(arrays)}")
        for name, param in params.items():
            if arrays[name].shape != param.shape:
                expected, found = list(param.shape), list(arrays[name].shape)
                raise ArrayError(f"param {name}: expected {expected}, found {found}")
        with torch.no_grad():
            for name, array in arrays.items():
                params[name].copy_(torch.as_tensor(array))

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Self:
        """Move the parameters, as `to`, `double` or `cuda` ask for, and with them the program to their type."""

        def moved(tensor: torch.Tensor) -> torch.Tensor:
            if not tensor.is_complex():
                return fn(tensor)
            real, imaginary = (_at_least_32(fn(part)) for part in torch.view_as_real(tensor.detach()).unbind(-1))
            return torch.complex(real, imaginary)

        super()._apply(moved, recurse)  # type: ignore[no-untyped-call]
        dtype = str(fn(torch.empty((), dtype=getattr(torch, self.compiled.dtype))).dtype).removeprefix("torch.")
        if dtype != self.compiled.dtype:
            self.compiled = compile_program(*self._recipe, dtype)
            self.reset()
        return self

    def extra_repr(self) -> str:
        sizes = ", ".join(f"{name}={number}" for name, number in self.compiled.sizes.items())
        return f"{self.compiled.cell.name}({sizes}), {self.compiled.dtype}, schedule {self.compiled.schedule}"

    def _seed(self) -> int:
        """For noise that is not given: drawn from PyTorch's generator, so that it is new in every call."""
        return int(torch.randint(2**31, ())) if self.compiled.cell.noises else 0


def _at_least_32(part: torch.Tensor) -> torch.Tensor:
    """Half of a complex number, of which there are none of 16 bits."""
    return part.float() if part.dtype.itemsize < 4 else part


def _register(module: torch.nn.Module, name: str, drawn: torch.Tensor) -> str:
    """Register a parameter by its dotted name in submodules; the name it got.

    A name that `nn.Module` has for something else is followed by `_`.  Ints and bools are buffers.
    """
    *scopes, last = (part if not hasattr(torch.nn.Module(), part) else f"{part}_" for part in name.split("."))
    for scope in scopes:
        if scope not in dict(module.named_children()):
            module.add_module(scope, torch.nn.Module())
        module = module.get_submodule(scope)
    if drawn.is_floating_point() or drawn.is_complex():
        module.register_parameter(last, torch.nn.Parameter(drawn))
    else:
        module.register_buffer(last, drawn)
    return ".".join((*scopes, last))
