"""Every block of code in the README and the documentation does what the page says."""

from pathlib import Path

import pytest

from support.golden import Golden
from support.pages import Block, PageError, blocks, renewed_page, run_page
from support.process import ROOT

PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]

ACCEPTED = "cell total(D):\n    input x: [D]\n    state h: [D] = 0\n    h' = h + x\n    output h'\n"


@pytest.mark.parametrize("path", PAGES, ids=lambda path: str(path.relative_to(ROOT)))
def test_page(path: Path, tmp_path: Path, golden: Golden) -> None:
    page = path.read_text()
    if golden.update:
        golden.check(path, renewed_page(page, tmp_path))
    else:
        run_page(page, tmp_path)


def fenced(language: str, text: str) -> str:
    return f"```{language}\n{text}```\n"


def test_blocks_have_language_line_and_note() -> None:
    inner = fenced("python", "")
    page = "Text\n\n" + fenced("python", "x = 1\n") + "<!-- file: a.lsrl -->\n" + fenced("lsrl", "cell\n")
    page += f"````markdown\n{inner}````\n"
    assert list(blocks(page)) == [
        Block("python", "x = 1\n", 3),
        Block("lsrl", "cell\n", 7, "file: a.lsrl"),
        Block("markdown", "```python\n```\n", 10),
    ]


IMPORTING = "from a import total\n\ncell tail(D):\n    input x: [D]\n    output y = total(D)(x)\n"
REFUSED = ACCEPTED.replace("+ x", "+ y")

HOLDS = {
    "accepted program": fenced("lsrl", ACCEPTED),
    "refused program": fenced("lsrl-error", REFUSED),
    "import": "<!-- file: a.lsrl -->\n" + fenced("lsrl", ACCEPTED) + fenced("lsrl", IMPORTING),
    "shared namespace": fenced("python", "x = 1\n") + fenced("python", "assert x == 1\n"),
    "session": fenced("python", ">>> 1 + 1\n2\n"),
    "output": fenced("python", "print('a', 1)\n") + "<!-- output -->\n" + fenced("text", "a 1\n"),
    "saved text": "<!-- file: a.txt -->\n" + fenced("text", "a\n") + fenced("console", "$ cat a.txt\na\n$ true\n"),
    "shown": "<!-- shows: echo 1 / 0 -->\n" + fenced("python", "1 / 0\n"),
    "long command": fenced("console", "$ echo one \\\n  two\none two\n$ echo 1 2 3\n1 ... 3\n"),
    "other language": fenced("text", "not code"),
}

DOES_NOT_HOLD = {
    "refused program": (fenced("lsrl", REFUSED), "line 1: LsrlError"),
    "accepted program": (fenced("lsrl-error", ACCEPTED), "accepts this program"),
    "exception": ("\n" + fenced("python", "1 / 0\n"), "line 2: ZeroDivisionError"),
    "session": (fenced("python", ">>> 1 + 1\n3\n"), "it prints\n2"),
    "output": (fenced("python", "print(1)\n") + "<!-- output -->\n" + fenced("text", "2\n"), "it prints\n1"),
    "shown": ("<!-- shows: echo 1 -->\n" + fenced("python", "2\n"), "it prints\n1"),
    "command": (fenced("console", "$ echo 1\n2\n"), "it prints\n1"),
    "silent command": (fenced("console", "$ echo 1\n"), "it prints\n1"),
    "crash": (fenced("console", "$ exit 3\n"), "`exit 3` crashed"),
    "second command": (fenced("console", "$ echo 1\n1\n$ echo 2\n1\n"), "it prints\n2"),
}


@pytest.mark.parametrize("page", HOLDS.values(), ids=HOLDS)
def test_page_that_holds(page: str, tmp_path: Path) -> None:
    run_page(page, tmp_path)


@pytest.mark.parametrize(("page", "message"), DOES_NOT_HOLD.values(), ids=DOES_NOT_HOLD)
def test_page_that_does_not_hold(page: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(PageError) as caught:
        run_page(page, tmp_path)
    assert message in str(caught.value)


def test_outputs_are_renewed_and_those_that_hold_are_kept(tmp_path: Path) -> None:
    page = "Text\n" + fenced("console", "$ echo 1 2 3\n1 ... 3\n$ echo 1\n2\n$ true\n3\n")
    page += fenced("python", ">>> def f():\n...     return 2\n>>> f()\n3\n>>> x = f()\n")
    page += fenced("python", "print(x)\n") + "<!-- output -->\n" + fenced("text", "4\n") + "End\n"
    renewed = "Text\n" + fenced("console", "$ echo 1 2 3\n1 ... 3\n$ echo 1\n1\n$ true\n")
    renewed += fenced("python", ">>> def f():\n...     return 2\n>>> f()\n2\n>>> x = f()\n")
    renewed += fenced("python", "print(x)\n") + "<!-- output -->\n" + fenced("text", "2\n") + "End\n"
    assert renewed_page(page, tmp_path) == renewed
    run_page(renewed, tmp_path)
