"""picture

Arrays, by name:
    inputs   frame [B, T, C, Y, X]
    params   K, R [C, C, 3, 3]
    state    h [B, C, Y, X]
    outputs  h [B, T, C, Y, X]; mean [B, T, C, X]

Schedule of h: position by position, products by PyTorch and then a Triton kernel, batch x C x cdiv(Y, 8)
    programs of 1 warp, since `conv` in line 7 has no form in a kernel.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from picture.lsrl by
    lsrl compile picture.lsrl --target triton
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

C, Y, X = 4, 16, 16

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


def conv(x, w, stride, padding, dilation, groups):
    """Correlation of x [..., C, *spatial] with w [O, C / groups, *kernel]; `padding` is low and high for each axis."""
    function = (F.conv1d, F.conv2d, F.conv3d)[w.ndim - 3]
    ends = [end for axis in reversed(range(w.ndim - 2)) for end in padding[2 * axis : 2 * axis + 2]]
    padded, lead = F.pad(x, ends), x.shape[: 1 - w.ndim]
    flat = padded.reshape(math.prod(lead), *padded.shape[len(lead) :])
    found = function(flat, w, None, stride, 0, dilation, groups)
    return found.reshape(*lead, *found.shape[1:])


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
    frame_K,  # [B, T, C, Y, X]
    h_R,  # [B, T, C, Y, X]
    h_0,  # [B, C, Y, X], at the start
    h_next,  # [B, T, C, Y, X], written
    h_T,  # [B, C, Y, X], at the end, written
    T,
    C: tl.constexpr,
    Y: tl.constexpr,
    X: tl.constexpr,
    BY: tl.constexpr,
    BX: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_c = tl.program_id(1)
    i_y = tl.program_id(2)
    o_y = i_y * BY + tl.arange(0, BY)
    o_x = tl.arange(0, BX)

    b_h = tl.load(h_0 + i_b * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :])  # [BY, BX]

    p_frame_K = frame_K + i_b * T * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :]
    p_h_R = h_R + i_b * T * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :]
    p_h_next = h_next + i_b * T * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :]
    for _ in range(T):
        b_frame_K = tl.load(p_frame_K)  # [BY, BX]
        b_h_R = tl.load(p_h_R)  # [BY, BX]
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        b_h_next = tanh(b_frame_K + b_h_R)
        tl.store(p_h_next, b_h_next)
        b_h = b_h_next
        p_frame_K += C * X * Y
        p_h_R += C * X * Y
        p_h_next += C * X * Y
    tl.store(h_T + i_b * (C * X * Y) + i_c * (X * Y) + o_y[:, None] * X + o_x[None, :], b_h)


h_constants = {"C": C, "Y": Y, "X": X, "BY": 8, "BX": 16, "num_warps": 1}


def h_launch(frame_K, R, h):
    """Products, then `h_kernel`, at each position: what is kept of all, then the last states."""
    batch, length = frame_K.shape[:2]
    frame_K = frame_K.transpose(0, 1).contiguous()  # [T, B, ...]
    h = h.clone(memory_format=torch.contiguous_format)
    h_next = h.new_empty((length, batch, C, Y, X), dtype=torch.float32)
    grid = (batch, C, triton.cdiv(Y, 8))
    for t in range(length):
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        h_R = conv(h, R, (1, 1), (1, 1, 1, 1), (1, 1), 1)  # [B, C, Y, X]
        h_T = torch.empty_like(h)
        with torch.cuda.device_of(h):
            h_kernel[grid](frame_K[t], h_R.contiguous(), h, h_next[t], h_T, 1, **h_constants)
        h = h_T
    return h_next.transpose(0, 1), h


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


def h_loop(frame_K, R, h):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(h):
        return HLoop.apply(frame_K, R, h)
    return h_plain(frame_K, R, h)


def h_plain(frame_K, R, h):
    """h over time in plain PyTorch: h_next of every position, then the last states."""
    all_h_next = []
    for (frame_K,) in positions(frame_K):
        # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
        h_next = torch.tanh(frame_K + conv(h, R, (1, 1), (1, 1, 1, 1), (1, 1), 1))
        all_h_next.append(h_next)
        h = h_next
    return over_time(all_h_next, (C, Y, X), torch.float32, h), h


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "K": 0.2 * torch.randn((C, C, 3, 3), generator=generator, dtype=torch.float32),
        "R": 0.2 * torch.randn((C, C, 3, 3), generator=generator, dtype=torch.float32),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"h": torch.zeros((batch, C, Y, X), dtype=torch.float32, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["frame"].shape[:2]
    device = inputs["frame"].device
    K = taken(params, "K", (C, C, 3, 3), torch.float32)
    R = taken(params, "R", (C, C, 3, 3), torch.float32)
    frame = taken(inputs, "frame", (batch, length, C, Y, X), torch.float32)
    state = starting(params, state, batch, device)

    # <text>:7  h' = tanh(conv(frame, K) + conv(h, R))
    frame_K = conv(frame, K, (1, 1), (1, 1, 1, 1), (1, 1), 1)  # [B, T, C, Y, X]

    h_next, h_last = h_loop(frame_K, R, state["h"])

    # <text>:8  output h', mean = mean(h', axis=1)
    mean = h_next.sum(-2) / Y

    return {"h": h_next, "mean": mean}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Picture(torch.nn.Module):
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
    "h": (
        "position by position, products by PyTorch and then a Triton kernel, batch x C x cdiv(Y, 8) "
        "programs of 1 warp, since `conv` in line 7 has no form in a kernel"
    ),
}
KERNELS = (
    (
        h_kernel,
        {"frame_K": "*fp32", "h_R": "*fp32", "h_0": "*fp32", "h_next": "*fp32", "h_T": "*fp32", "T": "i32"},
        h_constants,
    ),
)
