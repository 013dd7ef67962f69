"""What the kernels of an emitted module need of a GPU: registers, spills and shared memory, without having one.

Triton compiles for a named GPU on any machine; the bundled disassembler reads the registers off the machine code.
Triton itself does not check the shared memory it asks for, so `LIMITS` are ours to hold.  Kernels are compiled in a
process of their own: in one where they are interpreted, Triton cannot compile.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lsrl.backends.module_loader import load_module

MOST_REGISTERS = 255
LIMITS: Mapping[str, int] = {"sm_80": 166912, "sm_90": 232448}
"""Bytes of shared memory that one program may use, by GPU."""


class MachineCodeError(RuntimeError):
    """Kernels that do not compile; the message ends with what the compiler said."""


@dataclass(frozen=True, slots=True)
class KernelResources:
    """What one program of a kernel needs.

    Attributes:
        kernel, target: its name, and the GPU it was compiled for.
        warps: of 32 threads each.
        registers: of each thread.
        spilled: bytes of each thread that did not fit into registers.
        shared: bytes of shared memory.
    """

    kernel: str
    target: str
    warps: int
    registers: int
    spilled: int
    shared: int

    @property
    def fits(self) -> bool:
        """Whether the GPU can run it, with nothing spilled."""
        return self.registers <= MOST_REGISTERS and self.spilled == 0 and self.shared <= LIMITS[self.target]


def resources(source: str, target: str) -> tuple[KernelResources, ...]:
    """What the kernels of an emitted module need on the GPU `target`, a key of `LIMITS`.

    Raises:
        MachineCodeError: a kernel does not compile.
    """
    return resources_of([source], [target])[0]


def resources_of(sources: Sequence[str], targets: Sequence[str]) -> tuple[tuple[KernelResources, ...], ...]:
    """As `resources`, for several modules and GPUs in one process: for each module its kernels on each GPU.

    Raises:
        MachineCodeError: a kernel does not compile.
    """
    environment = os.environ | {"TRITON_INTERPRET": "0"}
    asked = json.dumps({"sources": list(sources), "targets": list(targets)})
    command = [sys.executable, "-m", "lsrl.backends.machine_code"]
    done = subprocess.run(command, input=asked, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise MachineCodeError(f"the kernels do not compile for {', '.join(targets)}\n{done.stderr}")
    return tuple(tuple(KernelResources(**row) for row in rows) for rows in json.loads(done.stdout))


def main() -> None:
    """Compile what standard input asks for; resources go to standard output."""
    asked = json.load(sys.stdin)
    modules = [load_module(source, f"compiled_{number}") for number, source in enumerate(asked["sources"])]
    rows = [[asdict(row) for target in asked["targets"] for row in _compiled(module, target)] for module in modules]
    json.dump(rows, sys.stdout)


def _compiled(module: ModuleType, target: str) -> Iterator[KernelResources]:
    # Triton decides when it is imported whether it interprets kernels; only the process that compiles imports it.
    import triton
    from triton.backends.compiler import GPUTarget
    from triton.compiler import ASTSource

    for kernel, signature, given in module.KERNELS:
        constants: dict[str, Any] = dict(given)
        options = {name: constants.pop(name) for name in ("num_warps", "num_stages") if name in constants}
        types = {name: signature.get(name, "constexpr") for name in kernel.arg_names}
        # PyTorch's tensors start at multiples of 16 bytes, and kernels are launched with that knowledge.
        aligned = [place for place, name in enumerate(kernel.arg_names) if types[name].startswith("*")]
        attrs = {(place,): [["tt.divisibility", 16]] for place in aligned}
        source = ASTSource(fn=kernel, signature=types, constexprs=constants, attrs=attrs)
        gpu = GPUTarget("cuda", int(target.removeprefix("sm_")), 32)
        code = triton.compile(source, target=gpu, options=options)
        registers, spilled = _usage(code.asm["cubin"], Path(triton.__file__).parent)
        yield KernelResources(kernel.__name__, target, options["num_warps"], registers, spilled, code.metadata.shared)


def _usage(cubin: bytes, triton_folder: Path) -> tuple[int, int]:
    """Registers of a thread, and the bytes that it spills to its stack."""
    tool = triton_folder / "backends" / "nvidia" / "bin" / "cuobjdump"
    with tempfile.NamedTemporaryFile(suffix=".cubin") as file:
        file.write(cubin)
        file.flush()
        command = [str(tool), "--dump-resource-usage", file.name]
        report = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = re.search(r"REG:(\d+) STACK:(\d+)", report)
    if found is None:
        raise MachineCodeError(f"{tool.name} does not say how many registers are used:\n{report}")
    return int(found[1]), int(found[2])


if __name__ == "__main__":
    main()
