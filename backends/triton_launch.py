"""The launch of a kernel: a function of tensors that allocates what the kernel writes, and runs it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from lsrl.backends.expressions import shape_code
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.torch_loop import LoopNames
from lsrl.backends.torch_place import Types
from lsrl.backends.triton_kernel import Kernel
from lsrl.backends.triton_memory import WRITTEN, Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.value import Kind

Key = tuple[Role, str]


@dataclass(frozen=True, slots=True)
class Launch:
    """What a launch function is written from.

    Attributes:
        name: of the function.
        constants: the name of the kernel's constants.
        kernel: what it runs.
        loop: the whole loop.
        arguments: of the function, the same as those of the loop's plain form.
        sizes: the identifier of every size.
    """

    name: str
    constants: str
    kernel: Kernel
    loop: LoopCell
    arguments: LoopNames
    sizes: Mapping[str, str]
    types: Types

    @property
    def given(self) -> dict[Key, str]:
        """The argument that holds each input, param and initial state of the loop."""
        cell = self.loop.cell
        keys = [
            *((Role.READ, declared.name) for declared in cell.inputs),
            *((Role.STATIC, param.name) for param in cell.params),
            *((Role.START, state.name) for state in cell.states),
        ]
        return dict(zip(keys, self.arguments.tensors, strict=True))

    @property
    def results(self) -> dict[Key, str]:
        """The variable of each tensor that the kernel writes."""
        taken, found = {*self.arguments.tensors}, {}
        for tensor in self.written:
            name = tensor.name if tensor.name not in taken else f"{tensor.name}_out"
            taken.add(name)
            found[tensor.role, tensor.of] = name
        return found

    @property
    def written(self) -> tuple[Tensor, ...]:
        return tuple(t for t in self.kernel.tensors if t.role in WRITTEN)

    @property
    def grid(self) -> str:
        grid = self.kernel.grid
        return f"grid = ({', '.join(grid)}{',' if len(grid) == 1 else ''})"

    @property
    def header(self) -> str:
        arguments = self.arguments
        return f"def {self.name}({', '.join((*arguments.tensors, *arguments.extent, *arguments.options))}):"

    @property
    def extent(self) -> str:
        """The numbers of sequences and positions, as the arguments tell them."""
        if self.arguments.reads:
            return f"batch, length = {self.arguments.reads[0]}.shape[:2]"
        return f"batch = {self.arguments.starts[0]}.shape[0]"

    def kept(self, tensor: Tensor, lead: tuple[str, ...]) -> str:
        """A new tensor for what is kept of every position."""
        type_ = self.types.data if tensor.narrow else self.types.of(tensor.kind)
        return f"{self.arguments.starts[0]}.new_empty({shape_code(tensor.shape, self.sizes, lead)}, dtype={type_})"

    def write_call(
        self, writer: Writer, passed: list[str], length: str, more: Sequence[str] = (), options: Sequence[str] = ()
    ) -> None:
        """The kernel itself, on the GPU where the tensors are; `more` are its further numbers, `options` Triton's."""
        scalars = [length, *(["batch"] if self.kernel.batch else []), *more]
        with writer.block(f"with torch.cuda.device_of({self.arguments.starts[0]}):"):
            every = [f"{self.kernel.every}=every"] if self.kernel.every else []
            given = ", ".join([*passed, *scalars, *every, *options, f"**{self.constants}"])
            writer.line(f"{self.kernel.name}[grid]({given})")


def write_launch(launch: Launch, writer: Writer) -> None:
    """The function that runs a kernel over whole sequences."""
    given, results = launch.given, launch.results
    with writer.block(launch.header):
        saved = ", then arriving states" if launch.arguments.saved else ""
        what = f"what it keeps of every position, then the last states{saved}"
        writer.docstring(f"Run `{launch.kernel.name}`: {what}.")
        writer.line(launch.extent)
        passed = []
        for tensor in launch.kernel.tensors:
            key = (tensor.role, tensor.of)
            if key in results:
                writer.line(f"{results[key]} = {new(launch, tensor)}")
                passed.append(as_pairs(tensor, results[key]))
            else:
                passed.append(as_pairs(tensor, contiguous(tensor, given[key])))
        writer.line(launch.grid)
        launch.write_call(writer, passed, "length")
        writer.line(f"return {', '.join(results.values())}{',' if len(results) == 1 else ''}")


def new(launch: Launch, tensor: Tensor) -> str:
    """A tensor that the kernel writes."""
    if tensor.role is Role.KEPT:
        return launch.kept(tensor, ("batch", "length"))
    if tensor.role is Role.SAVED:
        return launch.kept(tensor, ("batch", "saves(length, every)"))
    return f"torch.empty_like({launch.given[Role.START, tensor.of]}, memory_format=torch.contiguous_format)"


def contiguous(tensor: Tensor, code: str) -> str:
    """A tensor as kernels read it, row by row."""
    return f"{code}.resolve_conj().contiguous()" if tensor.kind is Kind.COMPLEX else f"{code}.contiguous()"


def as_pairs(tensor: Tensor, code: str) -> str:
    """Kernels read complex numbers as pairs of real ones."""
    return f"torch.view_as_real({code})" if tensor.kind is Kind.COMPLEX else code
