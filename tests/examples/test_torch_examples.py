"""Examples in PyTorch learn, and give what they say."""

import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import pytest

EXAMPLES = Path(__file__).parents[2] / "examples"
Example = Callable[[str], ModuleType]

pytest.importorskip("torch")


def assert_it_learned(history: dict[str, list[float]]) -> None:
    assert history["loss"][-1] < 0.3 * history["loss"][0]
    assert history["accuracy"][-1] > 0.8  # of eight people
    assert history["angle"][-1] < history["angle"][0] - 0.3


def test_the_loop_learns(trained_example: Example) -> None:
    assert_it_learned(trained_example("torch_loop").main())


@pytest.mark.slow
def test_so_it_does_in_float16(example: Example) -> None:
    import torch

    assert_it_learned(example("torch_loop").main(dtype=torch.float16))


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("g++") is None, reason="compiling on a CPU needs g++")
@pytest.mark.filterwarnings("error:torch.compile failed")
def test_so_it_does_compiled(example: Example) -> None:
    assert_it_learned(example("torch_loop").main(compiled=True))


@pytest.mark.slow
def test_two_processes_share_the_loop() -> None:
    launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone"]
    command = [
        *launcher,
        "--nproc-per-node=2",
        EXAMPLES / "torch_loop.py",
        "--epochs=3",
        "--float16",
    ]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=200)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert len(lines) == 3, done.stdout  # one process prints
    losses = [float(line.split()[3]) for line in lines]
    assert losses[2] < 0.7 * losses[0]


def test_lightning_learns_and_loads_its_checkpoint(trained_example: Example) -> None:
    pytest.importorskip("lightning", reason="lightning is not installed")
    found = trained_example("lightning_module").main()
    assert found["loss"] < 2
    assert found["accuracy"] > 0.6
    assert found["same"] == 1


def test_arcface_torch_is_the_same_loss(example: Example, tmp_path: Path) -> None:
    import torch

    from marginface_torch import create_backbone

    trained = create_backbone("iresnet50", 512, seed=1)
    torch.save(trained.state_dict(), tmp_path / "backbone.pth")
    found = example("from_arcface_torch").main(str(tmp_path / "backbone.pth"))
    assert found["loss"] < 1e-4
    assert found["embeddings' gradient"] < 1e-6
    assert found["weights' gradient"] < 1e-4
    norm = trained.eval()(torch.zeros(1, 3, 112, 112)).norm().item()
    assert found["norm"] == pytest.approx(norm, rel=1e-5)
