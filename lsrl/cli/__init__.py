"""The command line: `lsrl COMMAND …`, one module for each command."""

from lsrl.cli.entry import main

__all__ = ["main"]
