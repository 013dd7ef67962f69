"""From the shell's words to an exit status."""

from __future__ import annotations

import platform
import shlex
import sys
import tempfile
import traceback
import warnings
from collections.abc import Sequence
from typing import NoReturn

import rich_click as click

from lsrl import __version__, diagnostics
from lsrl.cli.commands import Commands
from lsrl.cli.status import BUG, FAULT, FINE, INTERRUPTED
from lsrl.cli.terminal import colour_on, complain
from lsrl.ir.fault import Refusal
from lsrl.ir.span import LsrlError


def main(arguments: Sequence[str] | None = None) -> NoReturn:
    """Run one command and leave the process with its exit status."""
    with warnings.catch_warnings():
        warnings.showwarning = _tell
        status = _run(list(sys.argv[1:] if arguments is None else arguments))
    sys.exit(status)


def _tell(message: Warning | str, *_: object, **__: object) -> None:
    """A warning as one line for people."""
    complain(str(message))


def _run(words: list[str]) -> int:
    try:
        return int(program.main(words, prog_name="lsrl", standalone_mode=False) or FINE)
    except click.ClickException as error:
        error.show()
        return error.exit_code
    except click.Abort:
        complain("interrupted")
        return INTERRUPTED
    except LsrlError as error:
        sys.stderr.write(diagnostics.render(error.diagnostics, colour=colour_on(sys.stderr)))
        return FAULT
    except Refusal as error:
        complain(str(error))
        return FAULT
    except OSError as error:
        complain(f"{error.filename}: {error.strerror}" if error.filename else str(error))
        return FAULT
    except Exception as error:
        return _bug(error, words)


def _bug(error: Exception, words: list[str]) -> int:
    """Ask for a report; the traceback goes to a file, or to the terminal where the user wants it."""
    report = "".join(
        [
            f"lsrl {__version__}, Python {platform.python_version()}, {platform.platform()}\n",
            f"$ lsrl {shlex.join(words)}\n\n",
            *traceback.format_exception(error),
        ]
    )
    complain(f"an error of LSRL itself ({type(error).__name__}). Please report it, with the following:")
    if "--traceback" in words:
        sys.stderr.write(report)
        return BUG
    with tempfile.NamedTemporaryFile("w", prefix="lsrl-", suffix=".txt", delete=False) as file:
        file.write(report)
    sys.stderr.write(
        f"  version   {__version__}\n  command   lsrl {shlex.join(words)}\n  traceback {file.name}\n"
    )
    return BUG


@click.command(
    cls=Commands,
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog="PROG is a path or the name of a program of the library: lsrl check std/gru",
)
@click.rich_config(help_config={"text_paragraph_linebreaks": "\n\n", "padding_helptext_first_line": (0, 0, 1, 0)})
@click.option("--traceback", is_flag=True, help="Show the traceback of an error of lsrl itself.")
@click.version_option(__version__, prog_name="lsrl", message="%(prog)s %(version)s")
def program(traceback: bool) -> None:
    """Write one step of a recurrent program; check it, run it, compile it.

    A new program is best begun with one of the library: `lsrl list` names them, `lsrl check std/gru --types` shows
    what the checker sees in one, `lsrl explain std/gru` how it runs.
    """
