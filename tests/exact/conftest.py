"""The command line in this process."""

from support.commands import run

__all__ = ["run"]
