"""mingru: Minimal gated recurrent unit (Feng et al., 2024, "Were RNNs all we needed?").

Arrays, by name:
    inputs   x [B, T, D]
    params   Wz, Wh [H, D]; bz, bh [H]
    state    h [B, H]
    outputs  h [B, T, H]

Schedule of h: one Triton kernel over time, batch x cdiv(H, 128) programs of 1 warp.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from std/mingru by
    lsrl compile std/mingru --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import warnings

import torch
import triton
import triton.language as tl

D, H = 32, 256

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
    W_zh_x,  # [B, T, 2*H]
    bz,  # [H], the same at all positions
    bh,  # [H], the same at all positions
    h_0,  # [B, H], at the start
    h_next,  # [B, T, H], written
    h_T,  # [B, H], at the end, written
    T,
    H: tl.constexpr,
    BH: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    i_h = tl.program_id(1)
    o_h = i_h * BH + tl.arange(0, BH)

    b_bz = tl.load(bz + o_h)  # [BH]
    b_bh = tl.load(bh + o_h)  # [BH]
    b_h = tl.load(h_0 + i_b * H + o_h)  # [BH]

    p_W_zh_x_z = W_zh_x + i_b * T * (2 * H) + o_h
    p_W_zh_x_c = W_zh_x + i_b * T * (2 * H) + o_h + H
    p_h_next = h_next + i_b * T * H + o_h
    for _ in range(T):
        b_W_zh_x_z = tl.load(p_W_zh_x_z)  # [BH]
        b_W_zh_x_c = tl.load(p_W_zh_x_c)  # [BH]
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        b_z = tl.sigmoid(b_W_zh_x_z + b_bz)
        # std/mingru.lsrl:10  c = Wh @ x + bh
        b_c = b_W_zh_x_c + b_bh
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        b_h_next = (1 - b_z) * b_h + b_z * b_c
        tl.store(p_h_next, b_h_next)
        b_h = b_h_next
        p_W_zh_x_z += 2 * H
        p_W_zh_x_c += 2 * H
        p_h_next += H
    tl.store(h_T + i_b * H + o_h, b_h)


h_constants = {"H": H, "BH": 128, "num_warps": 1}


def h_launch(W_zh_x, bz, bh, h):
    """Run `h_kernel`: what it keeps of every position, then the last states."""
    batch, length = W_zh_x.shape[:2]
    h_next = h.new_empty((batch, length, H), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    grid = (batch, triton.cdiv(H, 128))
    with torch.cuda.device_of(h):
        h_kernel[grid](
            W_zh_x.contiguous(),
            bz.contiguous(),
            bh.contiguous(),
            h.contiguous(),
            h_next,
            h_T,
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


def h_loop(W_zh_x, bz, bh, h):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(h):
        return HLoop.apply(W_zh_x, bz, bh, h)
    return h_plain(W_zh_x, bz, bh, h)


def h_plain(W_zh_x, bz, bh, h):
    """h over time in plain PyTorch: h_next of every position, then the last states."""
    all_h_next = []
    for (W_zh_x,) in positions(W_zh_x):
        # std/mingru.lsrl:9  z = sigmoid(Wz @ x + bz)
        z = torch.sigmoid(W_zh_x[..., :H] + bz)
        # std/mingru.lsrl:10  c = Wh @ x + bh
        c = W_zh_x[..., H:] + bh
        # std/mingru.lsrl:11  h' = (1 - z) * h + z * c
        h_next = (1 - z) * h + z * c
        all_h_next.append(h_next)
        h = h_next
    return over_time(all_h_next, (H,), torch.float32, h), h


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {
        "Wz": uniform((H, D), -1 / math.sqrt(D), 1 / math.sqrt(D), generator),
        "Wh": uniform((H, D), -1 / math.sqrt(D), 1 / math.sqrt(D), generator),
        "bz": torch.zeros((H,), dtype=torch.float32, device=device),
        "bh": torch.zeros((H,), dtype=torch.float32, device=device),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"h": torch.zeros((batch, H), dtype=torch.float32, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    Wz = taken(params, "Wz", (H, D), torch.float32)
    Wh = taken(params, "Wh", (H, D), torch.float32)
    bz = taken(params, "bz", (H,), torch.float32)
    bh = taken(params, "bh", (H,), torch.float32)
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    state = starting(params, state, batch, device)

    W_zh_x = x @ torch.cat([Wz, Wh]).mT  # [B, T, 2*H]

    h_next, h_last = h_loop(W_zh_x, bz, bh, state["h"])

    return {"h": h_next}, {"h": h_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Mingru(torch.nn.Module):
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
    "h": "one Triton kernel over time, batch x cdiv(H, 128) programs of 1 warp",
}
KERNELS = (
    (
        h_kernel,
        {
            "W_zh_x": "*fp32",
            "bz": "*fp32",
            "bh": "*fp32",
            "h_0": "*fp32",
            "h_next": "*fp32",
            "h_T": "*fp32",
            "T": "i32",
        },
        h_constants,
    ),
)
