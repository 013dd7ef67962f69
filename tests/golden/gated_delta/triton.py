"""gated_delta: Gated delta rule (Yang et al., 2025, "Gated Delta Networks", equation 10).

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; a, b [B, T, N]
    state    S [B, N, K, V]
    outputs  o [B, T, N, V]

Schedule of S: one Triton kernel over time, batch x N x cdiv(V, 8) programs of 1 warp.
Backward pass of S: one Triton kernel over time, batch x N programs of 8 warps, from S kept at the start of
    about as many pieces as a piece has positions.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from std/gated_delta by
    lsrl compile std/gated_delta --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import sys
import warnings

import torch
import triton
import triton.language as tl

N, K, V = 4, 128, 128

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
OPERATORS = own_namespace("lsrl_34fe75523329")


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


@triton.jit(do_not_specialize=["T"])
def S_kernel(
    q,  # [B, T, N, K]
    k,  # [B, T, N, K]
    v,  # [B, T, N, V]
    a,  # [B, T, N]
    b,  # [B, T, N]
    S_0,  # [B, N, K, V], at the start
    o,  # [B, T, N, V], written
    S_T,  # [B, N, K, V], at the end, written
    S_P,  # [B, P, N, K, V], now and then, written
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

    b_S = tl.load(S_0 + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :])  # [BK, BV]

    if EVERY:
        P = tl.cdiv(T, EVERY)
        p_S_saved = S_P + i_b * P * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :]
    p_q = q + i_b * T * (K * N) + i_n * K + o_k
    p_k = k + i_b * T * (K * N) + i_n * K + o_k
    p_v = v + i_b * T * (N * V) + i_n * V + o_v
    p_a = a + i_b * T * N + i_n
    p_b = b + i_b * T * N + i_n
    p_o = o + i_b * T * (N * V) + i_n * V + o_v
    for i_t in range(T):
        if EVERY:
            if i_t % EVERY == 0:
                tl.store(p_S_saved, b_S)
                p_S_saved += K * N * V
        b_q = tl.load(p_q)  # [BK]
        b_k = tl.load(p_k)  # [BK]
        b_v = tl.load(p_v)  # [BV]
        b_a = tl.load(p_a)
        b_b = tl.load(p_b)
        # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
        b_S_next_product = b_a * (b_S - b_b * (b_k[:, None] * tl.sum(b_k[:, None] * b_S, axis=0)[None, :]))
        b_S_next = b_S_next_product + b_b * (b_k[:, None] * b_v[None, :])
        # std/gated_delta.lsrl:9  output o = q @ S'
        b_o = tl.sum(b_q[:, None] * b_S_next, axis=0)
        tl.store(p_o, b_o)
        b_S = b_S_next
        p_q += K * N
        p_k += K * N
        p_v += N * V
        p_a += N
        p_b += N
        p_o += N * V
    tl.store(S_T + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :], b_S)


S_constants = {"N": N, "K": K, "V": V, "BK": 128, "BV": 8, "num_warps": 1}


def S_launch(q, k, v, a, b, S, every=0):
    """Run `S_kernel`: what it keeps of every position, then the last states, then arriving states."""
    batch, length = q.shape[:2]
    o = S.new_empty((batch, length, N, V), dtype=torch.float32)
    S_T = torch.empty_like(S, memory_format=torch.contiguous_format)
    S_P = S.new_empty((batch, saves(length, every), N, K, V), dtype=torch.float32)
    grid = (batch, N, triton.cdiv(V, 8))
    with torch.cuda.device_of(S):
        S_kernel[grid](
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            a.contiguous(),
            b.contiguous(),
            S.contiguous(),
            o,
            S_T,
            S_P,
            length,
            EVERY=every,
            **S_constants,
        )
    return o, S_T, S_P


@Operator
def S_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states, then the arriving states of positions `every` apart."""
    if runs_kernels(tensors[0]):
        return list(S_launch(*tensors, every))
    return separate(S_plain(*tensors, every), tensors)


@S_operator.register_fake
def _(tensors, length, every):
    S = tensors[-1]
    batch = S.shape[0]
    return [
        S.new_empty((batch, length, N, V), dtype=torch.float32),
        torch.empty_like(S, memory_format=torch.contiguous_format),
        S.new_empty((batch, saves(length, every), N, K, V), dtype=torch.float32),
    ]


S_operator.register_vmap(folded(S_operator, (True, True, True, True, True, True)))


def S_loop(q, k, v, a, b, S):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    every = piece_size(q.shape[1]) if wants_gradients(q, k, v, a, b, S) else 0
    return SLoop.apply(q.shape[1], every, q, k, v, a, b, S)[:2]


def S_plain(q, k, v, a, b, S, every=0):
    """S over time in plain PyTorch: o of every position, then the last states, then the arriving states of
    positions `every` apart.
    """
    all_o = []
    S_saved = []
    for at, (q, k, v, a, b) in enumerate(positions(q, k, v, a, b)):
        if every and at % every == 0:
            S_saved.append(S)
        # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
        S_next_product = (
            b[..., None, None]
            * (k[..., None] * torch.einsum("bnk,bnkv->bnv", k, S)[..., None, :])
        )
        S_next = (
            a[..., None, None] * (S - S_next_product)
            + b[..., None, None] * (k[..., None] * v[..., None, :])
        )
        # std/gated_delta.lsrl:9  output o = q @ S'
        o = torch.einsum("bnk,bnkv->bnv", q, S_next)  # [B, N, V]
        all_o.append(o)
        S = S_next
    return over_time(all_o, (N, V), torch.float32, S), S, over_time(S_saved, (N, K, V), torch.float32, S)


@triton.jit(do_not_specialize=["T"])
def d_S_kernel(
    q,  # [B, T, N, K]
    k,  # [B, T, N, K]
    v,  # [B, T, N, V]
    a,  # [B, T, N]
    b,  # [B, T, N]
    S,  # [B, T, N, K, V]
    d_o,  # [B, T, N, V]
    k_S,  # [B, T, N, V]
    d_S_0,  # [B, N, K, V], at the start
    d_k,  # [B, T, N, K], written
    d_v,  # [B, T, N, V], written
    d_a,  # [B, T, N], written
    d_b,  # [B, T, N], written
    d_S_T,  # [B, N, K, V], at the end, written
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

    b_d_S = tl.load(d_S_0 + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :])

    p_q = q + (i_b * T + T - 1) * (K * N) + i_n * K + o_k
    p_k = k + (i_b * T + T - 1) * (K * N) + i_n * K + o_k
    p_v = v + (i_b * T + T - 1) * (N * V) + i_n * V + o_v
    p_a = a + (i_b * T + T - 1) * N + i_n
    p_b = b + (i_b * T + T - 1) * N + i_n
    p_S = S + (i_b * T + T - 1) * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :]
    p_d_o = d_o + (i_b * T + T - 1) * (N * V) + i_n * V + o_v
    p_k_S = k_S + (i_b * T + T - 1) * (N * V) + i_n * V + o_v
    p_d_k = d_k + (i_b * T + T - 1) * (K * N) + i_n * K + o_k
    p_d_v = d_v + (i_b * T + T - 1) * (N * V) + i_n * V + o_v
    p_d_a = d_a + (i_b * T + T - 1) * N + i_n
    p_d_b = d_b + (i_b * T + T - 1) * N + i_n
    for _ in range(T):
        b_q = tl.load(p_q)  # [BK]
        b_k = tl.load(p_k)  # [BK]
        b_v = tl.load(p_v)  # [BV]
        b_a = tl.load(p_a)
        b_b = tl.load(p_b)
        b_S = tl.load(p_S)  # [BK, BV]
        b_d_o = tl.load(p_d_o)  # [BV]
        b_k_S = tl.load(p_k_S)  # [BV]
        b_d_S_plus_q_d_o = b_d_S + b_q[:, None] * b_d_o[None, :]
        b_d_k_sum = (
            b_b * tl.sum(b_d_S_plus_q_d_o * b_v[None, :], axis=1)
            + b_b * (-b_a * tl.sum(b_d_S_plus_q_d_o * b_k_S[None, :], axis=1))
        )
        b_k_d_S_plus_q_d_o = tl.sum(b_k[:, None] * b_d_S_plus_q_d_o, axis=0)
        b_d_k = b_d_k_sum + b_b * (-b_a * tl.sum(b_k_d_S_plus_q_d_o[None, :] * b_S, axis=1))
        b_d_v = b_b * b_k_d_S_plus_q_d_o
        # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
        b_k_k_S = b_k[:, None] * b_k_S[None, :]  # [BK, BV]
        b_d_a = tl.sum(tl.sum(b_d_S_plus_q_d_o * (b_S - b_b * b_k_k_S), axis=1), axis=0)
        b_a_wide_d_S_plus_q_d_o = b_a * b_d_S_plus_q_d_o
        b_d_b_sum = b_d_S_plus_q_d_o * (b_k[:, None] * b_v[None, :]) + -b_a_wide_d_S_plus_q_d_o * b_k_k_S
        b_d_b = tl.sum(tl.sum(b_d_b_sum, axis=1), axis=0)
        b_d_S_next = b_a_wide_d_S_plus_q_d_o + b_k[:, None] * (b_b * (-b_a * b_k_d_S_plus_q_d_o))[None, :]
        tl.store(p_d_k, b_d_k)
        tl.store(p_d_v, b_d_v)
        tl.store(p_d_a, b_d_a)
        tl.store(p_d_b, b_d_b)
        b_d_S = b_d_S_next
        p_q -= K * N
        p_k -= K * N
        p_v -= N * V
        p_a -= N
        p_b -= N
        p_S -= K * N * V
        p_d_o -= N * V
        p_k_S -= N * V
        p_d_k -= K * N
        p_d_v -= N * V
        p_d_a -= N
        p_d_b -= N
    tl.store(d_S_T + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :], b_d_S)


d_S_constants = {"N": N, "K": K, "V": V, "BK": 128, "BV": 128, "num_warps": 8}


def d_S_launch(q, k, v, a, b, S, d_o, k_S, d_S):
    """Run `d_S_kernel`: what it keeps of every position, then the last states."""
    batch, length = q.shape[:2]
    d_k = d_S.new_empty((batch, length, N, K), dtype=torch.float32)
    d_v = d_S.new_empty((batch, length, N, V), dtype=torch.float32)
    d_a = d_S.new_empty((batch, length, N), dtype=torch.float32)
    d_b = d_S.new_empty((batch, length, N), dtype=torch.float32)
    d_S_T = torch.empty_like(d_S, memory_format=torch.contiguous_format)
    grid = (batch, N)
    with torch.cuda.device_of(d_S):
        d_S_kernel[grid](
            q.contiguous(),
            k.contiguous(),
            v.contiguous(),
            a.contiguous(),
            b.contiguous(),
            S.contiguous(),
            d_o.contiguous(),
            k_S.contiguous(),
            d_S.contiguous(),
            d_k,
            d_v,
            d_a,
            d_b,
            d_S_T,
            length,
            **d_S_constants,
        )
    return d_k, d_v, d_a, d_b, d_S_T


@Operator
def d_S_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_S_launch(*tensors))
    return separate(d_S_plain(*tensors), tensors)


@d_S_operator.register_fake
def _(tensors, length, every):
    d_S = tensors[-1]
    batch = d_S.shape[0]
    return [
        d_S.new_empty((batch, length, N, K), dtype=torch.float32),
        d_S.new_empty((batch, length, N, V), dtype=torch.float32),
        d_S.new_empty((batch, length, N), dtype=torch.float32),
        d_S.new_empty((batch, length, N), dtype=torch.float32),
        torch.empty_like(d_S, memory_format=torch.contiguous_format),
    ]


d_S_operator.register_vmap(folded(d_S_operator, (True, True, True, True, True, True, True, True, True)))


def d_S_loop(q, k, v, a, b, S, d_o, k_S, d_S):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_S_operator([q, k, v, a, b, S, d_o, k_S, d_S], q.shape[1], 0)


def d_S_plain(q, k, v, a, b, S, d_o, k_S, d_S):
    """d_S over time in plain PyTorch, from the end to the start: d_k, d_v, d_a, d_b of every position,
    then the last states.
    """
    all_d_k = []
    all_d_v = []
    all_d_a = []
    all_d_b = []
    for q, k, v, a, b, S, d_o, k_S in positions(q, k, v, a, b, S, d_o, k_S, reverse=True):
        d_S_plus_q_d_o = d_S + q[..., None] * d_o[..., None, :]
        b_wide_d_S_plus_q_d_o = b[..., None, None] * d_S_plus_q_d_o
        a_wide_d_S_plus_q_d_o = a[..., None, None] * d_S_plus_q_d_o
        minus_a_wide_d_S_plus_q_d_o = -a_wide_d_S_plus_q_d_o
        d_k_product = b[..., None, None] * minus_a_wide_d_S_plus_q_d_o
        d_k_sum = (
            torch.einsum("bnkv,bnv->bnk", b_wide_d_S_plus_q_d_o, v)
            + torch.einsum("bnkv,bnv->bnk", d_k_product, k_S)
        )
        k_d_k_product = torch.einsum("bnk,bnkv->bnv", k, d_k_product)  # [B, N, V]
        d_k = d_k_sum + torch.einsum("bnv,bnkv->bnk", k_d_k_product, S)
        d_v = torch.einsum("bnk,bnkv->bnv", k, b_wide_d_S_plus_q_d_o)  # [B, N, V]
        # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
        k_k_S = k[..., None] * k_S[..., None, :]  # [B, N, K, V]
        d_a = (d_S_plus_q_d_o * (S - b[..., None, None] * k_k_S)).sum((-2, -1))  # [B, N]
        d_b_sum = d_S_plus_q_d_o * (k[..., None] * v[..., None, :]) + minus_a_wide_d_S_plus_q_d_o * k_k_S
        d_b = d_b_sum.sum((-2, -1))  # [B, N]
        d_S_next = a_wide_d_S_plus_q_d_o + k[..., None] * k_d_k_product[..., None, :]
        all_d_k.append(d_k)
        all_d_v.append(d_v)
        all_d_a.append(d_a)
        all_d_b.append(d_b)
        d_S = d_S_next
    return (
        over_time(all_d_k, (N, K), torch.float32, d_S, reverse=True),
        over_time(all_d_v, (N, V), torch.float32, d_S, reverse=True),
        over_time(all_d_a, (N,), torch.float32, d_S, reverse=True),
        over_time(all_d_b, (N,), torch.float32, d_S, reverse=True),
        d_S,
    )


def S_adjoint(q, k, v, a, b, S, d_o, d_S_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
    k_S = torch.einsum("btnk,btnkv->btnv", k, S)  # [B, T, N, V]

    d_k, d_v, d_a, d_b, d_S_last_2 = d_S_loop(q, k, v, a, b, S, d_o, k_S, d_S_last)

    # std/gated_delta.lsrl:7  S' = a * (S - b * outer(k, k @ S)) + b * outer(k, v)
    S_next_product = a[..., None, None] * (S - b[..., None, None] * (k[..., None] * k_S[..., None, :]))
    S_next = S_next_product + b[..., None, None] * (k[..., None] * v[..., None, :])
    d_q = torch.einsum("btnv,btnkv->btnk", d_o, S_next)  # [B, T, N, K]

    return d_q, d_k, d_v, d_a, d_b, d_S_last_2


@Operator
def S_pieces(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """The derivative of the loop, from the states that it kept at the start of each piece."""

    def run(reads, statics, starts, length):
        return S_operator([*reads, *statics, *starts], length, 1)[2:]

    def adjoint(reads, statics, arriving, seeds, lasts):
        found = S_adjoint(*reads, *statics, arriving[0], *seeds, *lasts)
        return found[:5], found[5:5], found[5:]

    found = in_pieces(run, adjoint, tensors, (5, 0, 1, 1, 1), length, every, False)
    return separate(found, tensors)


@S_pieces.register_fake
def _(tensors, length, every):
    return [
        torch.empty_like(x, memory_format=torch.contiguous_format) for x in (
            tensors[0],
            tensors[1],
            tensors[2],
            tensors[3],
            tensors[4],
            *tensors[-1:],
        )
    ]


S_pieces.register_vmap(folded(S_pieces, (False, False, False, False, False, False, False, False)))


class SDerivative(torch.autograd.Function):
    """`S_pieces`, whose own derivative goes through `S_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, q, k, v, a, b, S, S_saved, d_o, d_S_last):
        if not every:
            every = piece_size(length)
            *_, S_saved = S_operator([q, k, v, a, b, S], length, every)
        return tuple(S_pieces([q, k, v, a, b, S_saved, d_o, d_S_last], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors[:6], *tensors[7:])

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(S_plain, tensors[:6], tensors[6:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found[:6], None, *found[6:]


class SLoop(torch.autograd.Function):
    """`S_operator`, whose derivative is `SDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, q, k, v, a, b, S):
        return tuple(S_operator([q, k, v, a, b, S], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors, *output[2:])
        ctx.mark_non_differentiable(*output[2:])
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        S = tensors[5]
        batch, length = S.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], S, (batch, length, N, V), torch.float32),
            filled(cotangents[1], S, S.shape, S.dtype),
        ]
        return None, None, *SDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    params = {}
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"S": torch.zeros((batch, N, K, V), dtype=torch.float32, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["q"].shape[:2]
    device = inputs["q"].device
    q = taken(inputs, "q", (batch, length, N, K), torch.float32)
    k = taken(inputs, "k", (batch, length, N, K), torch.float32)
    v = taken(inputs, "v", (batch, length, N, V), torch.float32)
    a = taken(inputs, "a", (batch, length, N), torch.float32)
    b = taken(inputs, "b", (batch, length, N), torch.float32)
    state = starting(params, state, batch, device)

    o, S_last = S_loop(q, k, v, a, b, state["S"])

    return {"o": o}, {"S": S_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class GatedDelta(torch.nn.Module):
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
    "S": "one Triton kernel over time, batch x N x cdiv(V, 8) programs of 1 warp",
}
KERNELS = (
    (
        S_kernel,
        {
            "q": "*fp32",
            "k": "*fp32",
            "v": "*fp32",
            "a": "*fp32",
            "b": "*fp32",
            "S_0": "*fp32",
            "o": "*fp32",
            "S_T": "*fp32",
            "S_P": "*fp32",
            "T": "i32",
        },
        S_constants | {"EVERY": 1},
    ),
    (
        d_S_kernel,
        {
            "q": "*fp32",
            "k": "*fp32",
            "v": "*fp32",
            "a": "*fp32",
            "b": "*fp32",
            "S": "*fp32",
            "d_o": "*fp32",
            "k_S": "*fp32",
            "d_S_0": "*fp32",
            "d_k": "*fp32",
            "d_v": "*fp32",
            "d_a": "*fp32",
            "d_b": "*fp32",
            "d_S_T": "*fp32",
            "T": "i32",
        },
        d_S_constants,
    ),
)
