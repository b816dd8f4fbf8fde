"""What an installed marginface must do, run by the Python of its environment in an empty folder.

    python -I releasing/checks.py             no framework is installed
    python -I releasing/checks.py torch tf    these are

Plain asserts and the standard library: the environment has nothing else.
"""

from __future__ import annotations

import importlib.metadata
import subprocess
import sys
from pathlib import Path

FRAMEWORKS = {"torch": "torch", "tf": "tensorflow"}


def main(backends: list[str]) -> None:
    """Check imports, commands and each backend: those that are there, and the others' absence."""
    check_import()
    check_commands()
    for backend in FRAMEWORKS:
        if backend in backends:
            check_backend(backend)
        else:
            check_absence(backend)


def check_import() -> None:
    """`import marginface` loads no framework, and both agree on the version."""
    import marginface

    loaded = {"torch", "tensorflow", "keras", "numpy"} & set(sys.modules)
    assert not loaded, loaded
    assert marginface.__version__ == importlib.metadata.version("marginface")


def check_commands() -> None:
    """The command is installed, says its version, lists its commands and explains a loss."""
    version = importlib.metadata.version("marginface")
    assert command("--version") == (0, f"marginface {version}\n", "")
    status, out, _ = command("--help")
    assert (status, "train" in out, "evaluate" in out) == (0, True, True), out
    status, out, _ = command("losses", "arcface")
    assert (status, "1801.07698" in out) == (0, True), out


def check_backend(backend: str) -> None:
    """A head learns from a batch, and a backbone becomes an ONNX file that runs."""
    import numpy as np
    import onnxruntime

    import marginface

    framework = marginface.load_backend(backend)
    rng = np.random.default_rng(0)
    embeddings = rng.normal(size=(4, 8)).astype(np.float32)
    loss = marginface.losses.get("arcface")
    labels = np.array([0, 1, 2, 9])
    step = framework.loss_step(loss, embeddings, labels, 10, loss.draw(rng, len(labels)))
    assert 0 < step() < 200

    backbone = framework.create_backbone("mobilefacenet", 16, seed=0)
    path = framework.export_onnx(backbone, f"{backend}.onnx")
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    images = rng.normal(size=(2, 3, 112, 112)).astype(np.float32)
    (output,) = session.run(None, {"images": images})
    assert output.shape == (2, 16)
    assert np.isfinite(output).all()


def check_absence(backend: str) -> None:
    """Without its framework, a backend is one line that has the command to install it."""
    import marginface

    advice = f"pip install 'marginface[{backend}]'"
    said = ""
    try:
        marginface.load_backend(backend)
    except marginface.MarginfaceError as error:
        said = str(error)
    assert advice in said, f"{backend}: {said or 'was loaded'}"
    status, out, err = command("parity", "--backend", backend)
    assert (status, out, advice in err, err.count("\n")) == (2, "", True, 1), (status, out, err)


def command(*arguments: str) -> tuple[int, str, str]:
    """Run the installed command; return its status and what it prints."""
    program = Path(sys.executable).with_name("marginface")
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    return done.returncode, done.stdout, done.stderr


if __name__ == "__main__":
    main(sys.argv[1:])
