"""selective_ssm: Selective state space model, the S6 layer inside Mamba (Gu and Dao, 2023, algorithm 2).

E channels, each with a state of N; the step size is projected through R dimensions.

Arrays, by name:
    inputs   x [B, T, E]
    params   W_dt [R, E]; W_B, W_C [N, E]; dt_proj [E, R]; dt_bias [E]; A_log [E, N]; D [E]
    state    h [B, E, N]
    outputs  y [B, T, E]

Schedule of h: one Triton kernel over time, batch x cdiv(E, 64) programs of 1 warp.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from std/selective_ssm by
    lsrl compile std/selective_ssm --target triton
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


def uniform(shape, low, high, generator):
    """Uniform between two numbers."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


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
    m_e = o_e < E
    o_n = tl.arange(0, BN)
    m_e_n = m_e[:, None]

    b_dt_bias = tl.load(dt_bias + o_e, mask=m_e, other=0.0)  # [BE]
    b_D = tl.load(D + o_e, mask=m_e, other=0.0)  # [BE]
    b_A = tl.load(A + o_e[:, None] * N + o_n[None, :], mask=m_e_n, other=0.0)  # [BE, BN]
    b_h = tl.load(h_0 + i_b * (E * N) + o_e[:, None] * N + o_n[None, :], mask=m_e_n, other=0.0)

    p_x = x + i_b * T * E + o_e
    p_dt_proj_W_dt_x = dt_proj_W_dt_x + i_b * T * E + o_e
    p_W_dtBC_x_h_next = W_dtBC_x + i_b * T * (2 * N + R) + o_n + R
    p_W_dtBC_x_y = W_dtBC_x + i_b * T * (2 * N + R) + o_n + (N + R)
    p_y = y + i_b * T * E + o_e
    for _ in range(T):
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


def h_launch(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h):
    """Run `h_kernel`: what it keeps of every position, then the last states."""
    batch, length = x.shape[:2]
    y = h.new_empty((batch, length, E), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
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
            length,
            **h_constants,
        )
    return y, h_T


class HLoop(torch.autograd.Function):
    """`h_launch` forward; backward through `h_plain`."""

    @staticmethod
    def forward(*arguments):
        return h_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(h_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def h_loop(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(h):
        return HLoop.apply(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h)
    return h_plain(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h)


def h_plain(x, dt_proj_W_dt_x, W_dtBC_x, dt_bias, D, A, h):
    """h over time in plain PyTorch: y of every position, then the last states."""
    all_y = []
    for x, dt_proj_W_dt_x, W_dtBC_x in positions(x, dt_proj_W_dt_x, W_dtBC_x):
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
    return over_time(all_y, (E,), torch.float32, h), h


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
            "T": "i32",
        },
        h_constants,
    ),
)
