"""mlstm: Matrix LSTM of xLSTM (Beck et al., 2024, equations 19 to 27), with the running maximum that keeps it
finite.

Keys are scaled by the caller or here, not in both places: the cell takes them as they enter the memory.

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; i, f [B, T, N]
    state    C [B, N, K, V]; n [B, N, K]; m [B, N]
    outputs  h [B, T, N, V]

Schedule of C, n, m: one Triton kernel over time, batch x N x cdiv(V, 8) programs of 1 warp.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from std/mlstm by
    lsrl compile std/mlstm --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
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


def is_smooth(tensor):
    """Whether a tensor can have gradients."""
    return tensor.is_floating_point() or tensor.is_complex()


def pulled_back(plain, tensors, needs, gradients):
    """The gradients of a loop's tensors, through its plain form run anew; differentiable once more when asked to be."""
    again = torch.is_grad_enabled()
    with torch.enable_grad():
        # A view is a variable of its own: what reaches one tensor by way of another must not count twice.
        own = [x.view_as(x) if again else x.detach().requires_grad_(need) for x, need in zip(tensors, needs)]
        pairs = [(y, g) for y, g in zip(plain(*own), gradients) if y.requires_grad]
        wanted = [x for x, need in zip(own, needs) if need]
        if not pairs:
            return [None] * len(needs)
        outputs, seeds = zip(*pairs)
        found = iter(torch.autograd.grad(outputs, wanted, seeds, create_graph=again, allow_unused=True))
    return [next(found) if need else None for need in needs]


def register(module, name, param):
    """A parameter under its dotted name: `layers.0.Wz` becomes the parameter Wz of module.layers.0."""
    *path, last = name.split(".")
    for part in path:
        if not hasattr(module, part):
            module.add_module(part, torch.nn.Module())
        module = getattr(module, part)
    module.register_parameter(last, torch.nn.Parameter(param, requires_grad=is_smooth(param)))


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
    T,
    N: tl.constexpr,
    K: tl.constexpr,
    V: tl.constexpr,
    BK: tl.constexpr,
    BV: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_n = tl.program_id(1)
    i_v = tl.program_id(2)
    o_k = tl.arange(0, BK)
    o_v = i_v * BV + tl.arange(0, BV)

    b_C = tl.load(C_0 + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :])  # [BK, BV]
    b_n = tl.load(n_0 + i_b * (K * N) + i_n * K + o_k)  # [BK]
    b_m = tl.load(m_0 + i_b * N + i_n)

    p_q = q + i_b * T * (K * N) + i_n * K + o_k
    p_k = k + i_b * T * (K * N) + i_n * K + o_k
    p_v = v + i_b * T * (N * V) + i_n * V + o_v
    p_i = i + i_b * T * N + i_n
    p_f = f + i_b * T * N + i_n
    p_h = h + i_b * T * (N * V) + i_n * V + o_v
    for _ in range(T):
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


def C_n_m_launch(q, k, v, i, f, C, n, m):
    """Run `C_n_m_kernel`: what it keeps of every position, then the last states."""
    batch, length = q.shape[:2]
    h = C.new_empty((batch, length, N, V), dtype=torch.float32)
    C_T = torch.empty_like(C, memory_format=torch.contiguous_format)
    n_T = torch.empty_like(n, memory_format=torch.contiguous_format)
    m_T = torch.empty_like(m, memory_format=torch.contiguous_format)
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
            length,
            **C_n_m_constants,
        )
    return h, C_T, n_T, m_T


class CNMLoop(torch.autograd.Function):
    """`C_n_m_launch` forward; backward through `C_n_m_plain`."""

    @staticmethod
    def forward(*arguments):
        return C_n_m_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(C_n_m_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def C_n_m_loop(q, k, v, i, f, C, n, m):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(C):
        return CNMLoop.apply(q, k, v, i, f, C, n, m)
    return C_n_m_plain(q, k, v, i, f, C, n, m)


def C_n_m_plain(q, k, v, i, f, C, n, m):
    """C, n, m over time in plain PyTorch: h of every position, then the last states."""
    all_h = []
    for q, k, v, i, f in positions(q, k, v, i, f):
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
    return over_time(all_h, (N, V), torch.float32, C), C, n, m


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
            "T": "i32",
        },
        C_n_m_constants,
    ),
)
