import os
import signal

import pytest
from runs import QUIET, resumed

from marginface.training import compiling
from marginface.training.trainer import train

pytestmark = pytest.mark.usefixtures("fake_backend")


@pytest.mark.parametrize(("left", "compiles"), [(599.0, False), (601.0, True)])
def test_compiling_waits_for_a_measured_step_and_a_long_run(left, compiles):
    class Learner:
        compiled = 0

        def compile(self):
            self.compiled += 1

    learner = Learner()
    auto = compiling.AutoCompile(learner)
    seconds = left / 1000
    slow_start = [10.0, 10.0, seconds, seconds, seconds]
    assert [auto.observe(value, 1000) for value in slow_start] == [None] * 5
    said = auto.observe(seconds, 1000)
    assert ("not compiling" in said) is not compiles
    assert (learner.compiled, auto.compiled) == (int(compiles), compiles)
    assert auto.observe(seconds, 10**6) is None
    assert learner.compiled == int(compiles)


def test_nothing_is_said_of_compiling_when_no_step_is_left():
    auto = compiling.AutoCompile(None)
    assert [auto.observe(1.0, left) for left in (5, 4, 3, 2, 1, 0)] == [None] * 6


def test_a_run_that_compiled_compiles_at_once_when_resumed(make, fake_backend, monkeypatch):
    monkeypatch.setattr(compiling, "WORTHWHILE_SECONDS", 0.0)
    compiled = []

    def prepare(learner):
        learner.compile = lambda: compiled.append(learner.steps)
        learner.on_step = stop.__getitem__(0)

    stop = [lambda step: os.kill(os.getpid(), signal.SIGINT) if step == 9 else None]
    fake_backend.prepare = prepare
    config = make()
    train(config, console=QUIET)
    assert compiled == [6]
    stop[0] = lambda _: None
    train(resumed(config), resume=True, console=QUIET)
    assert compiled == [6, 9]
