"""How emitted modules compile C: once, kept for later processes, told apart, with the compiler's words on errors."""

import subprocess
import sys
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from lsrl.backends.runtime import native_library
from support.process import ROOT, run_python

CODE = "int doubled(int x) { return 2 * x; }\n"
OWN = " ".join(native_library.compiler())
CACHED = ("announce_plain", "compiler", "compiler_and_machine", "compiling", "kept_in", "library")


@pytest.fixture(autouse=True)
def kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """The folder where this test's libraries are kept; what was asked of the system before is forgotten."""
    monkeypatch.setenv("LSRL_CACHE", str(tmp_path / "kept"))
    forget()
    yield tmp_path / "kept" / "native"
    forget()


def forget() -> None:
    for name in CACHED:
        getattr(native_library, name).cache_clear()


def wrapper(path: Path, script: str) -> str:
    """A compiler that does something first; its log lists the arguments that it was called with."""
    path.write_text(f'#!/bin/sh\necho "$@" >> {path}.log\n{script}\nexec {OWN} "$@"\n')
    path.chmod(0o700)
    return str(path)


def compilations(path: Path) -> int:
    return sum(" -o " in line for line in Path(f"{path}.log").read_text().splitlines())


IN_A_PROCESS = f"""
import sys
from lsrl.backends.runtime.native_library import library
print(library({CODE!r} + sys.argv[1]).doubled(21))
"""


def test_is_compiled_once(kept: Path) -> None:
    library = native_library.library(CODE)
    assert library.doubled(21) == 42
    assert native_library.library(str(CODE)) is library
    (file,) = kept.iterdir()
    assert file.suffix == ".so"
    assert kept.stat().st_mode & 0o777 == 0o700


def test_later_processes_do_not_compile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", wrapper(tmp_path / "cc", ""))
    for text, compiled in (("", 1), ("", 1), ("// other", 2)):
        assert run_python("-c", IN_A_PROCESS, text).strip() == "42"
        assert compilations(tmp_path / "cc") == compiled


def test_processes_may_compile_at_once(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each of them writes under a name of its own; one file is left."""
    monkeypatch.setenv("CC", wrapper(tmp_path / "cc", "case $* in *' -o '*) sleep 1;; esac"))
    command = [sys.executable, "-c", IN_A_PROCESS, ""]
    processes = [subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert [process.communicate()[0].strip() for process in processes] == ["42"] * 3
    assert len(list(kept.iterdir())) == 1


def test_compilers_and_machines_are_told_apart(kept: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """By what the compiler says that it would run, which names its version and the processor's features."""
    for model in ("one", "another"):
        monkeypatch.setenv("CC", wrapper(tmp_path / "cc", f"case $* in *-###*) echo {model} >&2;; esac"))
        forget()
        assert native_library.library(CODE).doubled(1) == 2
    assert len(list(kept.iterdir())) == 2


def test_errors_are_the_compilers_words(kept: Path) -> None:
    with pytest.raises(RuntimeError, match=r"(?s)failed:.*\bwidht\b"):
        native_library.library("int wide(int width) { return widht; }")
    assert list(kept.iterdir()) == []


def test_functions_that_are_not_there_are_told_of() -> None:
    for declared in ("", "int missing(int);"):
        with pytest.raises(RuntimeError, match="missing"):
            native_library.library(declared + "int f(void) { return missing(1); }")


def test_no_openmp(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As with the compiler of macOS."""
    refuse = "case $* in *'-fopenmp '*) echo 'unsupported option -fopenmp' >&2; exit 1;; esac"
    monkeypatch.setenv("CC", wrapper(tmp_path / "cc", refuse))
    forget()
    code = """
    int threads(void) {
        int n = 0;
    #pragma omp parallel num_threads(2)
        { _Pragma("omp atomic") n++; }
        return n;
    }
    """
    assert native_library.library(code).threads() == 1


def test_no_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    assert native_library.compiler() is None
    with pytest.raises(RuntimeError, match="there is no C compiler"):
        native_library.library(CODE)
    with pytest.warns(UserWarning, match="no C compiler was found"):
        assert not native_library.runs_native(torch.zeros(1))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert not native_library.runs_native(torch.zeros(1))


def test_the_chosen_compiler_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With its options; one that is not there is passed over."""
    monkeypatch.setenv("CC", f"{wrapper(tmp_path / 'cc', '')} -DTWICE=2")
    forget()
    assert native_library.library("int f(int x) { return TWICE * x; }").f(3) == 6
    monkeypatch.setenv("CC", str(tmp_path / "missing"))
    forget()
    assert native_library.compiler()[0] not in (None, str(tmp_path / "missing"))


def test_the_folder_is_that_of_the_users_caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for names, folder in (
        (("LSRL_CACHE", "XDG_CACHE_HOME", "HOME"), "LSRL_CACHE/native"),
        (("XDG_CACHE_HOME", "HOME"), "XDG_CACHE_HOME/lsrl/native"),
        (("HOME",), "HOME/.cache/lsrl/native"),
    ):
        monkeypatch.delenv("LSRL_CACHE")
        monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
        for name in names:
            monkeypatch.setenv(name, str(tmp_path / name))
        forget()
        assert native_library.kept_in() == str(tmp_path / folder)
        monkeypatch.setenv("LSRL_CACHE", "")


@pytest.mark.parametrize("fault", ["a file", "open to others"])
def test_folders_that_cannot_be_trusted(kept: Path, fault: str) -> None:
    """A folder for this process alone takes their place."""
    kept.parent.mkdir()
    if fault == "a file":
        kept.touch()
    else:
        kept.mkdir()
        kept.chmod(0o777)
    assert native_library.library(CODE).doubled(4) == 8
    assert native_library.kept_in() != str(kept)
    assert kept.is_file() or list(kept.iterdir()) == []


ONE_POOL = """
import torch
from lsrl.backends.runtime.native_library import library

code = '''
int threads(int wanted) {
    int n = 0;
#pragma omp parallel num_threads(wanted)
    { _Pragma("omp atomic") n++; }
    return n;
}
'''
torch.randn(300, 300) @ torch.randn(300, 300)
assert library(code).threads(torch.get_num_threads()) == torch.get_num_threads()
print(len({line.split()[-1] for line in open("/proc/self/maps") if "libgomp" in line or "libomp" in line}))
"""


def test_threads_are_torchs_own() -> None:
    """One pool: two would wait for each other's processors."""
    assert run_python("-c", ONE_POOL).strip() == "1"
