"""The launch of a kernel that groups of programs run together: only where all programs of a group are there at once."""

from __future__ import annotations

from dataclasses import dataclass

from lsrl.backends.expressions import shape_code
from lsrl.backends.group_tiles import GroupTiling
from lsrl.backends.kernel_tiles import LANES
from lsrl.backends.triton_launch import Launch, as_pairs, contiguous, new
from lsrl.backends.triton_memory import Identifiers, Role, Tensor
from lsrl.backends.writer import Writer

ALL_OR_NONE = "launch_cooperative_grid=True"
"""The driver then refuses a launch whose programs do not all run at once, in place of one that never ends."""


@dataclass(frozen=True, slots=True)
class GroupLaunch:
    """What the launch function is written from.

    Attributes:
        otherwise: what runs the loop where the programs cannot wait for each other, a call.
        instead: its name.
    """

    launch: Launch
    tiles: GroupTiling
    otherwise: str
    instead: str


def write_group_launch(group: GroupLaunch, writer: Writer) -> None:
    """The function that runs the kernel, or what stands in for it."""
    launch, kernel = group.launch, group.launch.kernel
    start = launch.arguments.starts[0]
    own = Identifiers([*launch.arguments.tensors, *launch.results.values(), "batch", "length", "every", "grid"])
    tiles, groups, together, first = (own.fresh(name) for name in ("tiles", "groups", "together", "first"))
    count, *others = kernel.grid
    with writer.block(launch.header):
        writer.docstring(f"Run `{kernel.name}`; `{group.instead}` where a GPU runs too few of its programs at once.")
        writer.line(launch.extent)
        writer.line(f"{tiles}, {groups} = {count}, ({', '.join(others)}{',' if len(others) == 1 else ''})")
        needs = f"math.prod({groups}), {LANES * kernel.warps}, {group.tiles.shared}"
        writer.line(f"{together} = tiles_at_once({start}, {needs})")
        most = together if group.tiles.waves == 1 else f"{group.tiles.waves} * {together}"
        with writer.block(f"if not (batch and length) or {tiles} > {most}:"):
            writer.line(f"return {group.otherwise}")
        passed = []
        for tensor in kernel.tensors:
            key = (tensor.role, tensor.of)
            if key in launch.given:
                passed.append(as_pairs(tensor, contiguous(tensor, launch.given[key])))
                continue
            name = launch.results[key] if key in launch.results else own.fresh(tensor.name)
            writer.line(f"{name} = {_new(group, tensor, tiles, groups)}")
            passed.append(as_pairs(tensor, name))
        with writer.block(f"for {first} in range(0, {tiles}, {together}):"):
            writer.line(f"grid = (min({together}, {tiles} - {first}), *{groups})")
            launch.write_call(writer, passed, "length", (first,), (ALL_OR_NONE,))
        results = launch.results.values()
        writer.line(f"return {', '.join(results)}{',' if len(results) == 1 else ''}")


def _new(group: GroupLaunch, tensor: Tensor, tiles: str, groups: str) -> str:
    """A tensor that the kernel writes, or counts in."""
    launch = group.launch
    if tensor.role is Role.SHARED:
        return launch.kept(tensor, ("batch", "length"))
    if tensor.role is not Role.ARRIVED:
        return new(launch, tensor)
    alone = len(group.tiles.tiling.cut()) == 1
    many = tiles if alone else f"{tiles} * math.prod({groups}) // {group.tiles.units.programs}"
    shape = shape_code(tensor.shape, launch.sizes, (many, "length"))
    return f"{launch.arguments.starts[0]}.new_zeros({shape}, dtype=torch.int64)"
