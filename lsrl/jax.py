"""Programs as pytrees of parameters, for JAX."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lsrl.arguments import Arguments, Named, at_one_position, checked, named_inputs, without_noises
from lsrl.array_files import read_arrays, write_arrays
from lsrl.backends.arrays import ArrayError
from lsrl.backends.result import Result
from lsrl.compiled import Compiled
from lsrl.compiling import compile_program
from lsrl.engine_jax import Arrays, JaxEngine
from lsrl.program import Program
from lsrl.schedule import AUTO


@jax.tree_util.register_pytree_with_keys_class
class Module:
    """A program with parameters: a function whose pytree leaves are the parameters.

    Nothing in it changes.  It goes through `jax.jit`, `jax.grad` and `jax.vmap` like any pytree: a gradient by a module
    is a module of gradients, and `jax.tree.map` over both makes the next one.  For those who keep parameters apart,
    `init` and `apply` are the same as functions of them.

    Args:
        program: what it computes.
        sizes: numbers for the sizes without a default, and for others if wanted.
        dtype: of parameters and data; with 16 bits states and sums are float32.
        schedule: as for `lsrl.compile`.
        seed: for the parameters.

    Attributes:
        compiled: the compiled program, with its `source` and `explain()`.
        params: the parameters by name.
    """

    compiled: Compiled
    params: Arrays

    def __init__(
        self,
        program: Program,
        sizes: Mapping[str, int] | None = None,
        dtype: Any = jnp.float32,
        schedule: str = AUTO,
        seed: int = 0,
    ) -> None:
        self.compiled = compile_program(program, "jax", sizes, schedule, jnp.dtype(dtype).name)
        self.params = self.init(seed)

    def init(self, seed: int = 0) -> Arrays:
        """Parameters by name, drawn as the program says."""
        return self.compiled.init(seed)

    def apply(
        self, params: Named, *inputs: Any, state: Named | None = None, key: jax.Array | None = None, **named: Any
    ) -> Result:
        """Run whole sequences with these parameters: a result with `outputs` and final `state` by name.

        Args:
            inputs: arrays [B, T, *shape] in the order of declaration, or one mapping by name.
            named: inputs by name; for a program without inputs `length` and `batch`.
            state: initial states by name, [B, *shape]; missing ones start as the program says.
            key: draws the noises that are not among the inputs.

        Raises:
            ArrayError: an array is missing, superfluous or ill-shaped.
            ValueError: a noise is neither given nor to be drawn.
        """
        given, extent = named_inputs(self.compiled.cell, inputs, named)
        told = {"B": extent.get("batch"), "T": extent.get("length")}
        return self._engine.run(self._checked(params, given, given, state, told), key)

    def __call__(self, *inputs: Any, state: Named | None = None, key: jax.Array | None = None, **named: Any) -> Result:
        """Run whole sequences; see `apply`."""
        return self.apply(self.params, *inputs, state=state, key=key, **named)

    def reset(self, batch: int = 1) -> Arrays:
        """The states before the first position, [B, *shape] by name: what the first `step` takes."""
        return self.compiled.initial_state(self.params, batch)

    def step(self, *inputs: Any, state: Named | None = None, key: jax.Array | None = None, **named: Any) -> Result:
        """Run one position, inputs [B, *shape]; the next step takes the result's `state`.

        Raises:
            ArrayError, ValueError: as for `apply`.
            StreamError: a state arrives from the end of the sequence.
        """
        self.compiled.check_streams()
        given, extent = named_inputs(self.compiled.cell, inputs, named)
        told = {"B": extent.get("batch"), "T": 1}
        return self._engine.step(self._checked(self.params, given, at_one_position(given), state, told), key)

    def replace(self, params: Named) -> Module:
        """The same program with other parameters.

        Raises:
            ArrayError: a parameter is missing, superfluous or ill-shaped.
        """
        if params.keys() != self.params.keys():
            raise ArrayError(f"the params are {', '.join(self.params)}; given are {', '.join(params)}")
        for name, array in params.items():
            if np.shape(array) != self.params[name].shape:
                expected, found = list(self.params[name].shape), list(np.shape(array))
                raise ArrayError(f"param {name}: expected {expected}, found {found}")
        cast = {name: jnp.asarray(array, self.params[name].dtype) for name, array in params.items()}
        return self.tree_unflatten(self.compiled, (cast,))

    def save(self, path: str | Path) -> None:
        """Write the parameters to a `.safetensors` or `.npz` file, which every target reads.

        Raises:
            FileError: another suffix, or a format that cannot hold them.
            OSError: the file cannot be written.
        """
        write_arrays(Path(path), {name: self._engine.to_numpy(array) for name, array in self.params.items()})

    def load(self, path: str | Path) -> Module:
        """The same program with the parameters of a file.

        Raises:
            ArrayError: the file holds others.
            FileError, OSError: it cannot be read.
        """
        return self.replace(read_arrays(Path(path)))

    def _checked(
        self, params: Named, inputs: Named, sequences: Named, state: Named | None, told: Mapping[str, int | None]
    ) -> Arguments:
        """The arguments of a run, checked as `sequences`; noises that are not given are drawn later."""
        cell = without_noises(self.compiled.cell, inputs)
        return checked(cell, self.compiled.sizes, params, sequences, state, 0, told).with_inputs(inputs)

    @property
    def _engine(self) -> JaxEngine:
        engine = self.compiled.engine
        assert isinstance(engine, JaxEngine)
        return engine

    def __repr__(self) -> str:
        sizes = ", ".join(f"{name}={number}" for name, number in self.compiled.sizes.items())
        return f"Module({self.compiled.cell.name}({sizes}), {self.compiled.dtype}, schedule {self.compiled.schedule})"

    def tree_flatten_with_keys(self) -> tuple[tuple[tuple[jax.tree_util.GetAttrKey, Arrays]], Compiled]:
        return ((jax.tree_util.GetAttrKey("params"), self.params),), self.compiled

    @classmethod
    def tree_unflatten(cls, compiled: Compiled, children: tuple[Arrays]) -> Module:
        """Any leaves will do: traced arrays, gradients, or what a transformation puts in their place."""
        module = object.__new__(cls)
        module.compiled = compiled
        (module.params,) = children
        return module
