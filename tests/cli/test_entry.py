"""Exit statuses, help, and what goes where; in processes of their own where the process matters."""

from __future__ import annotations

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

import lsrl
from lsrl.cli import check
from lsrl.cli.commands import COMMANDS
from support.commands import DECAY, Run
from support.golden import ROOT, Golden


def lsrl_process(*words: str, cwd: Path, **environment: str) -> subprocess.Popen[str]:
    settings = os.environ | {"COLUMNS": "100"} | environment
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    return subprocess.Popen([sys.executable, "-m", "lsrl", *words], cwd=cwd, env=settings, text=True, **pipes)


def processor_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def test_version(run: Run) -> None:
    done = run("--version")
    assert (done.status, done.out) == (0, f"lsrl {lsrl.__version__}\n")


@pytest.mark.parametrize("name", ["lsrl", *COMMANDS])
def test_help(run: Run, golden: Golden, name: str) -> None:
    """As reviewed; every command shows examples, and the summary of each is in the help of the whole."""
    done = run(*([] if name == "lsrl" else [name]), "--help")
    assert done.status == 0
    assert "\x1b" not in done.out
    assert ("Examples:" in done.out) == (name != "lsrl")
    golden.check(ROOT / "help" / f"{name}.txt", "".join(f"{line.rstrip()}\n" for line in done.out.splitlines()))


@pytest.mark.parametrize(
    ("words", "says"),
    [
        ((), "Usage"),
        (("chek",), "Did you mean 'check'"),
        (("check",), "PROG"),
        (("check", "--typos", "std/gru"), "--typos"),
        (("compile", "std/gru"), "--target"),
        (("compile", "std/gru", "--target", "cuda"), "cuda"),
        (("explain", "std/gru", "--set", "H"), "NAME=NUMBER"),
        (("explain", "std/gru", "--set", "H=1", "H=2"), "H is given as 1 and as 2"),
        (("graph", "std/gru", "-o", "gru.png"), ".svg"),
        (("completion", "tcsh"), "tcsh"),
    ],
)
def test_wrong_usage_is_2(run: Run, words: tuple[str, ...], says: str) -> None:
    done = run(*words)
    assert done.status == 2
    assert says in done.err + done.out


def test_an_error_of_ours_is_3_and_asks_for_a_report(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(_: str) -> None:
        raise IndexError("off by one")

    monkeypatch.setattr(check, "load_source", broken)
    done = run("check", "decay.lsrl")
    assert done.status == 3
    assert "Please report" in done.err
    assert "lsrl check decay.lsrl" in done.err
    assert lsrl.__version__ in done.err
    assert "Traceback" not in done.err
    file = Path(done.err.split("traceback ")[1].strip())
    assert "IndexError: off by one" in file.read_text()
    file.unlink()
    shown = run("--traceback", "check", "decay.lsrl")
    assert shown.status == 3
    assert "IndexError: off by one" in shown.err


def test_several_sizes_follow_one_option(run: Run) -> None:
    assert run("explain", "decay.lsrl", "--set", "D=16", "H=8").out.startswith("decay(D=16, H=8)")
    assert run("explain", "--set", "D=16", "--set", "H=8", "decay.lsrl").out.startswith("decay(D=16, H=8)")


def test_as_a_process(tmp_path: Path) -> None:
    """Data on standard output, words for people on standard error, no colours in a pipe."""
    (tmp_path / "wrong.lsrl").write_text("cell f(D):\n    input x: [D]\n    output y = z\n")
    process = lsrl_process("check", "wrong.lsrl", cwd=tmp_path)
    out, err = process.communicate()
    assert (process.returncode, out) == (1, "")
    assert "wrong.lsrl:3:16" in err
    assert "\x1b" not in err


@pytest.mark.parametrize("environment", [{}, {"NO_COLOR": "1"}], ids=["terminal", "NO_COLOR"])
def test_colours_on_a_terminal_only(tmp_path: Path, environment: dict[str, str]) -> None:
    (tmp_path / "wrong.lsrl").write_text("cell f(D):\n    input x: [D]\n    output y = z\n")
    settings = {name: value for name, value in os.environ.items() if name not in ("NO_COLOR", "TERM")}
    leader, follower = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "lsrl", "check", "wrong.lsrl"],
        cwd=tmp_path,
        env=settings | {"TERM": "xterm"} | environment,
        stderr=follower,
    )
    assert process.wait() == 1
    os.close(follower)
    shown = os.read(leader, 100_000).decode()
    os.close(leader)
    assert "wrong.lsrl:3:16" in shown
    assert ("\x1b[" in shown) == (not environment)


def test_fmt_is_a_filter_too(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "lsrl", "fmt", "-"]
    done = subprocess.run(command, input=DECAY.replace("1 - a", "1-a").encode(), capture_output=True, check=True)
    assert done.stdout.decode() == DECAY
    done = subprocess.run(command, input=b"cell f(\xff", capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (1, b"")
    assert b"not UTF-8" in done.stderr


def test_a_reader_that_leaves_is_no_error(tmp_path: Path) -> None:
    process = lsrl_process("list", cwd=tmp_path)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait() == 141
    assert process.stderr is not None
    assert process.stderr.read() == ""
    process.stderr.close()


def test_interruption_leaves_no_file(tmp_path: Path) -> None:
    """Interrupted while it runs: status 130, one line, no half-written file."""
    (tmp_path / "long.lsrl").write_text(
        "cell long(D=2):\n    state h: [D] = 0\n    h' = tanh(h + 1)\n    output h'\n"
    )
    words = ("run", "long.lsrl", "--batch", "1", "--length", "100000000", "-o", "out.npz")
    process = lsrl_process(*words, cwd=tmp_path)
    try:
        while processor_seconds(process.pid) < 2:  # by then it has started, and computes
            time.sleep(0.1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 130
    assert err.strip() == "lsrl: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["long.lsrl"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_script(run: Run, shell: str) -> None:
    done = run("completion", shell)
    assert done.status == 0
    assert "_LSRL_COMPLETE" in done.out


def test_completion_knows_commands_and_the_library(tmp_path: Path) -> None:
    def completed(line: str) -> list[str]:
        count = str(len(line.split(" ")) - 1)
        settings = {"_LSRL_COMPLETE": "bash_complete", "COMP_WORDS": line, "COMP_CWORD": count}
        code = "import sys; sys.argv[0] = 'lsrl'; from lsrl.cli import main; main([])"
        done = subprocess.run(
            [sys.executable, "-c", code],
            cwd=tmp_path,
            env=os.environ | settings,
            capture_output=True,
            text=True,
            check=False,
        )
        return done.stdout.split()

    assert completed("lsrl expl") == ["plain,explain"]
    assert {"plain,std/gru", "plain,std/gru2014"} <= set(completed("lsrl check std/gr"))
    assert "plain,--types" in completed("lsrl check --t")


