"""Devices, precision and micro-batches as a run is asked for them, and what it says of them."""

import json
from io import StringIO

import pytest
from rich.console import Console
from runs import STEPS

from marginface.errors import MarginfaceError, TrainingDivergedError
from marginface.loss_scaling import LossScale
from marginface.runs.checkpoints import latest_checkpoint, list_checkpoints, read_record
from marginface.training.config.files import resume_config
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")


def said(config) -> str:
    text = StringIO()
    train(config, console=Console(file=text, width=200))
    return text.getvalue()


def overflowing(factors, good=()):
    """Let steps report a loss scale and, but for the good ones, a gradient that is infinite."""

    def prepare(learner):
        plain = learner.step

        def step(*given, **options):
            result = plain(*given, **options)
            scaling = factors.get(learner.steps, LossScale(1024.0, 3))
            overflows = learner.steps in factors and learner.steps not in good
            norm = float("inf") if overflows else result.gradient_norm
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
    assert "float16 on the CPU is slow" in said(make("half", precision="float16"))
    plain = said(make("plain"))
    assert "fake 1.0\n" in plain
    assert "backbone in" not in plain


def test_steps_that_overflow_are_told_and_the_run_goes_on(make, fake_backend):
    fake_backend.prepare = overflowing(
        {5: LossScale(512.0), 7: LossScale(256.0), 9: LossScale(512.0)}, good=(9,)
    )
    config = make(precision="float16", log_every=1)
    text = said(config)
    for step, factor in ((5, 512), (7, 256)):
        line = f"step {step} left out: a gradient overflowed; the loss is scaled by {factor}\n"
        assert line in text
    # A factor that was doubled after good steps has stood for none either.
    assert text.count(" left out: ") == 2
    assert f"2 of {STEPS} steps were left out, as gradients overflowed\n" in text
    assert latest_checkpoint(config.output / "checkpoints").name == f"step-{STEPS:08d}"
    text = (config.output / "metrics.jsonl").read_text()
    records = [json.loads(line, parse_constant=pytest.fail) for line in text.splitlines()]
    norms = {each["step"]: each.get("gradient_norm") for each in records if each["kind"] == "train"}
    assert [step for step, norm in norms.items() if norm is None] == [5, 7]


def test_a_run_whose_steps_were_all_left_out_says_so(make, fake_backend):
    fake_backend.prepare = overflowing({step: LossScale(512.0) for step in range(1, STEPS + 1)})
    assert f"all of the {STEPS} steps were left out" in said(make(precision="float16"))


def test_float16_that_overflows_for_good_ends_the_run(make, fake_backend):
    factors = {step: LossScale(2.0 ** (14 - step)) for step in range(11, 16)}
    fake_backend.prepare = overflowing(factors)
    config = make(precision="float16", checkpoint_every=1, keep_checkpoints=2)
    with pytest.raises(TrainingDivergedError) as caught:
        said(config)
    message = str(caught.value)
    assert "norm became inf at step 15, in float16 without any factor on the loss" in message
    # Those that were due amid the overflows would have taken the place of the good one.
    assert str(config.output / "checkpoints" / "step-00000010") in message


def test_a_checkpoint_that_was_due_at_an_overflow_follows_at_the_next_good_step(make, fake_backend):
    fake_backend.prepare = overflowing({10: LossScale(512.0), 11: LossScale(256.0)})
    config = make(precision="float16", checkpoint_every=10, keep_checkpoints=9)
    said(config)
    steps = [read_record(each).step for each in list_checkpoints(config.output / "checkpoints")]
    assert steps == [12, 20, STEPS]


def test_tf32_and_full_go_on_from_each_other(make):
    run = make(precision="full")
    for precision in ("tf32", "full"):
        run = resume_config(run, {"precision": precision})
        assert run.precision == precision
    with pytest.raises(MarginfaceError, match="cannot change precision"):
        resume_config(run, {"precision": "bfloat16"})


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ({"device": "gpu"}, "device is 'gpu', expected auto, cpu, cuda, cuda:NUMBER or mps"),
        ({"device": "cuda:1", "processes": 2}, "each of which has a GPU of its own"),
        (
            {"device": "mps", "processes": 2},
            "device mps does not go with .* Apple's is one; give cpu",
        ),
        ({"accumulation": 4}, "leaves one image in a micro-batch, .*; take at most 2, or frozen"),
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
