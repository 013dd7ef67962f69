"""mlstm: Matrix LSTM of xLSTM (Beck et al., 2024, equations 19 to 27), with the running maximum that keeps it
finite.

Keys are scaled by the caller or here, not in both places: the cell takes them as they enter the memory.

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; i, f [B, T, N]
    state    C [B, N, K, V]; n [B, N, K]; m [B, N]
    outputs  h [B, T, N, V]

Schedule of C, n, m: one Triton kernel over time, batch x N x cdiv(V, 8) programs of 1 warp.
Backward pass of C, n, m: one Triton kernel over time, batch x N programs of 4 warps, from C, n, m kept at
    the start of about as many pieces as a piece has positions.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from std/mlstm by
    lsrl compile std/mlstm --target triton
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

N, K, V = 4, 64, 64

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
OPERATORS = own_namespace("lsrl_6dd8e8169abb")


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
def minimum(x, y):
    """The smaller; NaN where one of them is."""
    return tl.minimum(x, y, propagate_nan=tl.PropagateNan.ALL)


@triton.jit
def log1p(x):
    """log(1 + x); near 0 the series of 2 artanh(x / (2 + x)), where the sum loses digits."""
    s = x / (2 + x)
    q = s * s
    near = 2 * s * (1 + q * (1 / 3 + q * (1 / 5 + q * (1 / 7 + q * (1 / 9)))))
    return tl.where(tl.abs(x) < 0.1, near, tl.log(1 + x))


@triton.jit
def logsigmoid(x):
    """-log(1 + exp(-x)) without overflow."""
    return minimum(x, 0.0) - log1p(tl.exp(-tl.abs(x)))


@triton.jit
def sign(x):
    """-1, 0 or 1; x itself where it is 0 or NaN."""
    return tl.where(x > 0, 1, tl.where(x < 0, -1, x))


@triton.jit(do_not_specialize=["T"])
def C_n_m_kernel(
    q,  # [B, T, N, K]
    k,  # [B, T, N, K]
    v,  # [B, T, N, V]
    i,  # [B, T, N]
    f,  # [B, T, N]
    C_0,  # [B, N, K, V], at the start
    n_0,  # [B, N, K], at the start
    m_0,  # [B, N], at the start
    h,  # [B, T, N, V], written
    C_T,  # [B, N, K, V], at the end, written
    n_T,  # [B, N, K], at the end, written
    m_T,  # [B, N], at the end, written
    C_P,  # [B, P, N, K, V], now and then, written
    n_P,  # [B, P, N, K], now and then, written
    m_P,  # [B, P, N], now and then, written
    T,
    N: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
    EVERY: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_n = tl.program_id(1)
    i_v = tl.program_id(2)
    o_k = tl.arange(0, BK)
    o_v = i_v * BV + tl.arange(0, BV)

    b_C = tl.load(C_0 + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :])  # [BK, BV]
    b_n = tl.load(n_0 + i_b * (K * N) + i_n * K + o_k)  # [BK]
    b_m = tl.load(m_0 + i_b * N + i_n)

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_C_saved = C_P + i_b * P * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :]
        p_n_saved = n_P + i_b * P * (K * N) + i_n * K + o_k
        p_m_saved = m_P + i_b * P * N + i_n
    p_q = q + i_b * T * (K * N) + i_n * K + o_k
    p_k = k + i_b * T * (K * N) + i_n * K + o_k
    p_v = v + i_b * T * (N * V) + i_n * V + o_v
    p_i = i + i_b * T * N + i_n
    p_f = f + i_b * T * N + i_n
    p_h = h + i_b * T * (N * V) + i_n * V + o_v
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_C_saved, b_C)
                p_C_saved += K * N * V
                tl.store(p_n_saved, b_n, mask=i_v == 0)
                p_n_saved += K * N
                tl.store(p_m_saved, b_m, mask=i_v == 0)
                p_m_saved += N
        b_q = tl.load(p_q)  # [BK]
        b_k = tl.load(p_k)  # [BK]
        b_v = tl.load(p_v)  # [BV]
        b_i = tl.load(p_i)
        b_f = tl.load(p_f)
        # std/mlstm.lsrl:10  lf = logsigmoid(f)
        b_lf = logsigmoid(b_f)
        # std/mlstm.lsrl:11  m' = max(lf + m, i)
        b_lf_plus_m = b_lf + b_m
        b_m_next = maximum(b_lf_plus_m, b_i)
        # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
        b_exp_lf_plus_m_minus_m_next = tl.exp(b_lf_plus_m - b_m_next)
        b_exp_i_minus_m_next = tl.exp(b_i - b_m_next)
        b_C_next = b_exp_lf_plus_m_minus_m_next * b_C + b_exp_i_minus_m_next * (b_k[:, None] * b_v[None, :])
        # std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
        b_n_next = b_exp_lf_plus_m_minus_m_next * b_n + b_exp_i_minus_m_next * b_k
        # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
        b_h = (
            tl.sum(b_q[:, None] * b_C_next, axis=0)
            / maximum(tl.abs(tl.sum(b_q * b_n_next, axis=0)), tl.exp(-b_m_next))
        )
        tl.store(p_h, b_h)
        b_C, b_n, b_m = b_C_next, b_n_next, b_m_next
        p_q += K * N
        p_k += K * N
        p_v += N * V
        p_i += N
        p_f += N
        p_h += N * V
    tl.store(C_T + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :], b_C)
    tl.store(n_T + i_b * (K * N) + i_n * K + o_k, b_n, mask=i_v == 0)
    tl.store(m_T + i_b * N + i_n, b_m, mask=i_v == 0)


C_n_m_constants = {"N": N, "K": K, "V": V, "BK": 64, "BV": 8, "num_warps": 1}


def C_n_m_launch(q, k, v, i, f, C, n, m, every=0):
    """Run `C_n_m_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = q.shape[:2]
    h = C.new_empty((batch, length, N, V), dtype=torch.float32)
    C_T = torch.empty_like(C, memory_format=torch.contiguous_format)
    n_T = torch.empty_like(n, memory_format=torch.contiguous_format)
    m_T = torch.empty_like(m, memory_format=torch.contiguous_format)
    C_P = C.new_empty((batch, saves(length, every), N, K, V), dtype=torch.float32)
    n_P = C.new_empty((batch, saves(length, every), N, K), dtype=torch.float32)
    m_P = C.new_empty((batch, saves(length, every), N), dtype=torch.float32)
    grid = (batch, N, triton.cdiv(V, 8))
    with torch.cuda.device_of(C):
        C_n_m_kernel[grid](
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            i.contiguous(),
            f.contiguous(),
            C.contiguous(),
            n.contiguous(),
            m.contiguous(),
            h,
            C_T,
            n_T,
            m_T,
            C_P,
            n_P,
            m_P,
            length,
            EVERY=every,
            **C_n_m_constants,
        )
    return h, C_T, n_T, m_T, C_P, n_P, m_P


@Operator
def C_n_m_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_kernels(tensors[0]):
        return list(C_n_m_launch(*tensors, every))
    return separate(C_n_m_plain(*tensors, every), tensors)


@C_n_m_operator.register_fake
def _(tensors, length, every):
    C, n, m = tensors[-3:]
    batch = C.shape[0]
    return [
        C.new_empty((batch, length, N, V), dtype=torch.float32),
        torch.empty_like(C, memory_format=torch.contiguous_format),
        torch.empty_like(n, memory_format=torch.contiguous_format),
        torch.empty_like(m, memory_format=torch.contiguous_format),
        C.new_empty((batch, saves(length, every), N, K, V), dtype=torch.float32),
        C.new_empty((batch, saves(length, every), N, K), dtype=torch.float32),
        C.new_empty((batch, saves(length, every), N), dtype=torch.float32),
    ]


C_n_m_operator.register_vmap(folded(C_n_m_operator, (True, True, True, True, True, True, True, True)))


def C_n_m_loop(q, k, v, i, f, C, n, m):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = piece_size(q.shape[1]) if wants_gradients(q, k, v, i, f, C, n, m) else 0
    return CNMLoop.apply(q.shape[1], every, q, k, v, i, f, C, n, m)[:4]


def C_n_m_plain(q, k, v, i, f, C, n, m, every=0):
    """C, n, m over time in plain PyTorch: h of every position, then the last states, then the arriving
    states of positions `every` apart.
    """
    all_h = []
    C_saved = []
    n_saved = []
    m_saved = []
    for at, (q, k, v, i, f) in enumerate(positions(q, k, v, i, f)):
        if every and at % every == 0:
            C_saved.append(C)
            n_saved.append(n)
            m_saved.append(m)
        # std/mlstm.lsrl:10  lf = logsigmoid(f)
        lf = F.logsigmoid(f)
        # std/mlstm.lsrl:11  m' = max(lf + m, i)
        lf_plus_m = lf + m
        m_next = torch.maximum(lf_plus_m, i)
        # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
        exp_lf_plus_m_minus_m_next = torch.exp(lf_plus_m - m_next)
        exp_i_minus_m_next = torch.exp(i - m_next)
        C_next = (
            exp_lf_plus_m_minus_m_next[..., None, None] * C
            + exp_i_minus_m_next[..., None, None] * (k[..., None] * v[..., None, :])
        )
        # std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
        n_next = exp_lf_plus_m_minus_m_next[..., None] * n + exp_i_minus_m_next[..., None] * k
        # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
        h_max = torch.maximum(torch.abs(torch.einsum("bnk,bnk->bn", q, n_next)), torch.exp(-m_next))
        h = torch.einsum("bnk,bnkv->bnv", q, C_next) / h_max[..., None]
        all_h.append(h)
        C, n, m = C_next, n_next, m_next
    return (
        over_time(all_h, (N, V), torch.float32, C),
        C,
        n,
        m,
        over_time(C_saved, (N, K, V), torch.float32, C),
        over_time(n_saved, (N, K), torch.float32, C),
        over_time(m_saved, (N,), torch.float32, C),
    )


@triton.jit(do_not_specialize=["T"])
def d_Cnm_kernel(
    q,  # [B, T, N, K]
    k,  # [B, T, N, K]
    v,  # [B, T, N, V]
    i,  # [B, T, N]
    f,  # [B, T, N]
    C,  # [B, T, N, K, V]
    n,  # [B, T, N, K]
    m,  # [B, T, N]
    d_h,  # [B, T, N, V]
    q_n_next,  # [B, T, N]
    d_q_sum,  # [B, T, N]
    d_C_0,  # [B, N, K, V], at the start
    d_n_0,  # [B, N, K], at the start
    d_m_0,  # [B, N], at the start
    d_k,  # [B, T, N, K], written
    d_v,  # [B, T, N, V], written
    d_i,  # [B, T, N], written
    d_f,  # [B, T, N], written
    d_C_T,  # [B, N, K, V], at the end, written
    d_n_T,  # [B, N, K], at the end, written
    d_m_T,  # [B, N], at the end, written
    T,
    N: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_n = tl.program_id(1)
    o_k = tl.arange(0, BK)
    o_v = tl.arange(0, BV)

    b_d_C = tl.load(d_C_0 + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :])
    b_d_n = tl.load(d_n_0 + i_b * (K * N) + i_n * K + o_k)  # [BK]
    b_d_m = tl.load(d_m_0 + i_b * N + i_n)

    p_q = q + (i_b * T + T - 1) * (K * N) + i_n * K + o_k
    p_k = k + (i_b * T + T - 1) * (K * N) + i_n * K + o_k
    p_v = v + (i_b * T + T - 1) * (N * V) + i_n * V + o_v
    p_i = i + (i_b * T + T - 1) * N + i_n
    p_f = f + (i_b * T + T - 1) * N + i_n
    p_C = C + (i_b * T + T - 1) * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :]
    p_n = n + (i_b * T + T - 1) * (K * N) + i_n * K + o_k
    p_m = m + (i_b * T + T - 1) * N + i_n
    p_d_h = d_h + (i_b * T + T - 1) * (N * V) + i_n * V + o_v
    p_q_n_next = q_n_next + (i_b * T + T - 1) * N + i_n
    p_d_q_sum = d_q_sum + (i_b * T + T - 1) * N + i_n
    p_d_k = d_k + (i_b * T + T - 1) * (K * N) + i_n * K + o_k
    p_d_v = d_v + (i_b * T + T - 1) * (N * V) + i_n * V + o_v
    p_d_i = d_i + (i_b * T + T - 1) * N + i_n
    p_d_f = d_f + (i_b * T + T - 1) * N + i_n
    for _ in range(T):
        b_q = tl.load(p_q)  # [BK]
        b_k = tl.load(p_k)  # [BK]
        b_v = tl.load(p_v)  # [BV]
        b_i = tl.load(p_i)
        b_f = tl.load(p_f)
        b_C = tl.load(p_C)  # [BK, BV]
        b_n = tl.load(p_n)  # [BK]
        b_m = tl.load(p_m)
        b_d_h = tl.load(p_d_h)  # [BV]
        b_q_n_next = tl.load(p_q_n_next)
        b_d_q_sum = tl.load(p_d_q_sum)
        # std/mlstm.lsrl:10  lf = logsigmoid(f)
        b_lf = logsigmoid(b_f)
        # std/mlstm.lsrl:11  m' = max(lf + m, i)
        b_lf_plus_m = b_lf + b_m
        b_m_next = maximum(b_lf_plus_m, b_i)
        # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
        b_exp_i_minus_m_next = tl.exp(b_i - b_m_next)
        b_exp_lf_plus_m_minus_m_next = tl.exp(b_lf_plus_m - b_m_next)
        # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
        b_abs_q_n_next = tl.abs(b_q_n_next)
        b_exp_minus_m_next = tl.exp(-b_m_next)
        b_d_k_choice = tl.where(b_abs_q_n_next == b_exp_minus_m_next, b_d_q_sum * 0.5, 0.0)
        b_d_k_product = (
            tl.where(b_abs_q_n_next > b_exp_minus_m_next, b_d_q_sum, b_d_k_choice)
            * sign(b_q_n_next)
        )
        b_d_n_plus_q_d_k_product = b_d_n + b_q * b_d_k_product
        b_d_k_product_2 = b_q[:, None] * (b_d_h / maximum(b_abs_q_n_next, b_exp_minus_m_next))[None, :]
        b_d_C_plus_d_k_product_2 = b_d_C + b_d_k_product_2
        b_d_k_product_3 = b_exp_i_minus_m_next * tl.sum(b_d_C_plus_d_k_product_2 * b_v[None, :], axis=1)
        b_d_k = b_exp_i_minus_m_next * b_d_n_plus_q_d_k_product + b_d_k_product_3
        b_d_v = b_exp_i_minus_m_next * tl.sum(b_k[:, None] * b_d_C_plus_d_k_product_2, axis=0)
        b_d_i_sum = tl.sum(tl.sum(b_d_C_plus_d_k_product_2 * (b_k[:, None] * b_v[None, :]), axis=1), axis=0)
        b_d_i_product = (tl.sum(b_d_n_plus_q_d_k_product * b_k, axis=0) + b_d_i_sum) * b_exp_i_minus_m_next
        b_d_i_product_2 = (
            tl.where(b_exp_minus_m_next > b_abs_q_n_next, b_d_q_sum, b_d_k_choice)
            * b_exp_minus_m_next
        )
        b_d_i_sum_2 = (
            tl.sum(b_d_n_plus_q_d_k_product * b_n, axis=0)
            + tl.sum(tl.sum(b_d_C_plus_d_k_product_2 * b_C, axis=1), axis=0)
        )
        b_d_i_product_3 = b_d_i_sum_2 * b_exp_lf_plus_m_minus_m_next
        b_d_i_difference = b_d_m - b_d_i_product_2 - b_d_i_product - b_d_i_product_3
        b_d_i_choice = tl.where(b_lf_plus_m == b_i, b_d_i_difference * 0.5, 0.0)
        b_d_i = b_d_i_product + tl.where(b_i > b_lf_plus_m, b_d_i_difference, b_d_i_choice)
        b_d_m_next = b_d_i_product_3 + tl.where(b_lf_plus_m > b_i, b_d_i_difference, b_d_i_choice)
        b_d_f = b_d_m_next * tl.sigmoid(-b_f)
        b_d_C_next = b_exp_lf_plus_m_minus_m_next * b_d_C_plus_d_k_product_2
        b_d_n_next = b_exp_lf_plus_m_minus_m_next * b_d_n_plus_q_d_k_product
        tl.store(p_d_k, b_d_k)
        tl.store(p_d_v, b_d_v)
        tl.store(p_d_i, b_d_i)
        tl.store(p_d_f, b_d_f)
        b_d_C, b_d_n, b_d_m = b_d_C_next, b_d_n_next, b_d_m_next
        p_q -= K * N
        p_k -= K * N
        p_v -= N * V
        p_i -= N
        p_f -= N
        p_C -= K * N * V
        p_n -= K * N
        p_m -= N
        p_d_h -= N * V
        p_q_n_next -= N
        p_d_q_sum -= N
        p_d_k -= K * N
        p_d_v -= N * V
        p_d_i -= N
        p_d_f -= N
    tl.store(d_C_T + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :], b_d_C)
    tl.store(d_n_T + i_b * (K * N) + i_n * K + o_k, b_d_n)
    tl.store(d_m_T + i_b * N + i_n, b_d_m)


d_Cnm_constants = {"N": N, "K": K, "V": V, "BK": 64, "BV": 64, "num_warps": 4}


def d_Cnm_launch(q, k, v, i, f, C, n, m, d_h, q_n_next, d_q_sum, d_C, d_n, d_m):
    """Run `d_Cnm_kernel`: what it keeps of every position, then the last states."""
    batch, length = q.shape[:2]
    d_k = d_C.new_empty((batch, length, N, K), dtype=torch.float32)
    d_v = d_C.new_empty((batch, length, N, V), dtype=torch.float32)
    d_i = d_C.new_empty((batch, length, N), dtype=torch.float32)
    d_f = d_C.new_empty((batch, length, N), dtype=torch.float32)
    d_C_T = torch.empty_like(d_C, memory_format=torch.contiguous_format)
    d_n_T = torch.empty_like(d_n, memory_format=torch.contiguous_format)
    d_m_T = torch.empty_like(d_m, memory_format=torch.contiguous_format)
    grid = (batch, N)
    with torch.cuda.device_of(d_C):
        d_Cnm_kernel[grid](
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            i.contiguous(),
            f.contiguous(),
            C.contiguous(),
            n.contiguous(),
            m.contiguous(),
            d_h.contiguous(),
            q_n_next.contiguous(),
            d_q_sum.contiguous(),
            d_C.contiguous(),
            d_n.contiguous(),
            d_m.contiguous(),
            d_k,
            d_v,
            d_i,
            d_f,
            d_C_T,
            d_n_T,
            d_m_T,
            length,
            **d_Cnm_constants,
        )
    return d_k, d_v, d_i, d_f, d_C_T, d_n_T, d_m_T


@Operator
def d_Cnm_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_Cnm_launch(*tensors))
    return separate(d_Cnm_plain(*tensors), tensors)


@d_Cnm_operator.register_fake
def _(tensors, length, every):
    d_C, d_n, d_m = tensors[-3:]
    batch = d_C.shape[0]
    return [
        d_C.new_empty((batch, length, N, K), dtype=torch.float32),
        d_C.new_empty((batch, length, N, V), dtype=torch.float32),
        d_C.new_empty((batch, length, N), dtype=torch.float32),
        d_C.new_empty((batch, length, N), dtype=torch.float32),
        torch.empty_like(d_C, memory_format=torch.contiguous_format),
        torch.empty_like(d_n, memory_format=torch.contiguous_format),
        torch.empty_like(d_m, memory_format=torch.contiguous_format),
    ]


d_Cnm_operator.register_vmap(
    folded(
        d_Cnm_operator, (True, True, True, True, True, True, True, True, True, True, True, True, True, True)
    )
)


def d_Cnm_loop(q, k, v, i, f, C, n, m, d_h, q_n_next, d_q_sum, d_C, d_n, d_m):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_Cnm_operator([q, k, v, i, f, C, n, m, d_h, q_n_next, d_q_sum, d_C, d_n, d_m], q.shape[1], 0)


def d_Cnm_plain(q, k, v, i, f, C, n, m, d_h, q_n_next, d_q_sum, d_C, d_n, d_m):
    """d_C, d_n, d_m over time in plain PyTorch, from the end to the start: d_k, d_v, d_i, d_f of every
    position, then the last states.
    """
    all_d_k = []
    all_d_v = []
    all_d_i = []
    all_d_f = []
    for q, k, v, i, f, C, n, m, d_h, q_n_next, d_q_sum in positions(
        q, k, v, i, f, C, n, m, d_h, q_n_next, d_q_sum, reverse=True
    ):
        # std/mlstm.lsrl:10  lf = logsigmoid(f)
        lf = F.logsigmoid(f)
        # std/mlstm.lsrl:11  m' = max(lf + m, i)
        lf_plus_m = lf + m
        m_next = torch.maximum(lf_plus_m, i)
        # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
        exp_i_minus_m_next = torch.exp(i - m_next)
        exp_lf_plus_m_minus_m_next = torch.exp(lf_plus_m - m_next)
        # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
        abs_q_n_next = torch.abs(q_n_next)
        exp_minus_m_next = torch.exp(-m_next)
        d_k_choice = torch.where(abs_q_n_next == exp_minus_m_next, d_q_sum * 0.5, 0.0)
        d_k_product = torch.where(abs_q_n_next > exp_minus_m_next, d_q_sum, d_k_choice) * torch.sign(q_n_next)
        d_n_plus_q_d_k_product = d_n + q * d_k_product[..., None]
        d_k_product_2 = (
            q[..., None]
            * (d_h / torch.maximum(abs_q_n_next, exp_minus_m_next)[..., None])[..., None, :]
        )
        d_C_plus_d_k_product_2 = d_C + d_k_product_2
        d_k_product_3 = exp_i_minus_m_next[..., None, None] * d_C_plus_d_k_product_2
        d_k = (
            exp_i_minus_m_next[..., None] * d_n_plus_q_d_k_product
            + torch.einsum("bnkv,bnv->bnk", d_k_product_3, v)
        )
        d_v = torch.einsum("bnk,bnkv->bnv", k, d_k_product_3)  # [B, N, V]
        d_i_sum = (d_C_plus_d_k_product_2 * (k[..., None] * v[..., None, :])).sum((-2, -1))  # [B, N]
        d_i_product = ((d_n_plus_q_d_k_product * k).sum(-1) + d_i_sum) * exp_i_minus_m_next
        d_i_product_2 = torch.where(exp_minus_m_next > abs_q_n_next, d_q_sum, d_k_choice) * exp_minus_m_next
        d_i_sum_2 = (d_n_plus_q_d_k_product * n).sum(-1) + (d_C_plus_d_k_product_2 * C).sum((-2, -1))
        d_i_product_3 = d_i_sum_2 * exp_lf_plus_m_minus_m_next
        d_i_difference = d_m - d_i_product_2 - d_i_product - d_i_product_3
        d_i_choice = torch.where(lf_plus_m == i, d_i_difference * 0.5, 0.0)
        d_i = d_i_product + torch.where(i > lf_plus_m, d_i_difference, d_i_choice)
        d_m_next = d_i_product_3 + torch.where(lf_plus_m > i, d_i_difference, d_i_choice)
        d_f = d_m_next * torch.sigmoid(-f)
        d_C_next = exp_lf_plus_m_minus_m_next[..., None, None] * d_C_plus_d_k_product_2
        d_n_next = exp_lf_plus_m_minus_m_next[..., None] * d_n_plus_q_d_k_product
        all_d_k.append(d_k)
        all_d_v.append(d_v)
        all_d_i.append(d_i)
        all_d_f.append(d_f)
        d_C, d_n, d_m = d_C_next, d_n_next, d_m_next
    return (
        over_time(all_d_k, (N, K), torch.float32, d_C, reverse=True),
        over_time(all_d_v, (N, V), torch.float32, d_C, reverse=True),
        over_time(all_d_i, (N,), torch.float32, d_C, reverse=True),
        over_time(all_d_f, (N,), torch.float32, d_C, reverse=True),
        d_C,
        d_n,
        d_m,
    )


def C_n_m_adjoint(q, k, v, i, f, C, n, m, d_h, d_C_last, d_n_last, d_m_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    # std/mlstm.lsrl:10  lf = logsigmoid(f)
    lf = F.logsigmoid(f)
    # std/mlstm.lsrl:11  m' = max(lf + m, i)
    lf_plus_m = lf + m
    m_next = torch.maximum(lf_plus_m, i)
    # std/mlstm.lsrl:12  C' = exp(lf + m - m') * C + exp(i - m') * outer(k, v)
    exp_lf_plus_m_minus_m_next = torch.exp(lf_plus_m - m_next)
    exp_i_minus_m_next = torch.exp(i - m_next)
    C_next = (
        exp_lf_plus_m_minus_m_next[..., None, None] * C
        + exp_i_minus_m_next[..., None, None] * (k[..., None] * v[..., None, :])
    )
    # std/mlstm.lsrl:13  n' = exp(lf + m - m') * n + exp(i - m') * k
    n_next = exp_lf_plus_m_minus_m_next[..., None] * n + exp_i_minus_m_next[..., None] * k
    # std/mlstm.lsrl:15  output h = (q @ C') / max(abs(q @ n'), exp(-m'))
    q_n_next = torch.einsum("btnk,btnk->btn", q, n_next)  # [B, T, N]
    abs_q_n_next = torch.abs(q_n_next)
    exp_minus_m_next = torch.exp(-m_next)
    d_q_sum_wide = torch.maximum(abs_q_n_next, exp_minus_m_next)[..., None]  # [B, T, N, V]
    d_h_over_d_q_sum_wide = d_h / d_q_sum_wide
    h = torch.einsum("btnk,btnkv->btnv", q, C_next) / d_q_sum_wide
    d_q_sum = (-d_h_over_d_q_sum_wide * h).sum(-1)  # [B, T, N]

    d_k, d_v, d_i, d_f, d_C_last_2, d_n_last_2, d_m_last_2 = d_Cnm_loop(
        q, k, v, i, f, C, n, m, d_h, q_n_next, d_q_sum, d_C_last, d_n_last, d_m_last
    )

    d_q_choice = torch.where(
        abs_q_n_next > exp_minus_m_next,
        d_q_sum,
        torch.where(abs_q_n_next == exp_minus_m_next, d_q_sum * 0.5, 0.0),
    )
    d_q = (
        (d_q_choice * torch.sign(q_n_next))[..., None] * n_next
        + torch.einsum("btnv,btnkv->btnk", d_h_over_d_q_sum_wide, C_next)
    )

    return d_q, d_k, d_v, d_i, d_f, d_C_last_2, d_n_last_2, d_m_last_2


@Operator
def C_n_m_pieces(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """The derivative of the loop, from the states that it kept at the start of each piece."""

    def run(reads, statics, starts, length):
        return C_n_m_operator([*reads, *statics, *starts], length, 1)[4:]

    def adjoint(reads, statics, arriving, seeds, lasts):
        found = C_n_m_adjoint(*reads, *statics, arriving[0], arriving[1], arriving[2], *seeds, *lasts)
        return found[:5], found[5:5], found[5:]

    found = in_pieces(run, adjoint, tensors, (5, 0, 3, 1, 3), length, every, False)
    return separate(found, tensors)


@C_n_m_pieces.register_fake
def _(tensors, length, every):
    return [
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (
            tensors[0],
            tensors[1],
            tensors[2],
            tensors[3],
            tensors[4],
            *tensors[-3:],
        )
    ]


C_n_m_pieces.register_vmap(
    folded(C_n_m_pieces, (False, False, False, False, False, False, False, False, False, False, False, False))
)


class CNMDerivative(torch.autograd.Function):
    """`C_n_m_pieces`, whose own derivative goes through `C_n_m_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(
        length, every, q, k, v, i, f, C, n, m, C_saved, n_saved, m_saved, d_h, d_C_last, d_n_last, d_m_last
    ):
        if not every:
            every = piece_size(length)
            *_, C_saved, n_saved, m_saved = C_n_m_operator([q, k, v, i, f, C, n, m], length, every)
        return tuple(
            C_n_m_pieces(
                [q, k, v, i, f, C_saved, n_saved, m_saved, d_h, d_C_last, d_n_last, d_m_last], length, every
            )
        )

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:8], *tensors[11:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(C_n_m_plain, tensors[:8], tensors[8:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:8], None, None, None, *found[8:]


class CNMLoop(torch.autograd.Function):
    """`C_n_m_operator`, whose derivative is `CNMDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, q, k, v, i, f, C, n, m):
        return tuple(C_n_m_operator([q, k, v, i, f, C, n, m], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[4:])
        ctx.mark_non_differentiable(*output[4:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        C, n, m = tensors[5:8]
        batch, length = C.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], C, (batch, length, N, V), torch.float32),
            filled(cotangents[1], C, C.shape, C.dtype),
            filled(cotangents[2], C, n.shape, n.dtype),
            filled(cotangents[3], C, m.shape, m.dtype),
        ]
        return None, None, *CNMDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    params = {}
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {
        "C": torch.zeros((batch, N, K, V), dtype=torch.float32, device=device),
        "n": torch.zeros((batch, N, K), dtype=torch.float32, device=device),
        "m": torch.full((batch, N), -math.inf, dtype=torch.float32, device=device),
    }


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["q"].shape[:2]
    device = inputs["q"].device
    q = taken(inputs, "q", (batch, length, N, K), torch.float32)
    k = taken(inputs, "k", (batch, length, N, K), torch.float32)
    v = taken(inputs, "v", (batch, length, N, V), torch.float32)
    i = taken(inputs, "i", (batch, length, N), torch.float32)
    f = taken(inputs, "f", (batch, length, N), torch.float32)
    state = starting(params, state, batch, device)

    h, C_last, n_last, m_last = C_n_m_loop(q, k, v, i, f, state["C"], state["n"], state["m"])

    return {"h": h}, {"C": C_last, "n": n_last, "m": m_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Mlstm(torch.nn.Module):
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
    "C, n, m": "one Triton kernel over time, batch x N x cdiv(V, 8) programs of 1 warp",
}
KERNELS = (
    (
        C_n_m_kernel,
        {
            "q": "*fp32",
            "k": "*fp32",
            "v": "*fp32",
            "i": "*fp32",
            "f": "*fp32",
            "C_0": "*fp32",
            "n_0": "*fp32",
            "m_0": "*fp32",
            "h": "*fp32",
            "C_T": "*fp32",
            "n_T": "*fp32",
            "m_T": "*fp32",
            "C_P": "*fp32",
            "n_P": "*fp32",
            "m_P": "*fp32",
            "T": "i32",
        },
        C_n_m_constants | {"EVERY": 1},
    ),
    (
        d_Cnm_kernel,
        {
            "q": "*fp32",
            "k": "*fp32",
            "v": "*fp32",
            "i": "*fp32",
            "f": "*fp32",
            "C": "*fp32",
            "n": "*fp32",
            "m": "*fp32",
            "d_h": "*fp32",
            "q_n_next": "*fp32",
            "d_q_sum": "*fp32",
            "d_C_0": "*fp32",
            "d_n_0": "*fp32",
            "d_m_0": "*fp32",
            "d_k": "*fp32",
            "d_v": "*fp32",
            "d_i": "*fp32",
            "d_f": "*fp32",
            "d_C_T": "*fp32",
            "d_n_T": "*fp32",
            "d_m_T": "*fp32",
            "T": "i32",
        },
        d_Cnm_constants,
    ),
)
