"""The launch of a scan: a function of tensors that cuts time where a GPU would idle, and runs its kernels."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsrl.backends.expressions import shape_code, tupled
from lsrl.backends.torch_frame import SEQUENCE
from lsrl.backends.triton_launch import Key, Launch, as_pairs, contiguous
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer


@dataclass(frozen=True, slots=True)
class ScanLaunch:
    """What a scan's launch function is written from.

    Attributes:
        tiles: the launch of the kernel of the tiles.
        pieces, carry: those of the kernels before it, where time is cut.
        block: the positions of a tile.
    """

    tiles: Launch
    pieces: Launch
    carry: Launch
    block: int

    @property
    def launches(self) -> tuple[Launch, ...]:
        """In the order in which they run."""
        return self.pieces, self.carry, self.tiles

    def tensors(self, role: Role) -> list[Tensor]:
        """The tensors of all kernels, each once."""
        every = (tensor for launch in self.launches for tensor in launch.kernel.tensors)
        return [tensor for tensor in dict.fromkeys(every) if tensor.role is role]

    def variables(self) -> dict[Key, str]:
        """The variable that holds each tensor."""
        found = {**self.tiles.given, **self.tiles.results}
        taken = {*found.values(), "pieces", "piece", *SEQUENCE}
        for tensor in (*self.tensors(Role.PIECE), *self.tensors(Role.BEGIN)):
            name = tensor.name if tensor.name not in taken else f"{tensor.name}_out"
            taken.add(name)
            found[tensor.role, tensor.of] = name
        return found


def write_scan_launch(scan: ScanLaunch, writer: Writer) -> None:
    """The function."""
    launch, variables = scan.tiles, scan.variables()
    first, results = launch.arguments.starts[0], launch.results
    with writer.block(launch.header):
        saved = ", then arriving states" if launch.arguments.saved else ""
        what = f"what it keeps of every position, then the last states{saved}"
        writer.docstring(f"Run `{launch.kernel.name}`: {what}.")
        writer.line(launch.extent)
        for tensor in (*scan.tensors(Role.READ), *scan.tensors(Role.STATIC), *scan.tensors(Role.START)):
            name = variables[tensor.role, tensor.of]
            writer.line(f"{name} = {contiguous(tensor, name)}")
        for tensor in launch.written:
            writer.line(f"{results[tensor.role, tensor.of]} = {_new(launch, tensor)}")
        programs = " * ".join(["batch", *launch.kernel.grid[1:]])
        writer.line(f"pieces, piece = pieces_of_time(length, {scan.block}, {programs}, {first}.device)")
        for tensor in scan.tensors(Role.BEGIN):
            start = variables[Role.START, tensor.of]
            writer.line(f"{variables[tensor.role, tensor.of]} = {start}", "of the only piece")
        with writer.block(f"with torch.cuda.device_of({first}):"):
            with writer.block("if pieces > 1:"):
                for tensor in (*scan.tensors(Role.PIECE), *scan.tensors(Role.BEGIN)):
                    shape = shape_code(tensor.shape, launch.sizes, ("batch", "pieces"))
                    made = f"{first}.new_empty({shape}, dtype={launch.types.of(tensor.kind)})"
                    writer.line(f"{variables[tensor.role, tensor.of]} = {made}")
                _write_call(writer, scan.pieces, variables)
                _write_call(writer, scan.carry, variables)
            _write_call(writer, launch, variables)
        writer.line(f"return {', '.join(results.values())}{',' if len(results) == 1 else ''}")


def _new(launch: Launch, tensor: Tensor) -> str:
    if tensor.role is Role.KEPT:
        return launch.kept(tensor, SEQUENCE)
    if tensor.role is Role.SAVED:
        return launch.kept(tensor, ("batch", "saves(length, every)"))
    return f"torch.empty_like({launch.given[Role.START, tensor.of]})"


def _write_call(writer: Writer, launch: Launch, variables: Mapping[Key, str]) -> None:
    kernel = launch.kernel
    passed = [as_pairs(tensor, variables[tensor.role, tensor.of]) for tensor in kernel.tensors]
    passed += ["length"] if kernel.length else []
    passed += [name for name, _ in zip(("pieces", "piece"), kernel.pieces)]
    passed += [f"{kernel.every}=every"] if kernel.every else []
    writer.line(f"{kernel.name}[{tupled(list(kernel.grid))}]({', '.join([*passed, f'**{launch.constants}'])})")
