"""noisy

Arrays, by name:
    inputs   x, eps, mask [B, T, D]
    params   scale, width []
    state    h [B, D]
    outputs  h [B, T, D]

Schedule of h: one Triton kernel over time, batch programs of 1 warp.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from noisy.lsrl by
    lsrl compile noisy.lsrl --target triton
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
def h_kernel(
    eps,  # [B, T, D]
    mask_x,  # [B, T, D]
    scale,  # [], the same at all positions
    h_0,  # [B, D], at the start
    h_next,  # [B, T, D], written
    h_T,  # [B, D], at the end, written
    T,
    D: tl.constexpr,
    BD: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BD)

    b_scale = tl.load(scale)
    b_h = tl.load(h_0 + i_b * D + o_d)  # [BD]

    p_eps = eps + i_b * T * D + o_d
    p_mask_x = mask_x + i_b * T * D + o_d
    p_h_next = h_next + i_b * T * D + o_d
    for _ in range(T):
        b_eps = tl.load(p_eps)  # [BD]
        b_mask_x = tl.load(p_mask_x)  # [BD]
        # <text>:8  h' = 0.5 * h + scale * eps + mask * x
        b_h_next = 0.5 * b_h + b_scale * b_eps + b_mask_x
        tl.store(p_h_next, b_h_next)
        b_h = b_h_next
        p_eps += D
        p_mask_x += D
        p_h_next += D
    tl.store(h_T + i_b * D + o_d, b_h)


h_constants = {"D": D, "BD": 64, "num_warps": 1}


def h_launch(eps, mask_x, scale, h):
    """Run `h_kernel`: what it keeps of every position, then the last states."""
    batch, length = eps.shape[:2]
    h_next = h.new_empty((batch, length, D), dtype=torch.float32)
    h_T = torch.empty_like(h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(h):
        h_kernel[grid](
            eps.contiguous(),
            mask_x.contiguous(),
            scale.contiguous(),
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


def h_loop(eps, mask_x, scale, h):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(h):
        return HLoop.apply(eps, mask_x, scale, h)
    return h_plain(eps, mask_x, scale, h)


def h_plain(eps, mask_x, scale, h):
    """h over time in plain PyTorch: h_next of every position, then the last states."""
    all_h_next = []
    for eps, mask_x in positions(eps, mask_x):
        # <text>:8  h' = 0.5 * h + scale * eps + mask * x
        h_next = 0.5 * h + scale * eps + mask_x
        all_h_next.append(h_next)
        h = h_next
    return over_time(all_h_next, (D,), torch.float32, h), h


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    params = {
        "scale": torch.full((), 2.0, dtype=torch.float32, device=device),
        "width": torch.full((), 2.0, dtype=torch.float32, device=device),
    }
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    return {"h": torch.zeros((batch, D), dtype=torch.float32, device=device)}


def apply(params, inputs, state=None, generator=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    Noise is an input that may be left out: it is then drawn with `generator`.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    scale = taken(params, "scale", (), torch.float32)
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    width = params["width"].to(torch.float32)  # []
    eps = (
        taken(inputs, "eps", (batch, length, D), torch.float32)
        if "eps" in inputs
        else (width * torch.randn((batch, length, D), generator=generator, dtype=torch.float32)).to(
            device, torch.float32
        )
    )
    mask = (
        taken(inputs, "mask", (batch, length, D), torch.float32)
        if "mask" in inputs
        else (torch.rand((batch, length, D), generator=generator) < 0.5).to(torch.float32).to(
            device, torch.float32
        )
    )
    state = starting(params, state, batch, device)

    # <text>:8  h' = 0.5 * h + scale * eps + mask * x
    mask_x = mask * x

    h_next, h_last = h_loop(eps, mask_x, scale, state["h"])

    return {"h": h_next}, {"h": h_last}


def step(params, inputs, state, generator=None):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state, generator=generator)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Noisy(torch.nn.Module):
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
            "eps": "*fp32",
            "mask_x": "*fp32",
            "scale": "*fp32",
            "h_0": "*fp32",
            "h_next": "*fp32",
            "h_T": "*fp32",
            "T": "i32",
        },
        h_constants,
    ),
)
