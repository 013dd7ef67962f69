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
