"""A loop's C function in the emitted module: its text, and the function of tensors that calls it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

from lsrl.backends.expressions import shape_code
from lsrl.backends.kernel_form import NoKernel
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.native.kernel import NativeKernel, native_kernel
from lsrl.backends.native.texts import C_FUNCTIONS
from lsrl.backends.torch_frame import Frame
from lsrl.backends.torch_loop import LoopNames, PlainLoop
from lsrl.backends.torch_operator import LoopFunctions
from lsrl.backends.torch_place import Types
from lsrl.backends.triton_launch import as_pairs, contiguous
from lsrl.backends.triton_made import Made
from lsrl.backends.triton_memory import WRITTEN, Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.lattice import is_grid
from lsrl.ir.schedules.how import Newton
from lsrl.ir.value import Kind


@dataclass(slots=True)
class NativeLoops:
    """Makes the kernels of a module's loops, and keeps their texts.

    Attributes:
        texts: of the kernels that were made.
    """

    texts: list[str] = field(default_factory=list)

    def __call__(self, functions: LoopFunctions, loop: LoopCell, plain: PlainLoop, frame: Frame, dtype: str) -> Made:
        """The kernel of a loop.

        Raises:
            NoKernel: there is none.
        """
        if is_grid(loop.cell):
            raise NoKernel("C loops run along one axis")
        if isinstance(loop.how, Newton):
            raise NoKernel("its windows are products of whole tensors")
        kernel = native_kernel(functions.kernel, loop, frame.numbers, frame.names.sizes)
        self.texts.append(kernel.text)
        code = frame.names.fresh(f"{functions.kernel}_code")
        launch = _Launch(functions.launch, code, kernel, loop, plain.arguments, frame.names.sizes, frame.types)
        together = "for the sequences of a thread together" if kernel.shared else "for each sequence"
        how = f"one C loop over time {together}"
        return Made((partial(_write_text, code, kernel), partial(_write_launch, launch)), (), how, "runs_native")


@dataclass(frozen=True, slots=True)
class _Launch:
    """What the function around a kernel is written from; the attributes are those of `triton_launch.Launch`.

    Attributes:
        code: the name of the kernel's text.
    """

    name: str
    code: str
    kernel: NativeKernel
    loop: LoopCell
    arguments: LoopNames
    sizes: Mapping[str, str]
    types: Types

    @property
    def given(self) -> dict[tuple[Role, str], str]:
        """The argument that holds each input, param and initial state."""
        cell = self.loop.cell
        keys = [
            *((Role.READ, declared.name) for declared in cell.inputs),
            *((Role.STATIC, param.name) for param in cell.params),
            *((Role.START, state.name) for state in cell.states),
        ]
        return dict(zip(keys, self.arguments.tensors, strict=True))

    def new(self, tensor: Tensor) -> str:
        """A tensor for what the kernel writes."""
        start = self.arguments.starts[0]
        if tensor.role is Role.END:
            return f"torch.empty_like({self.given[Role.START, tensor.of]}, memory_format=torch.contiguous_format)"
        lead = ("batch", "length") if tensor.role is Role.KEPT else ("batch", "saves(length, every)")
        shape = shape_code(tensor.shape, self.sizes, lead)
        return f"{start}.new_empty({shape}, dtype={self.types.of(tensor.kind)})"

    def result(self, tensor: Tensor, name: str) -> str:
        """What the kernel wrote, in the type that the module keeps it in."""
        narrow = self.types.narrow and tensor.role is Role.KEPT and tensor.kind is Kind.FLOAT
        return f"{name}.to({self.types.data})" if narrow else name

    def read(self, tensor: Tensor, name: str) -> str:
        """What the kernel reads, in the type that it computes in."""
        narrow = self.types.narrow and tensor.kind is Kind.FLOAT
        return contiguous(tensor, f"{name}.to({self.types.real})" if narrow else name)


def _write_text(code: str, kernel: NativeKernel, writer: Writer) -> None:
    """The kernel as a string."""
    writer.text(f'{code} = r"""\n{kernel.text}"""')


def _write_launch(launch: _Launch, writer: Writer) -> None:
    """The function that runs a kernel over whole sequences."""
    arguments, kernel = launch.arguments, launch.kernel
    with writer.block(
        f"def {launch.name}({', '.join((*arguments.tensors, *arguments.extent, *arguments.options))}):"
    ):
        saved = ", then arriving states" if arguments.saved else ""
        writer.docstring(f"Run `{kernel.name}`: what it keeps of every position, then the last states{saved}.")
        if arguments.reads:
            writer.line(f"batch, length = {arguments.reads[0]}.shape[:2]")
        else:
            writer.line(f"batch = {arguments.starts[0]}.shape[0]")
        taken, passed, results = {*arguments.tensors}, [], []
        for tensor in kernel.tensors:
            if tensor.role in WRITTEN:
                name = tensor.name if tensor.name not in taken else f"{tensor.name}_out"
                taken.add(name)
                writer.line(f"{name} = {launch.new(tensor)}")
                passed.append(as_pairs(tensor, name))
                results.append(launch.result(tensor, name))
            else:
                name = launch.given[tensor.role, tensor.of]
                passed.append(as_pairs(tensor, launch.read(tensor, name)))
        writer.line(f"kernel = library({C_FUNCTIONS} + {launch.code}).{kernel.name}")
        writer.line(f"run_native(kernel, [{', '.join(passed)}], [{', '.join(_numbers(kernel))}])")
        writer.line(f"return {', '.join(results)}{',' if len(results) == 1 else ''}")


def _numbers(kernel: NativeKernel) -> list[str]:
    """The numbers that a kernel takes, of the types that it takes them in."""
    return [f"float({code})" if type_ == "double" else code for code, type_ in kernel.numbers]
