"""noisy

Arrays, by name:
    inputs   x, eps, mask [B, T, D]
    params   scale, width []
    state    h [B, D]
    outputs  h [B, T, D]

Schedule of h: one Triton kernel over time, batch programs of 1 warp.
Backward pass of h: one Triton kernel over time, batch programs of 1 warp, from nothing but what went in.

Derivatives of higher order go through the plain PyTorch form of each loop. Where there is no GPU the plain
forms run in place of all kernels, and say so.

Made from noisy.lsrl by
    lsrl compile noisy.lsrl --target triton
It needs nothing but torch and triton.
"""

import functools
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
OPERATORS = own_namespace("lsrl_e63e35a693a6")


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


@Operator
def h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(h_launch(*tensors))
    return separate(h_plain(*tensors), tensors)


@h_operator.register_fake
def _(tensors, length, every):
    h = tensors[-1]
    batch = h.shape[0]
    return [
        h.new_empty((batch, length, D), dtype=torch.float32),
        torch.empty_like(h, memory_format=torch.contiguous_format),
    ]


h_operator.register_vmap(folded(h_operator, (True, True, False, True)))


def h_loop(eps, mask_x, scale, h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return HLoop.apply(eps.shape[1], 0, eps, mask_x, scale, h)


def h_plain(eps, mask_x, scale, h):
    """h over time in plain PyTorch: h_next of every position, then the last states."""
    all_h_next = []
    for eps, mask_x in positions(eps, mask_x):
        # <text>:8  h' = 0.5 * h + scale * eps + mask * x
        h_next = 0.5 * h + scale * eps + mask_x
        all_h_next.append(h_next)
        h = h_next
    return over_time(all_h_next, (D,), torch.float32, h), h


@triton.jit(do_not_specialize=["T"])
def d_h_kernel(
    d_h_next,  # [B, T, D]
    d_h_0,  # [B, D], at the start
    d_mask_x,  # [B, T, D], written
    d_h_T,  # [B, D], at the end, written
    T,
    D: tl.constexpr,
    BD: tl.constexpr,
):
    i_b = tl.program_id(0).to(tl.int64)
    o_d = tl.arange(0, BD)

    b_d_h = tl.load(d_h_0 + i_b * D + o_d)  # [BD]

    p_d_h_next = d_h_next + (i_b * T + T - 1) * D + o_d
    p_d_mask_x = d_mask_x + (i_b * T + T - 1) * D + o_d
    for _ in range(T):
        b_d_h_next = tl.load(p_d_h_next)  # [BD]
        b_d_mask_x = b_d_h + b_d_h_next
        b_d_h_next_2 = 0.5 * b_d_mask_x
        tl.store(p_d_mask_x, b_d_mask_x)
        b_d_h = b_d_h_next_2
        p_d_h_next -= D
        p_d_mask_x -= D
    tl.store(d_h_T + i_b * D + o_d, b_d_h)


d_h_constants = {"D": D, "BD": 64, "num_warps": 1}


def d_h_launch(d_h_next, d_h):
    """Run `d_h_kernel`: what it keeps of every position, then the last states."""
    batch, length = d_h_next.shape[:2]
    d_mask_x = d_h.new_empty((batch, length, D), dtype=torch.float32)
    d_h_T = torch.empty_like(d_h, memory_format=torch.contiguous_format)
    grid = (batch,)
    with torch.cuda.device_of(d_h):
        d_h_kernel[grid](d_h_next.contiguous(), d_h.contiguous(), d_mask_x, d_h_T, length, **d_h_constants)
    return d_mask_x, d_h_T


@Operator
def d_h_operator(tensors: list[torch.Tensor], length: int, every: int) -> list[torch.Tensor]:
    """What the loop keeps of every position, its last states."""
    if runs_kernels(tensors[0]):
        return list(d_h_launch(*tensors))
    return separate(d_h_plain(*tensors), tensors)


@d_h_operator.register_fake
def _(tensors, length, every):
    d_h = tensors[-1]
    batch = d_h.shape[0]
    return [
        d_h.new_empty((batch, length, D), dtype=torch.float32),
        torch.empty_like(d_h, memory_format=torch.contiguous_format),
    ]


d_h_operator.register_vmap(folded(d_h_operator, (True, True)))


def d_h_loop(d_h_next, d_h):
    """The loop by its kernel where that runs, else in plain PyTorch."""
    return d_h_operator([d_h_next, d_h], d_h_next.shape[1], 0)


def d_h_plain(d_h_next, d_h):
    """d_h over time in plain PyTorch, from the end to the start: d_mask_x of every position, then the last
    states.
    """
    all_d_mask_x = []
    for (d_h_next,) in positions(d_h_next, reverse=True):
        d_mask_x = d_h + d_h_next
        d_h_next_2 = 0.5 * d_mask_x
        all_d_mask_x.append(d_mask_x)
        d_h = d_h_next_2
    return over_time(all_d_mask_x, (D,), torch.float32, d_h, reverse=True), d_h


def h_adjoint(eps, mask_x, scale, d_h_next, d_h_last):
    """The derivative of the loop: cotangents of what it takes, from those of what it gives."""

    d_mask_x, d_h_last_2 = d_h_loop(d_h_next, d_h_last)

    d_eps = scale * d_mask_x
    d_scale = (d_mask_x * eps).sum(-1)  # [B, T]
    d_scale_sum = d_scale.sum((0, 1))

    return d_eps, d_mask_x, d_scale_sum, d_h_last_2


class HDerivative(torch.autograd.Function):
    """`h_adjoint`, whose own derivative goes through `h_plain`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, eps, mask_x, scale, h, d_h_next, d_h_last):
        return h_adjoint(eps, mask_x, scale, d_h_next, d_h_last)

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, _, *tensors = inputs
        ctx.save_for_backward(*tensors)

    @staticmethod
    def backward(ctx, *cotangents):
        def derivative(*tensors):
            return pulled_back(h_plain, tensors[:4], tensors[4:])

        found = pulled_back(derivative, ctx.saved_tensors, cotangents)
        return None, None, *found


class HLoop(torch.autograd.Function):
    """`h_operator`, whose derivative is `HDerivative`."""

    generate_vmap_rule = True

    @staticmethod
    def forward(length, every, eps, mask_x, scale, h):
        return tuple(h_operator([eps, mask_x, scale, h], length, every))

    @staticmethod
    def setup_context(ctx, inputs, output):
        ctx.length, ctx.every, *tensors = inputs
        ctx.save_for_backward(*tensors)
        ctx.set_materialize_grads(False)

    @staticmethod
    def backward(ctx, *cotangents):
        tensors = ctx.saved_tensors
        h = tensors[3]
        batch, length = h.shape[0], ctx.length
        cotangents = [
            filled(cotangents[0], h, (batch, length, D), torch.float32),
            filled(cotangents[1], h, h.shape, h.dtype),
        ]
        return None, None, *HDerivative.apply(ctx.length, ctx.every, *tensors, *cotangents)


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
    (
        d_h_kernel,
        {"d_h_next": "*fp32", "d_h_0": "*fp32", "d_mask_x": "*fp32", "d_h_T": "*fp32", "T": "i32"},
        d_h_constants,
    ),
)
