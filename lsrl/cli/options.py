"""Arguments and options that several commands share."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import rich_click as click
from click.shell_completion import CompletionItem
from rich_click import Context, Parameter, RichCommand

from lsrl.ir.schedules.device import DEVICES
from lsrl.loader import library

Decorated = TypeVar("Decorated", bound=Callable[..., Any])

_SIZE = re.compile(r"(\w+)=(\d+)")


class ProgramName(click.ParamType[str]):
    """PROG: a path, or the name of a program of the library."""

    name = "prog"

    def shell_complete(self, ctx: Context, param: Parameter, incomplete: str) -> list[CompletionItem]:
        """Names of the library, and files by the shell's own means."""
        names = [CompletionItem(name) for name in library() if name.startswith(incomplete)]
        return names or [CompletionItem(incomplete, type="file")]


class SizedCommand(RichCommand):
    """A command whose `--set` takes several sizes: `--set D=64 H=128` is short for `--set D=64 --set H=128`."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        return super().parse_args(ctx, spread_sizes(args))


def spread_sizes(words: Sequence[str]) -> list[str]:
    """The words with a `--set` of its own before every size that follows another."""
    spread: list[str] = []
    for word in words:
        follows = len(spread) > 1 and spread[-2] == "--set" and _SIZE.fullmatch(spread[-1])
        spread += ["--set", word] if follows and _SIZE.fullmatch(word) else [word]
    return spread


def _sizes(ctx: Context, param: Parameter, texts: tuple[str, ...]) -> dict[str, int]:
    sizes: dict[str, int] = {}
    for text in texts:
        found = _SIZE.fullmatch(text)
        if found is None:
            raise click.BadParameter(f"`{text}` is not of the form NAME=NUMBER")
        name, number = found[1], int(found[2])
        if sizes.setdefault(name, number) != number:
            raise click.BadParameter(f"{name} is given as {sizes[name]} and as {number}")
    return sizes


def program_argument(command: Decorated) -> Decorated:
    """`PROG`, and `--cell` for a file with several."""
    option = click.option("--cell", metavar="NAME", help="The cell of the file that is meant, if not the last.")
    return click.argument("prog", type=ProgramName())(option(command))


sizes_option = click.option(
    "--set", "sizes", multiple=True, callback=_sizes, metavar="NAME=NUMBER", help="Sizes: --set D=64 H=128."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print data for other programs.")
dtype_choice = click.Choice(["float64", "float32", "bfloat16", "float16"])
module_choice = click.Choice(["jax", "triton", "cpu"])
target_choice = click.Choice([*module_choice.choices, "reference"])
dtype_option = click.option(
    "--dtype",
    type=click.Choice([*dtype_choice.choices, "exact"]),
    help=(
        "The type of floats; states and sums are float32 for 16-bit types; exact stands for rational numbers, which "
        "only the reference computes with.  [default: float32; reference: float64]"
    ),
)
schedule_option = click.option(
    "--schedule",
    default="auto",
    show_default=True,
    metavar="SCHEDULE",
    help="How recurrences run: auto, one schedule for all (scan), STATE=chunk(64),…, or tuned.",
)
device_option = click.option(
    "--device",
    type=click.Choice(list(DEVICES)),
    help="What auto chooses for.  [default: cpu; target triton: h100]",
)


def enable_double(target: str, dtype: str | None) -> None:
    """JAX has float64 only where it is asked for before anything is computed."""
    if target == "jax" and dtype == "float64":
        import jax

        jax.config.update("jax_enable_x64", True)  # type: ignore[no-untyped-call]


def file_option(*names: str, **settings: Any) -> Callable[[Decorated], Decorated]:
    """An option that names a file."""
    return click.option(*names, type=click.Path(path_type=Path), metavar="FILE", **settings)
