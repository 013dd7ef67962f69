"""lstm: Long short-term memory with forget gate (Gers et al., 2000), with the parameters of torch.nn.LSTM.

Arrays, by name:
    inputs   x [B, T, D]
    params   W_ih [4*H, D]; W_hh [4*H, H]; b_ih, b_hh [4*H]
    state    h, c [B, H]
    outputs  h [B, T, H]

Schedule of h, c: one Triton kernel over time, batch programs of 8 warps.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from std/lstm by
    lsrl compile std/lstm --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import warnings

import torch
import triton
import triton.language as tl

D, H = 32, 64

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
def tanh(x):
    """Hyperbolic tangent; its series near 0, where the quotient loses digits."""
    e = tl.exp(-2 * tl.abs(x))
    far = (1 - e) / (1 + e)
    s = x * x
    near = x * (1 + s * (-1 / 3 + s * (2 / 15 + s * (-17 / 315 + s * (62 / 2835)))))
    return tl.where(s < 0.01, near, tl.where(x < 0, -far, far))


@triton.jit(do_not_specialize=["T"])
def h_c_kernel(
    W_ih_x,  # [B, T, 4*H]
    W_hh,  # [4*H, H], the same at all positions
    b_ih,  # [4*H], the same at all positions
    b_hh,  # [4*H], the same at all positions
    h_0,  # [B, H], at the start
    c_0,  # [B, H], at the start
    h_next,  # [B, T, H], written
    h_T,  # [B, H], at the end, written
    c_T,  # [B, H], at the end, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_h = tl.arange(0, BH)

    b_W_hh_i = tl.load(W_hh + o_h[:, None] * H + o_h[None, :])  # [BH, BH]
    b_W_hh_f = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + H ** 2)  # [BH, BH]
    b_W_hh_g = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + 2 * H ** 2)  # [BH, BH]
    b_W_hh_o = tl.load(W_hh + o_h[:, None] * H + o_h[None, :] + 3 * H ** 2)  # [BH, BH]
    b_b_ih_i = tl.load(b_ih + o_h)  # [BH]
    b_b_ih_f = tl.load(b_ih + o_h + H)  # [BH]
    b_b_ih_g = tl.load(b_ih + o_h + 2 * H)  # [BH]
    b_b_ih_o = tl.load(b_ih + o_h + 3 * H)  # [BH]
    b_b_hh_i = tl.load(b_hh + o_h)  # [BH]
    b_b_hh_f = tl.load(b_hh + o_h + H)  # [BH]
    b_b_hh_g = tl.load(b_hh + o_h + 2 * H)  # [BH]
    b_b_hh_o = tl.load(b_hh + o_h + 3 * H)  # [BH]
    b_h = tl.load(h_0 + i_b * H + o_h)  # [BH]
    b_c = tl.load(c_0 + i_b * H + o_h)  # [BH]

    p_W_ih_x_i = W_ih_x + i_b * T * (4 * H) + o_h
    p_W_ih_x_f = W_ih_x + i_b * T * (4 * H) + o_h + H
    p_W_ih_x_g = W_ih_x + i_b * T * (4 * H) + o_h + 2 * H
    p_W_ih_x_o = W_ih_x + i_b * T * (4 * H) + o_h + 3 * H
    p_h_next = h_next + i_b * T * H + o_h
    for _ in range(T):
        b_W_ih_x_i = tl.load(p_W_ih_x_i)  # [BH]
        b_W_ih_x_f = tl.load(p_W_ih_x_f)  # [BH]
        b_W_ih_x_g = tl.load(p_W_ih_x_g)  # [BH]
        b_W_ih_x_o = tl.load(p_W_ih_x_o)  # [BH]
        # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
        b_o = b_W_ih_x_o + b_b_ih_o + tl.sum(b_W_hh_o * b_h[None, :], axis=1) + b_b_hh_o
        b_f = b_W_ih_x_f + b_b_ih_f + tl.sum(b_W_hh_f * b_h[None, :], axis=1) + b_b_hh_f
        b_i = b_W_ih_x_i + b_b_ih_i + tl.sum(b_W_hh_i * b_h[None, :], axis=1) + b_b_hh_i
        b_g = b_W_ih_x_g + b_b_ih_g + tl.sum(b_W_hh_g * b_h[None, :], axis=1) + b_b_hh_g
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        b_c_next = tl.sigmoid(b_f) * b_c + tl.sigmoid(b_i) * tanh(b_g)
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        b_h_next = tl.sigmoid(b_o) * tanh(b_c_next)
        tl.store(p_h_next, b_h_next)
        b_h, b_c = b_h_next, b_c_next
        p_W_ih_x_i += 4 * H
        p_W_ih_x_f += 4 * H
        p_W_ih_x_g += 4 * H
        p_W_ih_x_o += 4 * H
        p_h_next += H
    tl.store(h_T + i_b * H + o_h, b_h)
    tl.store(c_T + i_b * H + o_h, b_c)


h_c_constants = {"H": H, "BH": 64, "num_warps": 8}


def h_c_launch(W_ih_x, W_hh, b_ih, b_hh, h, c):
    """Run `h_c_kernel`: what it keeps of every position, then the last states."""
    batch, length = W_ih_x.shape[:2]
    h_next = h.new_empty((batch, length, H), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    c_T = torch.empty_like(c, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(h):
        h_c_kernel[grid](
            W_ih_x.contiguous(),
            W_hh.contiguous(),
            b_ih.contiguous(),
            b_hh.contiguous(),
            h.contiguous(),
            c.contiguous(),
            h_next,
            h_T,
            c_T,
            length,
            **h_c_constants,
        )
    return h_next, h_T, c_T


class HCLoop(torch.autograd.Function):
    """`h_c_launch` forward; backward through `h_c_plain`."""

    @staticmethod
    def forward(*arguments):
        return h_c_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(h_c_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def h_c_loop(W_ih_x, W_hh, b_ih, b_hh, h, c):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(h):
        return HCLoop.apply(W_ih_x, W_hh, b_ih, b_hh, h, c)
    return h_c_plain(W_ih_x, W_hh, b_ih, b_hh, h, c)


def h_c_plain(W_ih_x, W_hh, b_ih, b_hh, h, c):
    """h, c over time in plain PyTorch: h_next of every position, then the last states."""
    all_h_next = []
    for (W_ih_x,) in positions(W_ih_x):
        # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
        i, f, g, o = (W_ih_x + b_ih + h @ W_hh.mT + b_hh).split(H, -1)  # [B, H]
        # std/lstm.lsrl:11  c' = sigmoid(f) * c + sigmoid(i) * tanh(g)
        c_next = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
        # std/lstm.lsrl:12  h' = sigmoid(o) * tanh(c')
        h_next = torch.sigmoid(o) * torch.tanh(c_next)
        all_h_next.append(h_next)
        h, c = h_next, c_next
    return over_time(all_h_next, (H,), torch.float32, h), h, c


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "W_ih": uniform((4 * H, D), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "W_hh": uniform((4 * H, H), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "b_ih": uniform((4 * H,), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
        "b_hh": uniform((4 * H,), -1 / math.sqrt(H), 1 / math.sqrt(H), generator),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {
        "h": torch.zeros((batch, H), dtype=torch.float32, device=device),
        "c": torch.zeros((batch, H), dtype=torch.float32, device=device),
    }


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    W_ih = taken(params, "W_ih", (4 * H, D), torch.float32)
    W_hh = taken(params, "W_hh", (4 * H, H), torch.float32)
    b_ih = taken(params, "b_ih", (4 * H,), torch.float32)
    b_hh = taken(params, "b_hh", (4 * H,), torch.float32)
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    state = starting(params, state, batch, device)

    # std/lstm.lsrl:10  i, f, g, o = split(W_ih @ x + b_ih + W_hh @ h + b_hh, 4)
    W_ih_x = x @ W_ih.mT  # [B, T, 4*H]

    h_next, h_last, c_last = h_c_loop(W_ih_x, W_hh, b_ih, b_hh, state["h"], state["c"])

    return {"h": h_next}, {"h": h_last, "c": c_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Lstm(torch.nn.Module):
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
    "h, c": "one Triton kernel over time, batch programs of 8 warps",
}
KERNELS = (
    (
        h_c_kernel,
        {
            "W_ih_x": "*fp32",
            "W_hh": "*fp32",
            "b_ih": "*fp32",
            "b_hh": "*fp32",
            "h_0": "*fp32",
            "c_0": "*fp32",
            "h_next": "*fp32",
            "h_T": "*fp32",
            "c_T": "*fp32",
            "T": "i32",
        },
        h_c_constants,
    ),
)
