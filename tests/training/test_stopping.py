import os
import signal
import subprocess
import sys

import pytest
from runs import QUIET

from marginface.training.stopping import NOTICE, SIGNALS
from marginface.training.trainer import train

LONG_STEP = """
import time
from marginface.training.stopping import StopRequest
with StopRequest():
    print("begun", flush=True)
    for _ in range(600):
        time.sleep(0.1)
"""


def test_a_signal_restores_the_defaults_so_that_the_next_one_ends_the_process(make, fake_backend):
    before = signal.getsignal(signal.SIGTERM)
    seen = []

    def prepare(learner):
        def on_step(step):
            if step == 4:
                os.kill(os.getpid(), signal.SIGTERM)
                seen.append((signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)))

        learner.on_step = on_step

    fake_backend.prepare = prepare
    train(make(), console=QUIET)
    assert seen == [(signal.SIG_DFL, signal.SIG_DFL)]
    assert signal.getsignal(signal.SIGTERM) == before


@pytest.mark.parametrize("number", SIGNALS)
def test_the_first_signal_is_answered_and_the_second_ends_the_process_at_once(number):
    command = [sys.executable, "-c", LONG_STEP]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline() == b"begun\n"
        process.send_signal(number)
        assert process.stderr.readline() == b"\n"  # below the progress bar
        assert process.stderr.readline().decode() == f"{NOTICE}\n"
        process.send_signal(number)
        assert process.wait(timeout=10) == -number
