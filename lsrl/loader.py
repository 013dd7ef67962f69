"""Finding and reading programs: files, texts, and the library.

Imports reach the folder of the program itself and the library `std`, nothing else: not a parent folder, not a link that
leads out, not a Python package.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path

from lsrl import syntax
from lsrl.ir.span import Diagnostic, LsrlError
from lsrl.parser import parse, parse_file

STD = "std"
PRELUDE = (STD, "prelude")  # functions that are in scope everywhere
SUFFIX = ".lsrl"


class Loader:
    """Finds the modules that one program may import; each is parsed once."""

    def __init__(self, folder: Path | None = None) -> None:
        self._given = folder
        self._folder = folder.resolve() if folder is not None else None
        self._parsed: dict[Path, syntax.Program] = {}
        self._texts: dict[tuple[str, ...], syntax.Program] = {}

    def add(self, path: Path, program: syntax.Program) -> None:
        """Let imports of `path` find a program that is parsed already, such as the one that imports."""
        self._parsed[path.resolve()] = program

    def add_text(self, name: str, program: syntax.Program) -> None:
        """Let imports of `name` find a program that has no file."""
        self._texts[(Path(name).stem,)] = program

    def find(self, path: tuple[str, ...]) -> syntax.Program | None:
        """The module with a dotted path, or None; LsrlError when its text is at fault."""
        if path in self._texts:
            return self._texts[path]
        place = self._place(path)
        if place is None or not place.is_file():
            return None
        if place not in self._parsed:
            shown = self._shown(path)
            self._parsed[place] = _of_library(place, shown) if path[0] == STD else parse_file(place, shown)
        return self._parsed[place]

    def is_folder(self, path: tuple[str, ...]) -> bool:
        """Whether a dotted path names a folder of modules."""
        place = self._place(path)
        return place is not None and place.with_suffix("").is_dir()

    def modules(self, path: tuple[str, ...]) -> Iterator[str]:
        """The names of the modules in a folder, for suggestions."""
        place = self._place(path)
        folder = place.with_suffix("") if place is not None else self._folder
        if folder is not None and folder.is_dir():
            yield from (file.stem for file in sorted(folder.glob(f"*{SUFFIX}")))

    def _place(self, path: tuple[str, ...]) -> Path | None:
        """Where a module's file would be; None where no module may be."""
        if not path:
            return None
        library = path[0] == STD
        root = library_folder() if library else self._folder
        if root is None:
            return None
        place = root.joinpath(*path[1 if library else 0 :])
        place = (place.parent / (place.name + SUFFIX)).resolve()
        return place if place.is_relative_to(root.resolve()) or place == root.with_suffix(SUFFIX) else None

    def _shown(self, path: tuple[str, ...]) -> str:
        """The name of a module's file in messages: as the user would type it."""
        name = "/".join(path) + SUFFIX
        return name if path[0] == STD or self._given is None else str(self._given / name)


def _of_library(place: Path, shown: str) -> syntax.Program:
    """A file of the library, which many programs import: parsed once as long as it stays the same."""
    status = place.stat()
    return _parsed(place, shown, status.st_mtime_ns, status.st_size)


@lru_cache(maxsize=512)
def _parsed(place: Path, shown: str, _changed: int, _size: int) -> syntax.Program:
    return parse_file(place, shown)


@dataclass(frozen=True, slots=True)
class Loaded:
    """A parsed program with what finds its imports."""

    program: syntax.Program
    loader: Loader


def library_folder() -> Path:
    """Where the library's programs are."""
    return Path(str(files("lsrl").joinpath(STD)))


def library() -> tuple[str, ...]:
    """The names of the library's programs, `std/gru` and so on, sorted."""
    root = library_folder()
    names = (file.relative_to(root).with_suffix("").as_posix() for file in root.rglob(f"*{SUFFIX}"))
    return tuple(f"{STD}/{name}" for name in sorted(names) if (STD, name) != PRELUDE)


def load_source(source: Path | str) -> Loaded:
    """A program from a path or, by its name, from the library; see `load_path` and `load_library`."""
    return load_library(str(source)) if is_library_name(source) else load_path(source)


def is_library_name(source: Path | str) -> bool:
    """Whether a program is meant by its name in the library, `std/gru`."""
    return isinstance(source, str) and source.startswith(f"{STD}/") and not source.endswith(SUFFIX)


def load_text(text: str, name: str = "<text>") -> Loaded:
    """A program given as text; it can import from `std`.  LsrlError when the text is at fault."""
    loader = Loader()
    program = parse(text, name)
    loader.add_text(name, program)
    return Loaded(program, loader)


def load_path(path: Path | str) -> Loaded:
    """A program's file, which can import modules beside it.  OSError when unreadable, LsrlError when at fault."""
    place = Path(path)
    loader = Loader(place.parent)
    program = parse_file(place, str(path))
    loader.add(place, program)
    return Loaded(program, loader)


def load_library(name: str) -> Loaded:
    """A program of the library by name, `std/gru`; LsrlError when there is none of that name."""
    loader = Loader()
    program = loader.find(tuple(name.split("/"))) if name.startswith(f"{STD}/") else None
    if program is None:
        raise LsrlError([Diagnostic("E0306", f"the library has no program `{name}`", None, remedy="see `lsrl list`")])
    return Loaded(program, loader)
