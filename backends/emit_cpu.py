"""A plan as a PyTorch module whose loops are C: text that imports torch and nothing of ours, and carries its C along.

It is the module that `emit_triton` writes but for its kernels: what depends on no state is computed for all positions
at once by PyTorch, and each recurrence is one C function, which the system's compiler makes at first use.
"""

from __future__ import annotations

from lsrl.backends.emit_triton import Target, emit_torch
from lsrl.backends.native.c_text import matrix_product, needed
from lsrl.backends.native.launch import NativeLoops
from lsrl.backends.native.texts import C_FUNCTIONS, MATRIX_PRODUCT
from lsrl.backends.torch_loops import LoopKernels
from lsrl.ir.plan import Plan

REALS = {"float32": "float", "float64": "double", "bfloat16": "float", "float16": "float"}


def emit_cpu(
    plan: Plan, dtype: str = "float32", source_name: str = "", command: str = "", *, gradients: bool = True
) -> str:
    """The text of a module that runs a plan on a CPU; arguments, functions and errors are those of `emit_triton`.

    Its C is compiled at first use by the system's compiler (`CC`, cc, gcc or clang) and kept on disk, by its text and
    the machine.  Where there is no compiler loops run in plain PyTorch, and say so.  With 16 bits loops read, compute
    and keep 32, and what they keep is rounded behind them.
    """
    loops = NativeLoops()

    def carried(text: str) -> str:
        products = matrix_product() if MATRIX_PRODUCT in text else ""
        codes = [*loops.texts, *([products] if products else [])]
        parts = {C_FUNCTIONS: needed("\n".join(codes), REALS[dtype]) if codes else "", MATRIX_PRODUCT: products}
        return "\n\n\n".join(f'{name} = r"""\n{code}"""' for name, code in parts.items() if code)

    kernels = LoopKernels(loops, saved_inside=True)
    target = Target(kernels, "torch and, to be fast, a C compiler", native=True, carried=carried)
    return emit_torch(plan, target, dtype, source_name, command, gradients=gradients)
