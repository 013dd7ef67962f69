"""The commands and what each is for.  A command's module is loaded when the command is used."""

from __future__ import annotations

import os
import sys
from importlib import import_module
from typing import Any

import rich_click as click
from rich_click import Context, RichCommand, RichGroup

from lsrl.cli.status import NOBODY_READS

COMMANDS = {
    "check": "Find every mistake of a program, or show its shapes.",
    "fmt": "Print programs in the canonical layout.",
    "explain": "Tell how a program runs: recurrences, loops, costs.",
    "compile": "Write a standalone module for JAX, or PyTorch and Triton.",
    "run": "Run a program on arrays from files.",
    "verify": "Hold every legal schedule against the reference.",
    "bench": "Measure every legal schedule.",
    "tune": "Measure, and keep the fastest schedule.",
    "experiment": "Approximate functions in context; noise, precision, speed.",
    "graph": "Draw a program.",
    "tex": "Print the equations of a program as LaTeX.",
    "convert": "Make a published checkpoint the parameters of a model.",
    "list": "List the library.",
    "completion": "Print what completes `lsrl` in a shell.",
}


class Commands(RichGroup):
    """The group of all commands."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        self.commands = {name: RichCommand(name=name, short_help=summary) for name, summary in COMMANDS.items()}

    def invoke(self, ctx: Context) -> Any:
        """Run the command; when nobody reads its output any more, it ends without a word."""
        try:
            result = super().invoke(ctx)
            sys.stdout.flush()
        except BrokenPipeError:
            # What is still buffered goes nowhere, so that the interpreter does not fail on it once more.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            ctx.exit(NOBODY_READS)
        return result

    def list_commands(self, ctx: Context) -> list[str]:
        """In the order in which they are met, not of the alphabet."""
        return list(COMMANDS)

    def resolve_command(
        self, ctx: Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """The command that is used takes the place of its summary."""
        name, summary, rest = super().resolve_command(ctx, args)
        if name is None or summary is None:
            return name, summary, rest
        return name, import_module(f"lsrl.cli.{name}").command, rest
