"""What `pytest --device` lets frameworks see."""

import os

import frameworks
import pytest


@pytest.mark.parametrize(
    ("asked", "device", "visible"),
    [("cpu", "cpu", ""), ("cuda", "cuda", "2,3"), ("cuda:1", "cuda", "1"), ("mps", "mps", "2,3")],
)
def test_the_device_that_is_asked_for(
    monkeypatch: pytest.MonkeyPatch, asked: str, device: str, visible: str
) -> None:
    """A learner takes what there is: on the CPU, nothing else may be there."""
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,3")
    monkeypatch.setenv("CUBLAS_WORKSPACE_CONFIG", ":16:8")
    monkeypatch.setenv("PARITY_DEVICE", "")
    monkeypatch.setattr(frameworks, "DEVICE", "")
    frameworks.use(asked)
    assert device == frameworks.DEVICE == os.environ["PARITY_DEVICE"]
    assert os.environ["CUDA_VISIBLE_DEVICES"] == visible


def test_nothing_but_the_device_is_seen_here() -> None:
    if frameworks.DEVICE == "cpu":
        assert os.environ["CUDA_VISIBLE_DEVICES"] == ""
