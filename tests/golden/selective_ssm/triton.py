"""selective_ssm: Selective state space model, the S6 layer inside Mamba (Gu and Dao, 2023, algorithm 2).

E channels, each with a state of N; the step size is projected through R dimensions.

Arrays, by name:
    inputs   x [B, T, E]
    params   W_dt [R, E]; W_B, W_C [N, E]; dt_proj [E, R]; dt_bias [E]; A_log [E, N]; D [E]
    state    h [B, E, N]
    outputs  y [B, T, E]

Schedule of h: one Triton kernel over time, batch x cdiv(E, 64) programs of 1 warp.
Backward pass of h: one Triton kernel over time, batch x cdiv(E, 8) programs of 1 warp, from h kept at the
    start of about as many pieces as a piece has positions.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from std/selective_ssm by
    lsrl compile std/selective_ssm --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import sys
import warnings

import torch
import torch.nn.functional as F
import triton
import triton.language as tl

E, N, R = 96, 16, 4

INTERPRETED = os.environ.get("TRITON_INTERPRET", "0") == "1"  # kernels then run on the CPU, slowly


@functools.cache
def announce_fallback():
    warnings.warn(f"{__name__}: no GPU, so each loop runs in its plain PyTorch form, not as a kernel", stacklevel=2)


def runs_kernels(tensor):
    """Whether kernels run where the tensor is: on a GPU, or anywhere when they are interpreted."""
    if tensor.device.type == "cpu" and not INTERPRETED:
        announce_fallback()
        return False
    return True


def taken(tensors, name, shape, dtype):
    """A tensor by name; its shape is checked, since kernels read as much as they are made for."""
    tensor = tensors[name]
    if tuple(tensor.shape) != shape:
        raise ValueError(f"{name} has the shape {tuple(tensor.shape)}, and should have {shape}")
    return tensor.to(dtype)


def starting(params, state, batch, device):
    """The initial states, with those that are given in place of the program's."""
    states, given = initial_state(params, batch, device), state or {}
    if unknown := sorted(set(given) - set(states)):
        raise ValueError(f"there is no state {', '.join(unknown)}; the states are {', '.join(states)}")
    own = {name: taken(given, name, tuple(states[name].shape), states[name].dtype) for name in given}
    return states | {name: tensor.to(device) for name, tensor in own.items()}


def positions(*reads, reverse=False):
    """What is read at each position, in the order of computation."""
    steps = list(zip(*(read.unbind(1) for read in reads)))
    return steps[::-1] if reverse else steps


def over_time(steps, shape, dtype, like, reverse=False):
    """What a loop kept, [B, T, *shape], from the list in the order of computation."""
    if not steps:
        return like.new_empty((like.shape[0], 0, *shape), dtype=dtype)
    return torch.stack(steps[::-1] if reverse else steps, 1)


def register(module, name, param):
    """A parameter under its dotted name: `layers.0.Wz` becomes the parameter Wz of module.layers.0."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    module.register_parameter(last, torch.nn.Parameter(param, requires_grad=is_smooth(param)))


def uniform(shape, low, high, generator):
    """Uniform between two numbers."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


def own_namespace(wanted):
    """The namespace that is wanted, or one like it where another module of the same text has its operators there.

    Registering an operator anew would leave that other module's without what it runs.
    """
    found, number = wanted, 1
    while hasattr(getattr(torch.ops, found), "module"):
        found, number = f"{wanted}_{number}", number + 1
    torch.library.define(f"{found}::module", "() -> ()")
    return found


# Operators stay when the module goes, so the name is made from its text.
OPERATORS = own_namespace("lsrl_adf8ba0a47f3")


class Operator:
    """A function as an operator of this module, which compilers of graphs do not look into.

    It is what `torch.library.custom_op` makes, which loads PyTorch's compiler, a second's work, at the first call.
    """

    def __init__(self, function):
        self.name = f"{OPERATORS}::{function.__name__}"
        torch.library.define(self.name, torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(self.name, "default", untraced(function))
        self.call = getattr(getattr(torch.ops, OPERATORS), function.__name__).default
        functools.update_wrapper(self, function)

    def __call__(self, *given):
        return self.call(*given)

    def register_fake(self, function):
        """What it gives without being run: empty tensors."""
        torch.library.register_fake(self.name, function)

    def register_vmap(self, function):
        """How it runs on tensors of which an axis is mapped over."""
        torch.library.register_vmap(self.name, function)


def untraced(function):
    """The function as PyTorch's compiler leaves it alone, where that is loaded."""

    @functools.wraps(function)
    def run(*given):
        dynamo = sys.modules.get("torch._dynamo")
        return (dynamo.disable(function) if dynamo else function)(*given)

    return run


def saves(length, every):
    """Of how many positions the arriving states are kept: the first of every `every`; of none for 0."""
    return -(-length // every) if every else 0


def wants_gradients(*tensors):
    """Whether something is to be kept for a backward pass."""
    return torch.is_grad_enabled() and any(tensor.requires_grad for tensor in tensors)


def piece_size(length):
    """A power of two near the square root of the length, at least 16; a fixed one where any length is compiled for."""
    if torch.compiler.is_compiling():
        return 64
    return max(16, 2 ** round(math.log2(max(length, 1)) / 2))


def folded(operator, sequences):
    """The rule of `torch.vmap` for an operator on a list of tensors: what is mapped over joins the batch.

    `sequences` says which tensors have a batch in front.  Where others are mapped over, one after the other runs.
    """

    def rule(info, in_dims, tensors, *options):
        dims, size = in_dims[0], info.batch_size
        given = [x if dim is None else x.movedim(dim, 0) for x, dim in zip(tensors, dims)]
        if any(dim is not None and not own for dim, own in zip(dims, sequences)):
            each = [[x if dim is None else x[i] for x, dim in zip(given, dims)] for i in range(size)]
            found = [torch.stack(same) for same in zip(*(operator(one, *options) for one in each))]
        else:
            mapped = [dim is not None or not own for dim, own in zip(dims, sequences)]
            wide = [x if whole else x.expand(size, *x.shape) for x, whole in zip(given, mapped)]
            flat = [x.flatten(0, 1) if own else x for x, own in zip(wide, sequences)]
            found = [y.reshape(size, y.shape[0] // size, *y.shape[1:]) for y in operator(flat, *options)]
        return found, [0] * len(found)

    return rule


def separate(found, given):
    """Results of an operator, which may share memory neither with what it was given nor with each other."""
    taken = {tensor.untyped_storage().data_ptr() for tensor in given}
    results = []
    for tensor in found:
        place = tensor.untyped_storage().data_ptr()
        results.append(tensor.clone() if place in taken else tensor)
        taken.add(place)
    return results


def filled(cotangent, like, shape, dtype):
    """A cotangent, zeros where there is none."""
    return like.new_zeros(shape, dtype=dtype) if cotangent is None else cotangent


def is_smooth(tensor):
    """Whether a tensor can have gradients."""
    return tensor.is_floating_point() or tensor.is_complex()


def pulled_back(function, tensors, cotangents):
    """The cotangent of each tensor through a function, None for ints and bools, from those of its first smooth results.

    It can be differentiated once more.
    """
    smooth = [is_smooth(tensor) for tensor in tensors]

    def of_smooth(*moving):
        given = iter(moving)
        found = function(*(next(given) if own else tensor for tensor, own in zip(tensors, smooth)))
        return [result for result in found if result is not None and is_smooth(result)][: len(cotangents)]

    pull = torch.func.vjp(of_smooth, *(tensor for tensor, own in zip(tensors, smooth) if own))[1]
    found = iter(pull(list(cotangents)))
    return [next(found) if own else None for own in smooth]


def in_pieces(run, adjoint, given, counts, length, every, reverse):
    """The derivative of a loop that kept the states at the start of every `every` positions.

    It goes over these pieces from the last to the first and runs each anew.

    Args:
        run: (reads, statics, starts, length) to the arriving states of every position.
        adjoint: (reads, statics, arriving, cotangents of what is kept, of the last states) to three lists, the
            cotangents of reads, statics and starts.
        given: what is read, what stays the same, the states kept, the cotangents of what the loop keeps and of its
            last states, one after the other, as many of each as `counts` says.
    """
    groups = iter(given)
    reads, statics, firsts, seeds, lasts = ([next(groups) for _ in range(count)] for count in counts)
    starts = range(0, max(length, 1), every)
    d_reads, d_statics = [], []
    for place, start in reversed(list(enumerate(starts))):
        stop = min(start + every, length)
        here = slice(length - stop, length - start) if reverse else slice(start, stop)
        at = len(starts) - 1 - place if reverse else place
        part = [read[:, here] for read in reads]
        arriving = run(part, statics, [first[:, at] for first in firsts], stop - start) if length else firsts
        found, more, lasts = adjoint(part, statics, arriving, [seed[:, here] for seed in seeds], lasts)
        d_reads.append(found)
        d_statics.append(more)
    ordered = d_reads if reverse else d_reads[::-1]
    totals = (torch.stack(parts).sum(0) for parts in zip(*d_statics))
    return [*(torch.cat(parts, 1) for parts in zip(*ordered)), *totals, *lasts]


@triton.jit
def maximum(x, y):
    """The larger; NaN where one of them is."""
    return tl.maximum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def log1p(x):
    """log(1 + x); near 0 the series of 2 artanh(x / (2 + x)), where the sum loses digits."""
    s = x / (2 + x)
    q = s * s
    near = 2 * s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9)))))
    return tl.where(tl.abs(x) < 0.1, near, tl.log(1 + x))


@triton.jit
def softplus(x):
    """log(1 + exp(x)) without overflow."""
    return maximum(x, 0.0) + log1p(tl.exp(-tl.abs(x)))


@triton.jit(do_not_specialize=["T"])
def h_kernel(
    x,  # [B, T, E]
    dt_proj_W_dt_x,  # [B, T, E]
    W_dtBC_x,  # [B, T, 2*N + R]
    dt_bias,  # [E], the same at all positions
    D,  # [E], the same at all positions
    A,  # [E, N], the same at all positions
    h_0,  # [B, E, N], at the start
    y,  # [B, T, E], written
    h_T,  # [B, E, N], at the end, written
    h_P,  # [B, P, E, N], now and then, written
    T,
    E: tl.constexpr,
    N: tl.constexpr,
    R: tl.constexpr,
    BE: tl.constexpr,
    BN: tl.constexpr,
    EVERY: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_e = tl.program_id(1)
    o_e = i_e * BE + tl.arange(0, BE)
    m_e = o_e < E
    o_n = tl.arange(0, BN)
    m_e_n = m_e[:, None]

    b_dt_bias = tl.load(dt_bias + o_e, mask=m_e, other=0.0)  # [BE]
    b_D = tl.load(D + o_e, mask=m_e, other=0.0)  # [BE]
    b_A = tl.load(A + o_e[:, None] * N + o_n[None, :], mask=m_e_n, other=0.0)  # [BE, BN]
    b_h = tl.load(h_0 + i_b * (E * N) + o_e[:, None] * N + o_n[None, :], mask=m_e_n, other=0.0)

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_h_saved = h_P + i_b * P * (E * N) + o_e[:, None] * N + o_n[None, :]
    p_x = x + i_b * T * E + o_e
    p_dt_proj_W_dt_x = dt_proj_W_dt_x + i_b * T * E + o_e
    p_W_dtBC_x_h_next = W_dtBC_x + i_b * T * (2 * N + R) + o_n + R
    p_W_dtBC_x_y = W_dtBC_x + i_b * T * (2 * N + R) + o_n + (N + R)
    p_y = y + i_b * T * E + o_e
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_h_saved, b_h, mask=m_e_n)
                p_h_saved += E * N
        b_x = tl.load(p_x, mask=m_e, other=0.0)  # [BE]
        b_dt_proj_W_dt_x = tl.load(p_dt_proj_W_dt_x, mask=m_e, other=0.0)  # [BE]
        b_W_dtBC_x_h_next = tl.load(p_W_dtBC_x_h_next)  # [BN]
        b_W_dtBC_x_y = tl.load(p_W_dtBC_x_y)  # [BN]
        # std/selective_ssm.lsrl:16  dt = softplus(dt_proj @ (W_dt @ x) + dt_bias)
        b_dt = softplus(b_dt_proj_W_dt_x + b_dt_bias)
        # std/selective_ssm.lsrl:18  h' = exp(diag(dt) @ A) * h + outer(dt * x, W_B @ x)
        b_h_next = tl.exp(b_dt[:, None] * b_A) * b_h + (b_dt * b_x)[:, None] * b_W_dtBC_x_h_next[None, :]
        # std/selective_ssm.lsrl:20  output y = h' @ (W_C @ x) + D * x
        b_y = tl.sum(b_h_next * b_W_dtBC_x_y[None, :], axis=1) + b_D * b_x
        tl.store(p_y, b_y, mask=m_e)
        b_h = b_h_next
        p_x += E
        p_dt_proj_W_dt_x += E
        p_W_dtBC_x_h_next += 2 * N + R
        p_W_dtBC_x_y += 2 * N + R
        p_y += E
    tl.store(h_T + i_b * (E * N) + o_e[:, None] * N + o_n[None, :], b_h, mask=m_e_n)


h_constants = {"E": E, "N": N, "R": R, "BE": 64, "BN": 16, "num_warps": 1}


def h_launch(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h, every=0):
    """Run `h_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = x.shape[:2]
    y = h.new_empty((batch, length, E), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    h_P = h.new_empty((batch, saves(length, every), E, N), dtype=torch.float32)
    grid = (batch, triton.cdiv(E, 64))
    with torch.cuda.device_of(h):
        h_kernel[grid](
            x.contiguous(),
            dt_proj_W_dt_x.contiguous(),
            W_dtBC_x.contiguous(),
            dt_bias.contiguous(),
            D.contiguous(),
            A.contiguous(),
            h.contiguous(),
            y,
            h_T,
            h_P,
            length,
            EVERY=every,
            **h_constants,
        )
    return y, h_T, h_P


@Operator
def h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_kernels(tensors[0]):
        return list(h_launch(*tensors, every))
    return separate(h_plain(*tensors, every), tensors)


@h_operator.register_fake
def _(tensors, length, every):
    h = tensors[-1]
    batch = h.shape[0]
    return [
        h.new_empty((batch, length, E), dtype=torch.float32),
        torch.empty_like(h, memory_format=torch.contiguous_format),
        h.new_empty((batch, saves(length, every), E, N), dtype=torch.float32),
    ]


h_operator.register_vmap(folded(h_operator, (True, True, True, False, False, False, True)))


def h_loop(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = piece_size(x.shape[1]) if wants_gradients(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h) else 0
    return HLoop.apply(x.shape[1], every, x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h)[:2]


def h_plain(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h, every=0):
    """h over time in plain PyTorch: y of every position, then the last states, then the arriving states of
    positions `every` apart.
    """
    all_y = []
    h_saved = []
    for at, (x, dt_proj_W_dt_x, W_dtBC_x) in enumerate(positions(x, dt_proj_W_dt_x, W_dtBC_x)):
        if every and at % every == 0:
            h_saved.append(h)
        # std/selective_ssm.lsrl:16  dt = softplus(dt_proj @ (W_dt @ x) + dt_bias)
        dt = -F.logsigmoid(-(dt_proj_W_dt_x + dt_bias))
        # std/selective_ssm.lsrl:18  h' = exp(diag(dt) @ A) * h + outer(dt * x, W_B @ x)
        h_next = (
            torch.exp(dt[..., None] * A) * h
            + (dt * x)[..., None] * W_dtBC_x[..., R : N + R][..., None, :]
        )
        # std/selective_ssm.lsrl:20  output y = h' @ (W_C @ x) + D * x
        y = torch.einsum("ben,bn->be", h_next, W_dtBC_x[..., N + R :]) + D * x
        all_y.append(y)
        h = h_next
    return over_time(all_y, (E,), torch.float32, h), h, over_time(h_saved, (E, N), torch.float32, h)


@triton.jit(do_not_specialize=["T"])
def d_h_kernel(
    dt_proj_W_dt_x,  # [B, T, E]
    W_dtBC_x,  # [B, T, 2*N + R]
    d_y,  # [B, T, E]
    dt_bias,  # [E], the same at all positions
    A,  # [E, N], the same at all positions
    d_h_0,  # [B, E, N], at the start
    d_x_sum,  # [B, T, E, N], written
    d_h_T,  # [B, E, N], at the end, written
    T,
    E: tl.constexpr,
    N: tl.constexpr,
    R: tl.constexpr,
    BE: tl.constexpr,
    BN: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_e = tl.program_id(1)
    o_e = i_e * BE + tl.arange(0, BE)
    o_n = tl.arange(0, BN)

    b_dt_bias = tl.load(dt_bias + o_e)  # [BE]
    b_A = tl.load(A + o_e[:, None] * N + o_n[None, :])  # [BE, BN]
    b_d_h = tl.load(d_h_0 + i_b * (E * N) + o_e[:, None] * N + o_n[None, :])  # [BE, BN]

    p_dt_proj_W_dt_x = dt_proj_W_dt_x + (i_b * T + T - 1) * E + o_e
    p_W_dtBC_x_d_h_next = W_dtBC_x + (i_b * T + T - 1) * (2 * N + R) + o_n + (N + R)
    p_d_y = d_y + (i_b * T + T - 1) * E + o_e
    p_d_x_sum = d_x_sum + (i_b * T + T - 1) * (E * N) + o_e[:, None] * N + o_n[None, :]
    for _ in range(T):
        b_dt_proj_W_dt_x = tl.load(p_dt_proj_W_dt_x)  # [BE]
        b_W_dtBC_x_d_h_next = tl.load(p_W_dtBC_x_d_h_next)  # [BN]
        b_d_y = tl.load(p_d_y)  # [BE]
        # std/selective_ssm.lsrl:16  dt = softplus(dt_proj @ (W_dt @ x) + dt_bias)
        b_dt = softplus(b_dt_proj_W_dt_x + b_dt_bias)
        b_d_x_sum = b_d_h + b_d_y[:, None] * b_W_dtBC_x_d_h_next[None, :]
        b_d_h_next = tl.exp(b_dt[:, None] * b_A) * b_d_x_sum
        tl.store(p_d_x_sum, b_d_x_sum)
        b_d_h = b_d_h_next
        p_dt_proj_W_dt_x -= E
        p_W_dtBC_x_d_h_next -= 2 * N + R
        p_d_y -= E
        p_d_x_sum -= E * N
    tl.store(d_h_T + i_b * (E * N) + o_e[:, None] * N + o_n[None, :], b_d_h)


d_h_constants = {"E": E, "N": N, "R": R, "BE": 8, "BN": 16, "num_warps": 1}


def d_h_launch(dt_proj_W_dt_x, W_dtBC_x, d_y, dt_bias, A, d_h):
    """Run `d_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = dt_proj_W_dt_x.shape[:2]
    d_x_sum = d_h.new_empty((batch, length, E, N), dtype=torch.float32)
    d_h_T = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    grid = (batch, triton.cdiv(E, 8))
    with torch.cuda.device_of(d_h):
        d_h_kernel[grid](
            dt_proj_W_dt_x.contiguous(),
            W_dtBC_x.contiguous(),
            d_y.contiguous(),
            dt_bias.contiguous(),
            A.contiguous(),
            d_h.contiguous(),
            d_x_sum,
            d_h_T,
            length,
            **d_h_constants,
        )
    return d_x_sum, d_h_T


@Operator
def d_h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_h_launch(*tensors))
    return separate(d_h_plain(*tensors), tensors)


@d_h_operator.register_fake
def _(tensors, length, every):
    d_h = tensors[-1]
    batch = d_h.shape[0]
    return [
        d_h.new_empty((batch, length, E, N), dtype=torch.float32),
        torch.empty_like(d_h, memory_format=torch.contiguous_format),
    ]


d_h_operator.register_vmap(folded(d_h_operator, (True, True, True, False, False, True)))


def d_h_loop(dt_proj_W_dt_x, W_dtBC_x, d_y, dt_bias, A, d_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_h_operator([dt_proj_W_dt_x, W_dtBC_x, d_y, dt_bias, A, d_h], dt_proj_W_dt_x.shape[1], 0)


def d_h_plain(dt_proj_W_dt_x, W_dtBC_x, d_y, dt_bias, A, d_h):
    """d_h over time in plain PyTorch, from the end to the start: d_x_sum of every position, then the last
    states.
    """
    all_d_x_sum = []
    for dt_proj_W_dt_x, W_dtBC_x, d_y in positions(dt_proj_W_dt_x, W_dtBC_x, d_y, reverse=True):
        # std/selective_ssm.lsrl:16  dt = softplus(dt_proj @ (W_dt @ x) + dt_bias)
        dt = -F.logsigmoid(-(dt_proj_W_dt_x + dt_bias))
        d_x_sum = d_h + d_y[..., None] * W_dtBC_x[..., N + R :][..., None, :]
        d_h_next = torch.exp(dt[..., None] * A) * d_x_sum
        all_d_x_sum.append(d_x_sum)
        d_h = d_h_next
    return over_time(all_d_x_sum, (E, N), torch.float32, d_h, reverse=True), d_h


def h_adjoint(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h, d_y, d_h_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""
    batch = x.shape[0]
    length = x.shape[1]
    device = x.device

    d_x_sum, d_h_last_2 = d_h_loop(dt_proj_W_dt_x, W_dtBC_x, d_y, dt_bias, A, d_h_last)

    # std/selective_ssm.lsrl:16  dt = softplus(dt_proj @ (W_dt @ x) + dt_bias)
    dt_proj_W_dt_x_plus_dt_bias = dt_proj_W_dt_x + dt_bias
    dt = -F.logsigmoid(-dt_proj_W_dt_x_plus_dt_bias)
    # std/selective_ssm.lsrl:18  h' = exp(diag(dt) @ A) * h + outer(dt * x, W_B @ x)
    W_dtBC_x_part = W_dtBC_x[..., R : N + R]  # [B, T, N]
    d_x_sum_W_dtBC_x_part = torch.einsum("bten,btn->bte", d_x_sum, W_dtBC_x_part)  # [B, T, E]
    d_x = D * d_y + dt * d_x_sum_W_dtBC_x_part
    exp_dt_A = torch.exp(dt[..., None] * A)
    d_A_factor1 = d_x_sum * h * exp_dt_A
    d_dt_proj_W_dt_x = (
        (d_x_sum_W_dtBC_x_part * x + torch.einsum("bten,en->bte", d_A_factor1, A))
        * torch.sigmoid(dt_proj_W_dt_x_plus_dt_bias)
    )
    dt_x = dt * x
    h_next = exp_dt_A * h + dt_x[..., None] * W_dtBC_x_part[..., None, :]
    d_W_dtBC_x = torch.cat(
        [
            torch.zeros((R,), dtype=torch.float32, device=device).expand((batch, length, R)),
            torch.einsum("bte,bten->btn", dt_x, d_x_sum),
            torch.einsum("bten,bte->btn", h_next, d_y),
        ],
        -1,
    )
    d_D = d_y * x
    d_dt_proj_W_dt_x_sum = d_dt_proj_W_dt_x.sum((0, 1))
    dt_d_A_factor1_sum = torch.einsum("bte,bten->en", dt, d_A_factor1)
    d_D_sum = d_D.sum((0, 1))

    return d_x, d_dt_proj_W_dt_x, d_W_dtBC_x, d_dt_proj_W_dt_x_sum, d_D_sum, dt_d_A_factor1_sum, d_h_last_2


@Operator
def h_pieces(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """The derivative of the loop, from the states that it kept at the start of each piece."""

    def run(reads, statics, starts, length):
        return h_operator([*reads, *statics, *starts], length, 1)[2:]

    def adjoint(reads, statics, arriving, seeds, lasts):
        found = h_adjoint(*reads, *statics, arriving[0], *seeds, *lasts)
        return found[:3], found[3:6], found[6:]

    found = in_pieces(run, adjoint, tensors, (3, 3, 1, 1, 1), length, every, False)
    return separate(found, tensors)


@h_pieces.register_fake
def _(tensors, length, every):
    return [
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (
            tensors[0],
            tensors[1],
            tensors[2],
            tensors[3],
            tensors[4],
            tensors[5],
            *tensors[-1:],
        )
    ]


h_pieces.register_vmap(folded(h_pieces, (False, False, False, False, False, False, False, False, False)))


class HDerivative(torch.autograd.Function):
    """`h_pieces`, whose own derivative goes through `h_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h, h_saved, d_y, d_h_last):
        if not every:
            every = piece_size(length)
            *_, h_saved = h_operator([x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h], length, every)
        return tuple(
            h_pieces([x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h_saved, d_y, d_h_last], length, every)
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:7], *tensors[8:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(h_plain, tensors[:7], tensors[7:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:7], None, *found[7:]


class HLoop(torch.autograd.Function):
    """`h_operator`, whose derivative is `HDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h):
        return tuple(h_operator([x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        h = tensors[6]
        batch, length = h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], h, (batch, length, E), torch.float32),
            filled(cotangents[1], h, h.shape, h.dtype),
        ]
        return None, None, *HDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "W_dt": uniform((R, E), -1 / math.sqrt(E), 1 / math.sqrt(E), generator),
        "W_B": uniform((N, E), -1 / math.sqrt(E), 1 / math.sqrt(E), generator),
        "W_C": uniform((N, E), -1 / math.sqrt(E), 1 / math.sqrt(E), generator),
        "dt_proj": uniform((E, R), -1 / math.sqrt(R), 1 / math.sqrt(R), generator),
        "dt_bias": uniform((E,), -4, -2, generator),
        "A_log": uniform((E, N), 0, 2, generator),
        "D": torch.ones((E,), dtype=torch.float32, device=device),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"h": torch.zeros((batch, E, N), dtype=torch.float32, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    W_dt = taken(params, "W_dt", (R, E), torch.float32)
    W_B = taken(params, "W_B", (N, E), torch.float32)
    W_C = taken(params, "W_C", (N, E), torch.float32)
    dt_proj = taken(params, "dt_proj", (E, R), torch.float32)
    dt_bias = taken(params, "dt_bias", (E,), torch.float32)
    A_log = taken(params, "A_log", (E, N), torch.float32)
    D = taken(params, "D", (E,), torch.float32)
    x = taken(inputs, "x", (batch, length, E), torch.float32)
    state = starting(params, state, batch, device)

    # std/selective_ssm.lsrl:16  dt = softplus(dt_proj @ (W_dt @ x) + dt_bias)
    W_dtBC_x = x @ torch.cat([W_dt, W_B, W_C]).mT  # [B, T, 2*N + R]
    dt_proj_W_dt_x = W_dtBC_x[..., :R] @ dt_proj.mT  # [B, T, E]

    # std/selective_ssm.lsrl:17  A = -exp(A_log)
    A = -torch.exp(A_log)
    y, h_last = h_loop(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, state["h"])

    return {"y": y}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class SelectiveSsm(torch.nn.Module):
    """`apply` and `step` with parameters of their own."""

    def __init__(self, seed=0, device=None):
        super().__init__()
        for name, param in init(seed, device).items():
            register(self, name, param)

    def forward(self, inputs, state=None, **options):
        return apply(dict(self.named_parameters()), inputs, state, **options)

    def step(self, inputs, state=None, **options):
        return step(dict(self.named_parameters()), inputs, state, **options)


SCHEDULE = {
    "h": "one Triton kernel over time, batch x cdiv(E, 64) programs of 1 warp",
}
KERNELS = (
    (
        h_kernel,
        {
            "x": "*fp32",
            "dt_proj_W_dt_x": "*fp32",
            "W_dtBC_x": "*fp32",
            "dt_bias": "*fp32",
            "D": "*fp32",
            "A": "*fp32",
            "h_0": "*fp32",
            "y": "*fp32",
            "h_T": "*fp32",
            "h_P": "*fp32",
            "T": "i32",
        },
        h_constants | {"EVERY": 1},
    ),
    (
        d_h_kernel,
        {
            "dt_proj_W_dt_x": "*fp32",
            "W_dtBC_x": "*fp32",
            "d_y": "*fp32",
            "dt_bias": "*fp32",
            "A": "*fp32",
            "d_h_0": "*fp32",
            "d_x_sum": "*fp32",
            "d_h_T": "*fp32",
            "T": "i32",
        },
        d_h_constants,
    ),
)
