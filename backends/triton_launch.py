"""Around a kernel: its launch, its place in autograd, and what it needs to be compiled ahead of time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from lsrl.backends.expressions import shape_code
from lsrl.backends.loop_cell import LoopCell
from lsrl.backends.torch_loop import LoopNames
from lsrl.backends.torch_place import Types
from lsrl.backends.triton_kernel import Kernel
from lsrl.backends.triton_memory import Role, Tensor
from lsrl.backends.writer import Writer
from lsrl.ir.value import Kind


@dataclass(frozen=True, slots=True)
class LoopFunctions:
    """The names of what a module defines for one loop."""

    run: str
    plain: str
    kernel: str
    launch: str
    constants: str
    autograd: str


def write_launch(
    functions: LoopFunctions,
    kernel: Kernel,
    loop: LoopCell,
    names: LoopNames,
    sizes: Mapping[str, str],
    types: Types,
    gradients: bool,
    writer: Writer,
) -> None:
    """The constants of a kernel, its launch, its `torch.autograd.Function`, and the function that chooses.

    Args:
        names: of the arguments of the loop's plain form; all functions share them.
        sizes: the identifier of every size.
        gradients: whether there is a backward pass.
    """
    constants = [f'"{size}": {size}' for size in kernel.sizes]
    constants += [f'"{block}": {number}' for block, number in kernel.blocks.items()]
    constants += [f'"{kernel.dots}": DOT_TYPE'] if kernel.dots else []
    constants.append(f'"num_warps": {kernel.warps}')
    writer.line(f"{functions.constants} = {{{', '.join(constants)}}}")
    writer.blank(2)
    _write_launch_function(functions, kernel, loop, names, sizes, types, writer)
    if gradients:
        writer.blank(2)
        _write_autograd(functions, names, writer)
    writer.blank(2)
    arguments = ", ".join((*names.tensors, *names.extent))
    with writer.block(f"def {functions.run}({arguments}):"):
        writer.docstring("The loop as a kernel where there is a GPU, else in plain PyTorch.")
        with writer.block(f"if runs_kernels({names.starts[0]}):"):
            run = f"{functions.autograd}.apply" if gradients else functions.launch
            writer.line(f"return {run}({arguments})")
        writer.line(f"return {functions.plain}({arguments})")


def _write_launch_function(
    functions: LoopFunctions,
    kernel: Kernel,
    loop: LoopCell,
    names: LoopNames,
    sizes: Mapping[str, str],
    types: Types,
    writer: Writer,
) -> None:
    arguments = ", ".join((*names.tensors, *names.extent))
    given = dict(zip(_declared(loop), names.tensors, strict=True))
    with writer.block(f"def {functions.launch}({arguments}):"):
        writer.docstring(f"Run `{kernel.name}`: what it keeps of every position, then the last states.")
        if names.reads:
            writer.line(f"batch, length = {names.reads[0]}.shape[:2]")
        else:
            writer.line(f"batch = {names.starts[0]}.shape[0]")
        results: list[str] = []
        taken = {*names.tensors}
        passed: list[str] = []
        for tensor in kernel.tensors:
            if tensor.role in (Role.KEPT, Role.END):
                result = tensor.name if tensor.name not in taken else f"{tensor.name}_"
                taken.add(result)
                results.append(result)
                writer.line(f"{result} = {_empty(tensor, given, names, sizes, types)}")
                passed.append(_passed(tensor, result))
            else:
                resolved = ".resolve_conj()" if tensor.kind is Kind.COMPLEX else ""
                passed.append(_passed(tensor, f"{given[_key(tensor)]}{resolved}.contiguous()"))
        passed.append("length")
        passed += ["batch"] if kernel.batch else []
        writer.line(f"grid = ({', '.join(kernel.grid)}{',' if len(kernel.grid) == 1 else ''})")
        with writer.block(f"with torch.cuda.device_of({names.starts[0]}):"):
            writer.line(f"{kernel.name}[grid]({', '.join([*passed, f'**{functions.constants}'])})")
        writer.line(f"return {', '.join(results)}{',' if len(results) == 1 else ''}")


def _declared(loop: LoopCell) -> list[tuple[Role, str]]:
    cell = loop.cell
    return [
        *((Role.READ, declared.name) for declared in cell.inputs),
        *((Role.STATIC, param.name) for param in cell.params),
        *((Role.START, state.name) for state in cell.states),
    ]


def _key(tensor: Tensor) -> tuple[Role, str]:
    return (Role.START if tensor.role is Role.END else tensor.role, tensor.of)


def _empty(
    tensor: Tensor, given: Mapping[tuple[Role, str], str], names: LoopNames, sizes: Mapping[str, str], types: Types
) -> str:
    """A tensor to write to."""
    if tensor.role is Role.END:
        return f"torch.empty_like({given[_key(tensor)]}, memory_format=torch.contiguous_format)"
    type_ = types.data if tensor.narrow else types.of(tensor.kind)
    shape = shape_code(tensor.shape, sizes, ("batch", "length"))
    return f"{names.starts[0]}.new_empty({shape}, dtype={type_})"


def _passed(tensor: Tensor, code: str) -> str:
    """Kernels read complex numbers as pairs of real ones."""
    return f"torch.view_as_real({code})" if tensor.kind is Kind.COMPLEX else code


def _write_autograd(functions: LoopFunctions, names: LoopNames, writer: Writer) -> None:
    with writer.block(f"class {functions.autograd}(torch.autograd.Function):"):
        writer.docstring(f"`{functions.launch}` forward; backward through `{functions.plain}`.")
        writer.blank()
        writer.line("@staticmethod")
        with writer.block("def forward(*arguments):"):
            writer.line(f"return {functions.launch}(*arguments)")
        writer.blank()
        writer.line("@staticmethod")
        with writer.block("def setup_context(ctx, inputs, output):"):
            if names.extent:
                writer.line("*tensors, ctx.length = inputs")
            writer.line(f"ctx.save_for_backward(*{'tensors' if names.extent else 'inputs'})")
            writer.line("ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))")
        writer.blank()
        writer.line("@staticmethod")
        with writer.block("def backward(ctx, *gradients):"):
            if names.extent:
                writer.line(f"plain = functools.partial({functions.plain}, length=ctx.length)")
                writer.line("found = pulled_back(plain, ctx.saved_tensors, ctx.needs_input_grad, gradients)")
                writer.line("return *found, None")
            else:
                call = f"pulled_back({functions.plain}, ctx.saved_tensors, ctx.needs_input_grad, gradients)"
                writer.line(f"return tuple({call})")


def signature(kernel: Kernel, types: Types) -> str:
    """What each argument of the kernel is, in Triton's words."""
    narrow, wide = types.pointer
    of_kind = {Kind.INT: "i64", Kind.BOOL: "i1"}
    stored = {t.name: of_kind.get(t.kind, narrow if t.narrow else wide) for t in kernel.tensors}
    parts = [f'"{name}": "*{type_}"' for name, type_ in stored.items()]
    parts += [f'"{name}": "i32"' for name in (kernel.length, kernel.batch) if name]
    return f"{{{', '.join(parts)}}}"


def stated(kernel: Kernel) -> str:
    """The kernel in words."""
    grid = " x ".join(part.replace("triton.", "") for part in kernel.grid)
    warps = "1 warp" if kernel.warps == 1 else f"{kernel.warps} warps"
    return f"one Triton kernel over time, {grid} programs of {warps}"
