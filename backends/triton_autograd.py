"""Around a kernel's launch: its constants, its place in autograd, the function that chooses, and its description."""

from __future__ import annotations

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
    writer.line(f"{launch.constants} = {{{', '.join(constants)}}}")


def write_autograd(name: str, plain: str, launch: Launch, writer: Writer) -> None:
    """The `torch.autograd.Function` called `name`, whose backward pass goes through the function `plain`."""
    extent = launch.arguments.extent
    with writer.block(f"class {name}(torch.autograd.Function):"):
        writer.docstring(f"`{launch.name}` forward; backward through `{plain}`.")
        writer.blank()
        writer.line("@staticmethod")
        with writer.block("def forward(*arguments):"):
            writer.line(f"return {launch.name}(*arguments)")
        writer.blank()
        writer.line("@staticmethod")
        with writer.block("def setup_context(ctx, inputs, output):"):
            if extent:
                writer.line("*tensors, ctx.length = inputs")
            writer.line(f"ctx.save_for_backward(*{'tensors' if extent else 'inputs'})")
            writer.line("ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))")
        writer.blank()
        writer.line("@staticmethod")
        with writer.block("def backward(ctx, *gradients):"):
            if extent:
                writer.line(f"again = functools.partial({plain}, length=ctx.length)")
                writer.line("found = pulled_back(again, ctx.saved_tensors, ctx.needs_input_grad, gradients)")
                writer.line("return *found, None")
            else:
                call = f"pulled_back({plain}, ctx.saved_tensors, ctx.needs_input_grad, gradients)"
                writer.line(f"return tuple({call})")


def write_choice(name: str, kernel: str, plain: str, launch: Launch, writer: Writer) -> None:
    """The function that runs the kernel (by calling `kernel`) or the plain form."""
    arguments = ", ".join((*launch.arguments.tensors, *launch.arguments.extent))
    with writer.block(f"def {name}({arguments}):"):
        writer.docstring("The loop by its kernel where there is a GPU, else in plain PyTorch.")
        with writer.block(f"if runs_kernels({launch.arguments.starts[0]}):"):
            writer.line(f"return {kernel}({arguments})")
        writer.line(f"return {plain}({arguments})")


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
