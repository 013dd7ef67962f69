"""Products of whole sequences with matrices, in C: `sequence_product` and `position_sum`.

The products of PyTorch's libraries reach half of this or less where those libraries do not know the processor.
"""

import torch

from lsrl.backends.native.texts import C_FUNCTIONS, MATRIX_PRODUCT
from lsrl.backends.runtime.native_library import library, run_native, runs_native
from lsrl.backends.runtime.torch_operators import Operator

LEAST_PRODUCT = 2**20  # multiplications; fewer are done before an operator is called


@Operator
def sequence_matrix_product(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    """x [rows, inner] @ matrix [inner, outer]; either may lie in memory in any way."""
    found = x.new_empty(x.shape[0], matrix.shape[1])
    numbers = [*x.shape, matrix.shape[1], *x.stride(), *matrix.stride(), torch.get_num_threads()]
    run_native(library(C_FUNCTIONS + MATRIX_PRODUCT).matrix_product, [x, matrix, found], numbers)
    return found


@sequence_matrix_product.register_fake
def _(x, matrix):
    return x.new_empty(x.shape[0], matrix.shape[1])


@sequence_matrix_product.register_vmap
def _(info, in_dims, x, matrix):
    size, pairs = info.batch_size, zip((x, matrix), in_dims)
    given = [tensor.expand(size, *tensor.shape) if dim is None else tensor.movedim(dim, 0) for tensor, dim in pairs]
    return torch.stack([sequence_matrix_product(own, other) for own, other in zip(*given)]), 0


class MatrixProduct(torch.autograd.Function):
    """`sequence_matrix_product`, whose derivatives are such products."""

    generate_vmap_rule = True

    @staticmethod
    def forward(x, matrix):
        return sequence_matrix_product(x, matrix)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)

    @staticmethod
    def backward(ctx, cotangent):
        x, matrix = ctx.saved_tensors
        wanted = ctx.needs_input_grad
        by_x = MatrixProduct.apply(cotangent, matrix.mT) if wanted[0] else None
        return by_x, position_sum(x, cotangent) if wanted[1] else None


def sequence_product(x, matrix):
    """x [..., inner] @ matrix [inner, outer]."""
    if not is_large_product(x, matrix.shape[-1]):
        return x @ matrix
    return MatrixProduct.apply(x.reshape(-1, x.shape[-1]), matrix).reshape(*x.shape[:-1], matrix.shape[-1])


def position_sum(x, y):
    """Sums over all positions of x [..., i] and y [..., j]: [i, j]."""
    rows, others = x.reshape(-1, x.shape[-1]), y.reshape(-1, y.shape[-1])
    if not is_large_product(x, y.shape[-1]):
        return rows.mT @ others
    if x.shape[-1] > y.shape[-1]:  # the left factor is turned on the way
        return MatrixProduct.apply(others.mT, rows).mT
    return MatrixProduct.apply(rows.mT, others)


def is_large_product(x, others):
    """Whether a product of all numbers of x with so many others is computed in C.

    Compilers of graphs bring products of their own.
    """
    if torch.compiler.is_compiling() or x.numel() * others < LEAST_PRODUCT:
        return False
    return runs_native(x)
