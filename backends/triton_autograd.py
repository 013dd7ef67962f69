"""What describes a kernel to those who compile it and to those who read about it."""

from __future__ import annotations

from lsrl.backends.kernel_tiles import MOST_STAGES
from lsrl.backends.torch_place import Types
from lsrl.backends.triton_kernel import Kernel
from lsrl.backends.triton_launch import Launch
from lsrl.backends.writer import Writer
from lsrl.ir.value import Kind


def write_constants(launch: Launch, writer: Writer) -> None:
    """Sizes and block sizes that the kernel is compiled for."""
    kernel = launch.kernel
    constants = [f'"{size}": {size}' for size in kernel.sizes]
    constants += [f'"{block}": {number}' for block, number in kernel.blocks.items()]
    constants += [f'"{kernel.dots}": DOT_TYPE'] if kernel.dots else []
    constants.append(f'"num_warps": {kernel.warps}')
    constants += [f'"num_stages": {kernel.stages}'] if kernel.stages != MOST_STAGES else []
    writer.line(f"{launch.constants} = {{{', '.join(constants)}}}")


def signature(kernel: Kernel, types: Types) -> str:
    """What each argument of the kernel is, in Triton's words."""
    narrow, wide = types.pointer
    of_kind = {Kind.INT: "i64", Kind.BOOL: "i1"}
    stored = {t.name: of_kind.get(t.kind, narrow if t.narrow else wide) for t in kernel.tensors}
    parts = [f'"{name}": "*{type_}"' for name, type_ in stored.items()]
    parts += [f'"{name}": "i32"' for name in (kernel.length, kernel.batch, *kernel.pieces) if name]
    return f"{{{', '.join(parts)}}}"


def programs(kernel: Kernel) -> str:
    """The kernel's grid in words: `batch x cdiv(H, 128) programs of 1 warp`."""
    grid = " x ".join(part.replace("triton.", "") for part in kernel.grid)
    return f"{grid} programs of {'1 warp' if kernel.warps == 1 else f'{kernel.warps} warps'}"
