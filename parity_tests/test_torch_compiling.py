"""Where torch.compile cannot work, a run goes on without it."""

import os
import subprocess
import sys
from pathlib import Path

from frameworks import Framework

RUN = """
import torch
from marginface_torch.compiling import compiled

double = compiled(lambda x: (x * 2).cos())
for _ in range(2):
    print(torch.equal(double(torch.ones(3)), (torch.ones(3) * 2).cos()))
"""


def test_without_a_compiler_it_runs_as_it_is(torch: Framework, tmp_path: Path) -> None:
    del torch  # it only has to be there
    env = {**os.environ, "CXX": "/nowhere/g++", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path)}
    done = subprocess.run(
        [sys.executable, "-c", RUN], env=env, capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["True", "True"]
    assert done.stderr.count("torch.compile failed, so the run goes on without it") == 1
    assert "/nowhere/g++" in done.stderr
