"""restarted

Arrays, by name:
    inputs   x [B, T, D]; r [B, T] bool
    params   s [D]
    state    a [B, D]; n [B] int
    outputs  a [B, T, D]; n [B, T] int

Schedule of a: one Triton kernel over time, batch programs of 1 warp.
Schedule of n: one Triton kernel over time, batch programs of 1 warp.

Kernels run forward. Gradients, those of higher order too, come from the plain PyTorch form of each loop,
which runs anew in the backward pass. Where there is no GPU the plain form runs forward as well, and says
so.

Made from resets.lsrl by
    lsrl compile resets.lsrl --target triton
It needs nothing but torch and triton.
"""

import functools
import math
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


def uniform(shape, low, high, generator):
    """Uniform between two numbers."""
    return low + (high - low) * torch.rand(shape, generator=generator, dtype=torch.float32)


@triton.jit
def remainder(x, y):
    """x - y floor(x / y), with the sign of y; Triton's own remainder has that of x."""
    r = x % y
    return tl.where((r != 0) & ((r < 0) != (y < 0)), r + y, r)


@triton.jit(do_not_specialize=["T"])
def a_kernel(
    x,  # [B, T, D]
    r,  # [B, T]
    s,  # [D], the same at all positions
    a_0,  # [B, D], at the start
    a_next,  # [B, T, D], written
    a_T,  # [B, D], at the end, written
    T,
    D: tl.constexpr,
    BD: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BD)

    b_s = tl.load(s + o_d)  # [BD]
    b_a = tl.load(a_0 + i_b * D + o_d)  # [BD]

    p_x = x + i_b * T * D + o_d
    p_r = r + i_b * T
    p_a_next = a_next + i_b * T * D + o_d
    for _ in range(T):
        b_x = tl.load(p_x)  # [BD]
        b_r = tl.load(p_r)
        # <text>:5  state a: [D] = s, n: [] int = 3
        b_a_or_init = tl.where(b_r, b_s, b_a)
        # <text>:7  a' = 0.9 * a + x
        b_a_next = 0.9 * b_a_or_init + b_x
        tl.store(p_a_next, b_a_next)
        b_a = b_a_next
        p_x += D
        p_r += 1
        p_a_next += D
    tl.store(a_T + i_b * D + o_d, b_a)


a_constants = {"D": D, "BD": 64, "num_warps": 1}


def a_launch(x, r, s, a):
    """Run `a_kernel`: what it keeps of every position, then the last states."""
    batch, length = x.shape[:2]
    a_next = a.new_empty((batch, length, D), dtype=torch.float32)
    a_T = torch.empty_like(a, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(a):
        a_kernel[grid](
            x.contiguous(), r.contiguous(), s.contiguous(), a.contiguous(), a_next, a_T, length, **a_constants
        )
    return a_next, a_T


class ALoop(torch.autograd.Function):
    """`a_launch` forward; backward through `a_plain`."""

    @staticmethod
    def forward(*arguments):
        return a_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(a_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def a_loop(x, r, s, a):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(a):
        return ALoop.apply(x, r, s, a)
    return a_plain(x, r, s, a)


def a_plain(x, r, s, a):
    """a over time in plain PyTorch: a_next of every position, then the last states."""
    all_a_next = []
    for x, r in positions(x, r):
        # <text>:5  state a: [D] = s, n: [] int = 3
        a_or_init = torch.where(r[..., None], s, a)
        # <text>:7  a' = 0.9 * a + x
        a_next = 0.9 * a_or_init + x
        all_a_next.append(a_next)
        a = a_next
    return over_time(all_a_next, (D,), torch.float32, a), a


@triton.jit(do_not_specialize=["T"])
def n_kernel(
    r,  # [B, T]
    n_0,  # [B], at the start
    n_next,  # [B, T], written
    n_T,  # [B], at the end, written
    T,
):
    i_b = tl.program_id(0).to(tl.int64)

    b_n = tl.load(n_0 + i_b)

    p_r = r + i_b * T
    p_n_next = n_next + i_b * T
    for _ in range(T):
        b_r = tl.load(p_r)
        # <text>:5  state a: [D] = s, n: [] int = 3
        b_n_or_init = tl.where(b_r, 3, b_n)
        # <text>:8  n' = (n + 2) % 5
        b_n_next = remainder(b_n_or_init + 2, 5)
        tl.store(p_n_next, b_n_next)
        b_n = b_n_next
        p_r += 1
        p_n_next += 1
    tl.store(n_T + i_b, b_n)


n_constants = {"num_warps": 1}


def n_launch(r, n):
    """Run `n_kernel`: what it keeps of every position, then the last states."""
    batch, length = r.shape[:2]
    n_next = n.new_empty((batch, length), dtype=torch.int64)
    n_T = torch.empty_like(n, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(n):
        n_kernel[grid](r.contiguous(), n.contiguous(), n_next, n_T, length, **n_constants)
    return n_next, n_T


class NLoop(torch.autograd.Function):
    """`n_launch` forward; backward through `n_plain`."""

    @staticmethod
    def forward(*arguments):
        return n_launch(*arguments)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.save_for_backward(*inputs)
        ctx.mark_non_differentiable(*(tensor for tensor in output if not is_smooth(tensor)))

    @staticmethod
    def backward(ctx, *gradients):
        return tuple(pulled_back(n_plain, ctx.saved_tensors, ctx.needs_input_grad, gradients))


def n_loop(r, n):
    """The loop by its kernel where there is a GPU, else in plain PyTorch."""
    if runs_kernels(n):
        return NLoop.apply(r, n)
    return n_plain(r, n)


def n_plain(r, n):
    """n over time in plain PyTorch: n_next of every position, then the last states."""
    all_n_next = []
    for (r,) in positions(r):
        # <text>:5  state a: [D] = s, n: [] int = 3
        n_or_init = torch.where(r, 3, n)
        # <text>:8  n' = (n + 2) % 5
        n_next = torch.remainder(n_or_init + 2, torch.tensor(5, dtype=torch.int64))
        all_n_next.append(n_next)
        n = n_next
    return over_time(all_n_next, (), torch.int64, n), n


def init(seed=0, device=None):
    """Parameters by name, drawn as the program says."""
    generator = torch.Generator().manual_seed(seed)
    params = {"s": uniform((D,), -1 / math.sqrt(D), 1 / math.sqrt(D), generator)}
    return {name: param.to(device) for name, param in params.items()}


def initial_state(params, batch, device=None):
    """Every state before the first position, [B, ...] by name."""
    s = params["s"].to(torch.float32)  # [D]
    return {"a": s.expand((batch, D)), "n": torch.full((batch,), 3, dtype=torch.int64, device=device)}


def apply(params, inputs, state=None):
    """Run whole sequences: (outputs [B, T, ...], final state [B, ...]) by name.

    `state` holds initial states by name; those it lacks start as the program says.
    """
    batch, length = inputs["x"].shape[:2]
    device = inputs["x"].device
    s = taken(params, "s", (D,), torch.float32)
    x = taken(inputs, "x", (batch, length, D), torch.float32)
    r = taken(inputs, "r", (batch, length), torch.bool)
    state = starting(params, state, batch, device)

    a_next, a_last = a_loop(x, r, s, state["a"])

    n_next, n_last = n_loop(r, state["n"])

    return {"a": a_next, "n": n_next}, {"a": a_last, "n": n_last}


def step(params, inputs, state):
    """One position: `apply` without the time axis."""
    inputs = {name: tensor[:, None] for name, tensor in inputs.items()}
    outputs, state = apply(params, inputs, state)
    return {name: tensor[:, 0] for name, tensor in outputs.items()}, state


class Restarted(torch.nn.Module):
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
    "a": "one Triton kernel over time, batch programs of 1 warp",
    "n": "one Triton kernel over time, batch programs of 1 warp",
}
KERNELS = (
    (
        a_kernel,
        {
            "x": "*fp32",
            "r": "*i1",
            "s": "*fp32",
            "a_0": "*fp32",
            "a_next": "*fp32",
            "a_T": "*fp32",
            "T": "i32",
        },
        a_constants,
    ),
    (n_kernel, {"r": "*i1", "n_0": "*i64", "n_next": "*i64", "n_T": "*i64", "T": "i32"}, n_constants),
)
