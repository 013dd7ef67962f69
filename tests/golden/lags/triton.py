"""lagged

Arrays, by name:
    inputs   x [B, T, D]
    state    h, x[t-1], x[t-2], h[t-2], h[t-3] [B, D]
    outputs  y, z [B, T, D]

Schedule of h: one Triton kernel over time, batch programs of 1 warp.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from lags.lsrl by
    lsrl compile lags.lsrl --target triton
It needs nothing but torch and triton.
"""

import functools
import os
import warnings

import torch
import triton
import triton.language as tl

D = 64

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


def later(first, sequence):
    """The sequence one position later, `first` in front, and the element that falls off its end."""
    whole = torch.cat([first[:, None], sequence], 1)
    return whole[:, :-1], whole[:, -1]


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
def tanh(x):
    """Hyperbolic tangent; its series near 0, where the quotient loses digits."""
    e = tl.exp(-2 * tl.abs(x))
    far = (1 - e) / (1 + e)
    s = x * x
    near = x * (1 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))))
    return tl.where(s < 0.01, near, tl.where(x < 0, -far, far))


@triton.jit(do_not_specialize=["T"])
def h_kernel(
    x,  # [B, T, D]
    x_prev2,  # [B, T, D]
    x_prev,  # [B, T, D]
    h_0,  # [B, D], at the start
    h,  # [B, T, D], written
    y,  # [B, T, D], written
    h_T,  # [B, D], at the end, written
    T,
    D: tl.constexpr,
    BD: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BD)

    b_h = tl.load(h_0 + i_b * D + o_d)  # [BD]

    p_x = x + i_b * T * D + o_d
    p_x_prev2 = x_prev2 + i_b * T * D + o_d
    p_x_prev = x_prev + i_b * T * D + o_d
    p_h = h + i_b * T * D + o_d
    p_y = y + i_b * T * D + o_d
    for _ in range(T):
        b_x = tl.load(p_x)  # [BD]
        b_x_prev2 = tl.load(p_x_prev2)  # [BD]
        b_x_prev = tl.load(p_x_prev)  # [BD]
        # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
        b_h_next = tanh(0.5 * b_h + b_x_prev2 - 0.3 * b_x)
        # <text>:6  output y = h' + x[t-1], z = h'[t-3]
        b_y = b_h_next + b_x_prev
        tl.store(p_h, b_h)
        tl.store(p_y, b_y)
        b_h = b_h_next
        p_x += D
        p_x_prev2 += D
        p_x_prev += D
        p_h += D
        p_y += D
    tl.store(h_T + i_b * D + o_d, b_h)


h_constants = {"D": D, "BD": 64, "num_warps": 1}


def h_launch(x, x_prev2, x_prev, h):
    """Run `h_kernel`: what it keeps of every position, then the last states."""
    batch, length = x.shape[:2]
    h_out = h.new_empty((batch, length, D), dtype=torch.float32)
    y = h.new_empty((batch, length, D), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(h):
        h_kernel[grid](
            x.contiguous(),
            x_prev2.contiguous(),
            x_prev.contiguous(),
            h.contiguous(),
            h_out,
            y,
            h_T,
            length,
            **h_constants,
        )
    return h_out, y, h_T


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


def h_loop(x, x_prev2, x_prev, h):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(h):
        return HLoop.apply(x, x_prev2, x_prev, h)
    return h_plain(x, x_prev2, x_prev, h)


def h_plain(x, x_prev2, x_prev, h):
    """h over time in plain PyTorch: h, y of every position, then the last states."""
    all_h = []
    all_y = []
    for x, x_prev2, x_prev in positions(x, x_prev2, x_prev):
        # <text>:5  h' = tanh(0.5 * h[t-1] + x[t-2] - 0.3 * x)
        h_next = torch.tanh(0.5 * h + x_prev2 - 0.3 * x)
        # <text>:6  output y = h' + x[t-1], z = h'[t-3]
        y = h_next + x_prev
        all_h.append(h)
        all_y.append(y)
        h = h_next
    return over_time(all_h, (D,), torch.float32, h), over_time(all_y, (D,), torch.float32, h), h


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    params = {}
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {
        "h": torch.full((batch, D), 0.5, dtype=torch.float32, device=device),
        "x[t-1]": torch.full((batch, D), -1.0, dtype=torch.float32, device=device),
        "x[t-2]": torch.full((batch, D), -1.0, dtype=torch.float32, device=device),
        "h[t-2]": torch.full((batch, D), 0.5, dtype=torch.float32, device=device),
        "h[t-3]": torch.full((batch, D), 0.5, dtype=torch.float32, device=device),
    }


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    state = starting(params, state, batch, device)

    x_prev, x_prev_last = later(state["x[t-1]"], x)  # [B, T, D]

    x_prev2, x_prev2_last = later(state["x[t-2]"], x_prev)  # [B, T, D]

    h, y, h_last = h_loop(x, x_prev2, x_prev, state["h"])

    h_prev2, h_prev2_last = later(state["h[t-2]"], h)  # [B, T, D]

    h_prev3, h_prev3_last = later(state["h[t-3]"], h_prev2)  # [B, T, D]

    return {"y": y, "z": h_prev3}, {
        "h": h_last,
        "x[t-1]": x_prev_last,
        "x[t-2]": x_prev2_last,
        "h[t-2]": h_prev2_last,
        "h[t-3]": h_prev3_last,
    }


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Lagged(torch.nn.Module):
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
            "x": "*fp32",
            "x_prev2": "*fp32",
            "x_prev": "*fp32",
            "h_0": "*fp32",
            "h": "*fp32",
            "y": "*fp32",
            "h_T": "*fp32",
            "T": "i32",
        },
        h_constants,
    ),
)
