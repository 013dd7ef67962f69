"""The code of a Markdown page: found, and run from top to bottom as a reader would.

What happens to a fenced block depends on its language:

    lsrl         must be accepted by the checker
    lsrl-error   must be refused by it
    python       runs; all blocks of a page share one namespace. With `>>>` prompts its output is compared
    console      lines that start with `$ ` run in the shell; what follows each is compared with what it prints
    others       are left alone

A comment in the line before the fence says more: `<!-- file: NAME -->` saves the block under that name in the folder
where the page's code runs, `<!-- output -->` marks what the block before it prints. `...` in an expected output
stands for any text.
"""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import lsrl

_FENCE = re.compile(
    r"^(?:<!-- *(?P<note>[^\n]*?) *-->\n)?(?P<fence>`{3,})(?P<language>[\w-]+)\n(?P<text>.*?)^(?P=fence)$",
    re.MULTILINE | re.DOTALL,
)
_COMMAND = re.compile(r"^\$ (?P<command>(?:.*\\\n)*.*)\n?(?P<expected>(?:(?!\$ ).*\n?)*)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Block:
    """A fenced block: its language, text, the line of the page it starts on, and the comment before it."""

    language: str
    text: str
    line: int
    note: str = ""


class PageError(AssertionError):
    """Code of a page did not do what the page says."""


def blocks(page: str) -> Iterator[Block]:
    """The fenced blocks of a page's text, in order."""
    for match in _FENCE.finditer(page):
        line = page.count("\n", 0, match.start("fence")) + 1
        yield Block(match["language"], match["text"], line, match["note"] or "")


def run_page(page: str, folder: Path) -> None:
    """Run the code of a page's text in `folder`, which its files are saved to.

    Raises PageError, with the line, for the first block that does not do what the page says.
    """
    namespace: dict[str, object] = {"__name__": "__page__"}
    printed = ""
    with contextlib.chdir(folder):
        for block in blocks(page):
            try:
                if block.note == "output":
                    _compare(block.text, printed)
                else:
                    printed = _run_block(block, _save(block), namespace)
            except Exception as error:
                raise PageError(f"line {block.line}: {type(error).__name__}: {error}") from error


def _save(block: Block) -> Path:
    """The file that holds the block: the one its note names, or a scratch file."""
    named = block.note.startswith("file:")
    path = Path(block.note.removeprefix("file:").strip() if named else "block.lsrl")
    path.write_text(block.text)
    return path


def _run_block(block: Block, path: Path, namespace: dict[str, object]) -> str:
    """What the block prints."""
    match block.language:
        case "lsrl":
            lsrl.load(path)
        case "lsrl-error":
            _check_refused(path)
        case "python" if block.text.startswith(">>> "):
            _run_session(block, namespace)
        case "python":
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(block.text, f"<line {block.line}>", "exec"), namespace)
            return output.getvalue()
        case "console":
            for match in _COMMAND.finditer(block.text):
                _compare(match["expected"], _shell(match["command"]))
    return ""


def _check_refused(path: Path) -> None:
    try:
        lsrl.load(path)
    except lsrl.LsrlError:
        return
    raise PageError("the checker accepts this program")


def _run_session(block: Block, namespace: dict[str, object]) -> None:
    session = doctest.DocTestParser().get_doctest(block.text, {}, f"line {block.line}", None, 0)
    session.globs = namespace
    report = io.StringIO()
    runner = doctest.DocTestRunner(verbose=False, optionflags=doctest.ELLIPSIS)
    if runner.run(session, out=report.write, clear_globs=False).failed:
        raise PageError(report.getvalue())


def _shell(command: str) -> str:
    """Everything a command prints; it may fail, then the page shows what it says."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}
    done = subprocess.run(
        command, shell=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    return done.stdout


def _compare(expected: str, printed: str) -> None:
    expected, printed = (re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).rstrip() for text in (expected, printed))
    if not doctest.OutputChecker().check_output(expected, printed, doctest.ELLIPSIS):
        raise PageError(f"expected\n{expected}\nbut it prints\n{printed}")
