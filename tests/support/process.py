"""Python in a process of its own: for what an import loads, and for what Triton's interpreter must not see."""

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]


def run_python(*arguments: str, cwd: Path = ROOT, interpret: bool = False) -> str:
    """Standard output of `python ARGUMENTS…`, which must succeed.

    `interpret` says whether Triton kernels are interpreted in that process (they are in the one that runs the tests).
    """
    environment = os.environ | {"TRITON_INTERPRET": str(int(interpret)), "NO_COLOR": "1"}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=cwd, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, f"python {arguments} exited with {done.returncode}\n{done.stdout}{done.stderr}"
    return done.stdout


PEAK = """
print(next(line.split()[1] for line in open("/proc/self/status") if line.startswith("VmHWM")))
"""


def peak_memory(program: str, *arguments: str) -> float:
    """The GiB that a Python program in a process of its own held at most.

    Counted from the start of the program; what `getrusage` tells begins with the memory of the process that forked.
    """
    return int(run_python("-c", program + PEAK, *arguments).split()[-1]) / 2**20
