import re
import shlex

import numpy as np
import pytest
from runs import QUIET, STEPS

from marginface.errors import TrainingDivergedError
from marginface.runs.checkpoints import latest_checkpoint, list_checkpoints
from marginface.training.config.files import read_config_file
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")


@pytest.mark.parametrize("loss", [float("nan"), float("inf")])
def test_a_diverged_run_stops_and_points_to_the_last_good_checkpoint(make, fake_backend, loss):
    config = make(checkpoint_every=10)
    fake_backend.prepare = lambda learner: learner.loss_at.update({13: loss})
    with pytest.raises(TrainingDivergedError) as caught:
        train(config, console=QUIET)
    message = str(caught.value)
    assert f"the loss became {loss} at step 13" in message
    assert str(config.output / "checkpoints" / "step-00000010") in message
    for cause in ("learning rate", "warm-up (3 steps)", "scale 64.0, margin 0.5", "4 dimensions"):
        assert cause in message
    assert "\n" not in message
    assert latest_checkpoint(config.output / "checkpoints").name == "step-00000010"


def test_weights_that_are_not_finite_never_reach_a_checkpoint(make, fake_backend):
    config = make()

    def prepare(learner):
        def on_step(step):
            if step == 10:
                learner.values["head.weight"][1, 2] = np.inf

        learner.on_step = on_step

    fake_backend.prepare = prepare
    with pytest.raises(TrainingDivergedError, match=r"head.weight holds NaN or infinite.* step 10"):
        train(config, console=QUIET)
    assert list_checkpoints(config.output / "checkpoints") == []


@pytest.mark.parametrize("at", [2, 13])  # before the first checkpoint, and behind one
def test_the_advice_of_a_diverged_run_works(make, fake_backend, cli, at):
    config = make("a run", lr=0.5, checkpoint_every=10)
    fake_backend.prepare = lambda learner: learner.loss_at.update({at: float("nan")})
    with pytest.raises(TrainingDivergedError) as caught:
        train(config, console=QUIET)
    advised = re.search("`marginface (.*?)`", str(caught.value))
    assert advised
    fake_backend.prepare = lambda _: None
    assert cli(*shlex.split(advised[1])).status == 0
    assert read_config_file(config.output / "config.yaml")["lr"] == 0.05
    assert latest_checkpoint(config.output / "checkpoints").name == f"step-{STEPS:08d}"
