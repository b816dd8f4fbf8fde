"""Devices, precision and micro-batches as a run is asked for them, and what it says of them."""

import json
from io import StringIO

import pytest
from rich.console import Console
from runs import STEPS

from marginface.errors import MarginfaceError, TrainingDivergedError
from marginface.loss_scaling import LossScale
from marginface.runs.checkpoints import latest_checkpoint
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")


def said(config) -> str:
    text = StringIO()
    train(config, console=Console(file=text, width=200))
    return text.getvalue()


def overflowing(factors):
    """Let steps report a loss scale; of those that are left out, a gradient that is infinite."""

    def prepare(learner):
        plain = learner.step

        def step(*given, **options):
            result = plain(*given, **options)
            scaling = factors.get(learner.steps, LossScale(1024.0, 3))
            norm = result.gradient_norm if scaling.steps else float("inf")
            return result._replace(scaling=scaling, gradient_norm=norm)

        learner.step = step

    return prepare


def test_a_run_says_how_it_computes(make, fake_backend):
    fake_backend.prepare = lambda learner: setattr(learner, "device_name", "cuda:0 (A Card)")
    config = make("gpu", precision="bfloat16", accumulation=2, recompute=True)
    text = said(config)
    assert "fake 1.0 on cuda:0 (A Card)\n" in text
    assert (
        "backbone in bfloat16, 2 micro-batches of 2 images a step, activations recomputed" in text
    )
    assert "is no faster" not in text
    (start,) = json.loads((config.output / "environment.json").read_text())["sessions"]
    assert start["device"] == "cuda:0 (A Card)"
    fake_backend.prepare = lambda _: None
    assert "bfloat16 on the CPU is no faster" in said(make("cpu", precision="bfloat16"))
    plain = said(make("plain"))
    assert "fake 1.0\n" in plain
    assert "backbone in" not in plain


def test_steps_that_overflow_are_told_and_the_run_goes_on(make, fake_backend):
    fake_backend.prepare = overflowing({5: LossScale(512.0), 7: LossScale(256.0)})
    config = make(precision="float16")
    text = said(config)
    for step, factor in ((5, 512), (7, 256)):
        line = f"step {step} left out: a gradient overflowed; the loss is scaled by {factor}\n"
        assert line in text
    assert text.count("left out") == 2
    assert latest_checkpoint(config.output / "checkpoints").name == f"step-{STEPS:08d}"


def test_float16_that_overflows_for_good_ends_the_run(make, fake_backend):
    fake_backend.prepare = overflowing({13: LossScale(1.0), 14: LossScale(0.5)})
    config = make(precision="float16", checkpoint_every=10)
    with pytest.raises(TrainingDivergedError) as caught:
        said(config)
    message = str(caught.value)
    assert "norm became inf at step 14, in float16 without any factor on the loss" in message
    assert str(config.output / "checkpoints" / "step-00000010") in message


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"device": "gpu"}, "device is 'gpu', expected auto, cpu, cuda, cuda:NUMBER or mps"),
        ({"device": "cuda:1", "processes": 2}, "each of which has a GPU of its own"),
        ({"precision": "half"}, "unknown precision 'half'"),
        ({"accumulation": 3}, "batch_size 4 cannot be cut into accumulation 3 micro-batches"),
        ({"accumulation": 4, "processes": 2}, "on each of 2 processes; choose a multiple of 8"),
        ({"recompute": True, "compile": "on"}, "compile on does not go with recompute"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, dict) else "",
)
def test_refusals(make, values, words):
    with pytest.raises(MarginfaceError, match=words):
        make(**values)
