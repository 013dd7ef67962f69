"""gated_delta: Gated delta rule (Yang et al., 2025, "Gated Delta Networks", equation 10).

Arrays, by name:
    inputs   q, k [B, T, N, K]; v [B, T, N, V]; a, b [B, T, N]
    state    S [B, N, K, V]
    outputs  o [B, T, N, V]

Schedule of S: one Triton kernel over time, batch x N x cdiv(V, 8) programs of 1 warp.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from std/gated_delta by
    lsrl compile std/gated_delta --target triton
It needs nothing but torch and triton.
"""

import functools
import os
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

    b_S = tl.load(S_0 + i_b * (K * N * V) + i_n * (K * V) + o_k[:, None] * V + o_v[None, :])  # [BK, BV]

    p_q = q + i_b * T * (K * N) + i_n * K + o_k
    p_k = k + i_b * T * (K * N) + i_n * K + o_k
    p_v = v + i_b * T * (N * V) + i_n * V + o_v
    p_a = a + i_b * T * N + i_n
    p_b = b + i_b * T * N + i_n
    p_o = o + i_b * T * (N * V) + i_n * V + o_v
    for _ in range(T):
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


def S_launch(q, k, v, a, b, S):
    """Run `S_kernel`: what it keeps of every position, then the last states."""
    batch, length = q.shape[:2]
    o = S.new_empty((batch, length, N, V), dtype=torch.float32)
    S_T = torch.empty_like(S, memory_format=torch.contiguous_format)
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
            length,
            **S_constants,
        )
    return o, S_T


class SLoop(torch.autograd.Function):
    """`S_launch` forward; backward through `S_plain`."""

    @staticmethod
    def forward(*arguments):
        return S_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(S_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def S_loop(q, k, v, a, b, S):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(S):
        return SLoop.apply(q, k, v, a, b, S)
    return S_plain(q, k, v, a, b, S)


def S_plain(q, k, v, a, b, S):
    """S over time in plain PyTorch: o of every position, then the last states."""
    all_o = []
    for q, k, v, a, b in positions(q, k, v, a, b):
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
    return over_time(all_o, (N, V), torch.float32, S), S


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
            "T": "i32",
        },
        S_constants,
    ),
)
