"""The code of a Markdown page: found, and run from top to bottom as a reader would.

What happens to a fenced block depends on its language:

    lsrl         must be accepted by the checker
    lsrl-error   must be refused by it
    python       runs; all blocks of a page share one namespace. With `>>>` prompts its output is compared
    console      lines that start with `$ ` run in the shell; what follows each is compared with what it prints
    others       are left alone

A comment in the line before the fence says more: `<!-- file: NAME -->` saves the block under that name in the folder
where the page's code runs, `<!-- output -->` marks what the block before it prints, `<!-- shows: COMMAND -->` what a
command prints. `...` in an expected output stands for any text.
"""

import contextlib
import doctest
import io
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import lsrl
from lsrl.cli.status import BUG

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
    yield from map(_block, _FENCE.finditer(page))


def _block(match: re.Match[str]) -> Block:
    line = match.string.count("\n", 0, match.start("fence")) + 1
    return Block(match["language"], match["text"], line, match["note"] or "")


def run_page(page: str, folder: Path) -> None:
    """Run the code of a page's text in `folder`, which its files are saved to.

    Raises PageError, with the line, for the first block that does not do what the page says.
    """
    _Run(page, folder, _demanded)


def renewed_page(page: str, folder: Path) -> str:
    """The page with what its code prints now, where that is not what it says."""
    return _Run(page, folder, _taken).text


class _Run:
    """One pass over a page; `settle(expected, printed)` is what the page shall say."""

    def __init__(self, page: str, folder: Path, settle: Callable[[str, str], str]) -> None:
        self.settle = settle
        self.namespace: dict[str, object] = {"__name__": "__page__"}
        self.printed = ""
        with contextlib.chdir(folder):
            self.text = _FENCE.sub(self.visit, page)

    def visit(self, match: re.Match[str]) -> str:
        block = _block(match)
        try:
            text = self.block(block)
        except Exception as error:
            raise PageError(f"line {block.line}: {type(error).__name__}: {error}") from error
        start, end = (place - match.start() for place in match.span("text"))
        return match[0][:start] + text + match[0][end:]

    def block(self, block: Block) -> str:
        """Run a block; its text, with the outputs it shows settled."""
        if block.note == "output":
            return self.settle(block.text, self.printed)
        if block.note.startswith("shows:"):
            return self.settle(block.text, _shell(block.note.removeprefix("shows:")))
        path = _save(block)
        self.printed = ""
        match block.language:
            case "lsrl":
                lsrl.load(path)
            case "lsrl-error":
                _check_refused(path)
            case "python" if block.text.startswith(">>> "):
                return self.session(block)
            case "python":
                with contextlib.redirect_stdout(io.StringIO()) as output:
                    exec(compile(block.text, f"<line {block.line}>", "exec"), self.namespace)
                self.printed = output.getvalue()
            case "console":
                return "".join(map(self.command, _COMMAND.finditer(block.text)))
        return block.text

    def command(self, match: re.Match[str]) -> str:
        return f"$ {match['command']}\n{self.settle(match['expected'], _shell(match['command']))}"

    def session(self, block: Block) -> str:
        """Statements behind prompts, each followed by what it prints."""
        parts = []
        for example in doctest.DocTestParser().get_examples(block.text):
            with contextlib.redirect_stdout(io.StringIO()) as output:
                exec(compile(example.source, f"<line {block.line + example.lineno + 1}>", "single"), self.namespace)
            first, *others = example.source.splitlines()
            parts += [f">>> {first}\n", *(f"... {line}\n" for line in others)]
            parts.append(self.settle(example.want, output.getvalue()))
        return "".join(parts)


def _save(block: Block) -> Path:
    """The file that holds the block: the one its note names, or a scratch file."""
    named = block.note.startswith("file:")
    path = Path(block.note.removeprefix("file:").strip() if named else "block.lsrl")
    path.write_text(block.text)
    return path


def _check_refused(path: Path) -> None:
    try:
        lsrl.load(path)
    except lsrl.LsrlError:
        return
    raise PageError("the checker accepts this program")


def _shell(command: str) -> str:
    """Everything a command prints; it may fail, then the page shows what it says, but for errors of ours."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path, "NO_COLOR": "1", "COLUMNS": "100", "TERM": "dumb"}
    done = subprocess.run(
        command, shell=True, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    if done.returncode == BUG:
        raise PageError(f"`{command}` crashed:\n{done.stdout}")
    return done.stdout


def _demanded(expected: str, printed: str) -> str:
    if not _agree(expected, printed):
        raise PageError(f"expected\n{_trimmed(expected)}\nbut it prints\n{_trimmed(printed)}")
    return expected


def _taken(expected: str, printed: str) -> str:
    if _agree(expected, printed):
        return expected
    return f"{_trimmed(printed)}\n" if printed.strip() else ""


def _agree(expected: str, printed: str) -> bool:
    return doctest.OutputChecker().check_output(_trimmed(expected), _trimmed(printed), doctest.ELLIPSIS)


def _trimmed(text: str) -> str:
    """Without blanks at the ends of lines and of the whole."""
    return re.sub(r"[ \t]+$", "", text, flags=re.MULTILINE).rstrip()
