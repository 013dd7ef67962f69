"""lru: Linear recurrent unit with a complex diagonal transition (Orvieto et al., 2023, "Resurrecting RNNs").

Arrays, by name:
    inputs   x [B, T, D]
    params   nu, theta, gamma [N]; B [N, D] complex; C [D, N] complex; d [D]
    state    h [B, N] complex
    outputs  y [B, T, D]

Schedule of h: one Triton kernel over time, batch programs of 1 warp.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from std/lru by
    lsrl compile std/lru --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import warnings

import torch
import triton
import triton.language as tl

D, N = 32, 64

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


@triton.jit(do_not_specialize=["T"])
def h_kernel(
    B_x,  # [B, T, N], as pairs of numbers
    a,  # [N], as pairs of numbers, the same at all positions
    exp_gamma,  # [N], the same at all positions
    h_0,  # [B, N], as pairs of numbers, at the start
    h_next,  # [B, T, N], as pairs of numbers, written
    h_T,  # [B, N], as pairs of numbers, at the end, written
    T,
    N: tl.constexpr,
    BN: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_n = tl.arange(0, BN)

    b_a_re = tl.load(a + o_n * 2)  # [BN]
    b_a_im = tl.load(a + o_n * 2 + 1)  # [BN]
    b_exp_gamma = tl.load(exp_gamma + o_n)  # [BN]
    b_h_re = tl.load(h_0 + i_b * (2 * N) + o_n * 2)  # [BN]
    b_h_im = tl.load(h_0 + i_b * (2 * N) + o_n * 2 + 1)  # [BN]

    p_B_x_re = B_x + i_b * T * (2 * N) + o_n * 2
    p_B_x_im = B_x + i_b * T * (2 * N) + o_n * 2 + 1
    p_h_next_re = h_next + i_b * T * (2 * N) + o_n * 2
    p_h_next_im = h_next + i_b * T * (2 * N) + o_n * 2 + 1
    for _ in range(T):
        b_B_x_re = tl.load(p_B_x_re)  # [BN]
        b_B_x_im = tl.load(p_B_x_im)  # [BN]
        # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
        b_h_next_re = b_a_re * b_h_re - b_a_im * b_h_im + b_exp_gamma * b_B_x_re
        b_h_next_im = b_a_re * b_h_im + b_a_im * b_h_re + b_exp_gamma * b_B_x_im
        tl.store(p_h_next_re, b_h_next_re)
        tl.store(p_h_next_im, b_h_next_im)
        b_h_re, b_h_im = b_h_next_re, b_h_next_im
        p_B_x_re += 2 * N
        p_B_x_im += 2 * N
        p_h_next_re += 2 * N
        p_h_next_im += 2 * N
    tl.store(h_T + i_b * (2 * N) + o_n * 2, b_h_re)
    tl.store(h_T + i_b * (2 * N) + o_n * 2 + 1, b_h_im)


h_constants = {"N": N, "BN": 64, "num_warps": 1}


def h_launch(B_x, a, exp_gamma, h):
    """Run `h_kernel`: what it keeps of every position, then the last states."""
    batch, length = B_x.shape[:2]
    h_next = h.new_empty((batch, length, N), dtype=torch.complex64)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(h):
        h_kernel[grid](
            torch.view_as_real(B_x.resolve_conj().contiguous()),
            torch.view_as_real(a.resolve_conj().contiguous()),
            exp_gamma.contiguous(),
            torch.view_as_real(h.resolve_conj().contiguous()),
            torch.view_as_real(h_next),
            torch.view_as_real(h_T),
            length,
            **h_constants,
        )
    return h_next, h_T


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


def h_loop(B_x, a, exp_gamma, h):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(h):
        return HLoop.apply(B_x, a, exp_gamma, h)
    return h_plain(B_x, a, exp_gamma, h)


def h_plain(B_x, a, exp_gamma, h):
    """h over time in plain PyTorch: h_next of every position, then the last states."""
    all_h_next = []
    for (B_x,) in positions(B_x):
        # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
        h_next = a * h + exp_gamma * B_x
        all_h_next.append(h_next)
        h = h_next
    return over_time(all_h_next, (N,), torch.complex64, h), h


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "nu": uniform((N,), -3, -1, generator),
        "theta": uniform((N,), -3, 1, generator),
        "gamma": uniform((N,), -2, 0, generator),
        "B": torch.complex(
            1 / math.sqrt(2 * D) * torch.randn((N, D), generator=generator, dtype=torch.float32),
            1 / math.sqrt(2 * D) * torch.randn((N, D), generator=generator, dtype=torch.float32),
        ),
        "C": torch.complex(
            1 / math.sqrt(N) * torch.randn((D, N), generator=generator, dtype=torch.float32),
            1 / math.sqrt(N) * torch.randn((D, N), generator=generator, dtype=torch.float32),
        ),
        "d": 1 * torch.randn((D,), generator=generator, dtype=torch.float32),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"h": torch.zeros((batch, N), dtype=torch.complex64, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    nu = taken(params, "nu", (N,), torch.float32)
    theta = taken(params, "theta", (N,), torch.float32)
    gamma = taken(params, "gamma", (N,), torch.float32)
    B = taken(params, "B", (N, D), torch.complex64)
    C = taken(params, "C", (D, N), torch.complex64)
    d = taken(params, "d", (D,), torch.float32)
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    state = starting(params, state, batch, device)

    # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
    B_x = x.to(torch.complex64) @ B.mT  # [B, T, N]

    # std/lru.lsrl:13  a = exp(-exp(nu)) * cis(exp(theta))
    a = torch.exp(-torch.exp(nu)) * torch.polar(torch.ones_like(torch.exp(theta)), torch.exp(theta))
    # std/lru.lsrl:14  h' = a * h + exp(gamma) * (B @ x)
    exp_gamma = torch.exp(gamma)
    h_next, h_last = h_loop(B_x, a, exp_gamma, state["h"])

    # std/lru.lsrl:16  output y = re(C @ h') + d * x
    y = (h_next @ C.mT).real + d * x

    return {"y": y}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Lru(torch.nn.Module):
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
    "h": "one Triton kernel over time, batch programs of 1 warp",
}
KERNELS = (
    (
        h_kernel,
        {
            "B_x": "*fp32",
            "a": "*fp32",
            "exp_gamma": "*fp32",
            "h_0": "*fp32",
            "h_next": "*fp32",
            "h_T": "*fp32",
            "T": "i32",
        },
        h_constants,
    ),
)
