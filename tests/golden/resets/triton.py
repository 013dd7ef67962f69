"""restarted

Arrays, by name:
    inputs   x [B, T, D]; r [B, T] bool
    params   s [D]
    state    a [B, D]; n [B] int
    outputs  a [B, T, D]; n [B, T] int

Schedule of a: one Triton kernel over time, batch programs of 1 warp.
Schedule of n: one Triton kernel over time, batch programs of 1 warp.
Backward pass of a: one Triton kernel over time, batch programs of 1 warp, from nothing but what went in.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from resets.lsrl by
    lsrl compile resets.lsrl --target triton
It needs nothing but torch and triton.
"""

import functools
import math
import os
import sys
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


def own_namespace(wanted):
    """The namespace that is wanted, or one like it where another module of the same text has its operators there.

    Registering an operator anew would leave that other module's without what it runs.
    """
    found, number = wanted, 1
    while hasattr(getattr(torch.ops, found), "module"):
        found, number = f"{wanted}_{number}", number + 1
    torch.library.define(f"{found}::module", "() -> ()")
    return found


# Operators stay when the module goes, so the name is made from its text.
OPERATORS = own_namespace("lsrl_0138935d58a9")


class Operator:
    """A function as an operator of this module, which compilers of graphs do not look into.

    It is what `torch.library.custom_op` makes, which loads PyTorch's compiler, a second's work, at the first call.
    """

    def __init__(self, function):
        self.name = f"{OPERATORS}::{function.__name__}"
        torch.library.define(self.name, torch.library.infer_schema(function, mutates_args=()))
        torch.library.impl(self.name, "default", untraced(function))
        self.call = getattr(getattr(torch.ops, OPERATORS), function.__name__).default
        functools.update_wrapper(self, function)

    def __call__(self, *given):
        return self.call(*given)

    def register_fake(self, function):
        """What it gives without being run: empty tensors."""
        torch.library.register_fake(self.name, function)

    def register_vmap(self, function):
        """How it runs on tensors of which an axis is mapped over."""
        torch.library.register_vmap(self.name, function)


def untraced(function):
    """The function as PyTorch's compiler leaves it alone, where that is loaded."""

    @functools.wraps(function)
    def run(*given):
        dynamo = sys.modules.get("torch._dynamo")
        return (dynamo.disable(function) if dynamo else function)(*given)

    return run


def folded(operator, sequences):
    """The rule of `torch.vmap` for an operator on a list of tensors: what is mapped over joins the batch.

    `sequences` says which tensors have a batch in front.  Where others are mapped over, one after the other runs.
    """

    def rule(info, in_dims, tensors, *options):
        dims, size = in_dims[0], info.batch_size
        given = [x if dim is None else x.movedim(dim, 0) for x, dim in zip(tensors, dims)]
        if any(dim is not None and not own for dim, own in zip(dims, sequences)):
            each = [[x if dim is None else x[i] for x, dim in zip(given, dims)] for i in range(size)]
            found = [torch.stack(same) for same in zip(*(operator(one, *options) for one in each))]
        else:
            mapped = [dim is not None or not own for dim, own in zip(dims, sequences)]
            wide = [x if whole else x.expand(size, *x.shape) for x, whole in zip(given, mapped)]
            flat = [x.flatten(0, 1) if own else x for x, own in zip(wide, sequences)]
            found = [y.reshape(size, y.shape[0] // size, *y.shape[1:]) for y in operator(flat, *options)]
        return found, [0] * len(found)

    return rule


def separate(found, given):
    """Results of an operator, which may share memory neither with what it was given nor with each other."""
    taken = {tensor.untyped_storage().data_ptr() for tensor in given}
    results = []
    for tensor in found:
        place = tensor.untyped_storage().data_ptr()
        results.append(tensor.clone() if place in taken else tensor)
        taken.add(place)
    return results


def filled(cotangent, like, shape, dtype):
    """A cotangent, zeros where there is none."""
    return like.new_zeros(shape, dtype=dtype) if cotangent is None else cotangent


def is_smooth(tensor):
    """Whether a tensor can have gradients."""
    return tensor.is_floating_point() or tensor.is_complex()


def pulled_back(function, tensors, cotangents):
    """The cotangent of each tensor through a function, None for ints and bools, from those of its first smooth results.

    It can be differentiated once more.
    """
    smooth = [is_smooth(tensor) for tensor in tensors]

    def of_smooth(*moving):
        given = iter(moving)
        found = function(*(next(given) if own else tensor for tensor, own in zip(tensors, smooth)))
        return [result for result in found if result is not None and is_smooth(result)][: len(cotangents)]

    pull = torch.func.vjp(of_smooth, *(tensor for tensor, own in zip(tensors, smooth) if own))[1]
    found = iter(pull(list(cotangents)))
    return [next(found) if own else None for own in smooth]


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


@Operator
def a_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(a_launch(*tensors))
    return separate(a_plain(*tensors), tensors)


@a_operator.register_fake
def _(tensors, length, every):
    a = tensors[-1]
    batch = a.shape[0]
    return [
        a.new_empty((batch, length, D), dtype=torch.float32),
        torch.empty_like(a, memory_format=torch.contiguous_format),
    ]


a_operator.register_vmap(folded(a_operator, (True, True, False, True)))


def a_loop(x, r, s, a):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return ALoop.apply(x.shape[1], 0, x, r, s, a)


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
def d_a_kernel(
    r,  # [B, T]
    d_a_next,  # [B, T, D]
    d_a_0,  # [B, D], at the start
    d_x,  # [B, T, D], written
    d_s,  # [B, T, D], written
    d_a_T,  # [B, D], at the end, written
    T,
    D: tl.constexpr,
    BD: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BD)

    b_d_a = tl.load(d_a_0 + i_b * D + o_d)  # [BD]

    p_r = r + (i_b * T + T - 1)
    p_d_a_next = d_a_next + (i_b * T + T - 1) * D + o_d
    p_d_x = d_x + (i_b * T + T - 1) * D + o_d
    p_d_s = d_s + (i_b * T + T - 1) * D + o_d
    for _ in range(T):
        b_r = tl.load(p_r)
        b_d_a_next = tl.load(p_d_a_next)  # [BD]
        b_d_x = b_d_a + b_d_a_next
        b_d_x_scaled = 0.9 * b_d_x
        b_d_s = tl.where(b_r, b_d_x_scaled, 0.0)
        b_d_a_next_2 = tl.where(b_r, 0.0, b_d_x_scaled)
        tl.store(p_d_x, b_d_x)
        tl.store(p_d_s, b_d_s)
        b_d_a = b_d_a_next_2
        p_r -= 1
        p_d_a_next -= D
        p_d_x -= D
        p_d_s -= D
    tl.store(d_a_T + i_b * D + o_d, b_d_a)


d_a_constants = {"D": D, "BD": 64, "num_warps": 1}


def d_a_launch(r, d_a_next, d_a):
    """Run `d_a_kernel`: what it keeps of every position, then the last states."""
    batch, length = r.shape[:2]
    d_x = d_a.new_empty((batch, length, D), dtype=torch.float32)
    d_s = d_a.new_empty((batch, length, D), dtype=torch.float32)
    d_a_T = torch.empty_like(d_a, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(d_a):
        d_a_kernel[grid](
            r.contiguous(), d_a_next.contiguous(), d_a.contiguous(), d_x, d_s, d_a_T, length, **d_a_constants
        )
    return d_x, d_s, d_a_T


@Operator
def d_a_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_a_launch(*tensors))
    return separate(d_a_plain(*tensors), tensors)


@d_a_operator.register_fake
def _(tensors, length, every):
    d_a = tensors[-1]
    batch = d_a.shape[0]
    return [
        d_a.new_empty((batch, length, D), dtype=torch.float32),
        d_a.new_empty((batch, length, D), dtype=torch.float32),
        torch.empty_like(d_a, memory_format=torch.contiguous_format),
    ]


d_a_operator.register_vmap(folded(d_a_operator, (True, True, True)))


def d_a_loop(r, d_a_next, d_a):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_a_operator([r, d_a_next, d_a], r.shape[1], 0)


def d_a_plain(r, d_a_next, d_a):
    """d_a over time in plain PyTorch, from the end to the start: d_x, d_s of every position, then the last
    states.
    """
    all_d_x = []
    all_d_s = []
    for r, d_a_next in positions(r, d_a_next, reverse=True):
        d_x = d_a + d_a_next
        d_x_scaled = 0.9 * d_x
        d_s = torch.where(r[..., None], d_x_scaled, 0.0)
        d_a_next_2 = torch.where(r[..., None], 0.0, d_x_scaled)
        all_d_x.append(d_x)
        all_d_s.append(d_s)
        d_a = d_a_next_2
    return (
        over_time(all_d_x, (D,), torch.float32, d_a, reverse=True),
        over_time(all_d_s, (D,), torch.float32, d_a, reverse=True),
        d_a,
    )


def a_adjoint(x, r, s, d_a_next, d_a_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    d_x, d_s, d_a_last_2 = d_a_loop(r, d_a_next, d_a_last)
    d_s_sum = d_s.sum((0, 1))

    return d_x, d_s_sum, d_a_last_2


class ADerivative(torch.autograd.Function):
    """`a_adjoint`, whose own derivative goes through `a_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, x, r, s, a, d_a_next, d_a_last):
        return a_adjoint(x, r, s, d_a_next, d_a_last)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(a_plain, tensors[:4], tensors[4:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found


class ALoop(torch.autograd.Function):
    """`a_operator`, whose derivative is `ADerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, x, r, s, a):
        return tuple(a_operator([x, r, s, a], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        a = tensors[3]
        batch, length = a.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], a, (batch, length, D), torch.float32),
            filled(cotangents[1], a, a.shape, a.dtype),
        ]
        found = iter(ADerivative.apply(ctx.length, ctx.every, *tensors, *cotangents))
        return None, None, *(next(found) if own else None for own in (True, False, True, True))


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


@Operator
def n_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(n_launch(*tensors))
    return separate(n_plain(*tensors), tensors)


@n_operator.register_fake
def _(tensors, length, every):
    n = tensors[-1]
    batch = n.shape[0]
    return [
        n.new_empty((batch, length), dtype=torch.int64),
        torch.empty_like(n, memory_format=torch.contiguous_format),
    ]


n_operator.register_vmap(folded(n_operator, (True, True)))


def n_loop(r, n):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return n_operator([r, n], r.shape[1], 0)


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
    (
        d_a_kernel,
        {
            "r": "*i1",
            "d_a_next": "*fp32",
            "d_a_0": "*fp32",
            "d_x": "*fp32",
            "d_s": "*fp32",
            "d_a_T": "*fp32",
            "T": "i32",
        },
        d_a_constants,
    ),
    (n_kernel, {"r": "*i1", "n_0": "*i64", "n_next": "*i64", "n_T": "*i64", "T": "i32"}, n_constants),
)
