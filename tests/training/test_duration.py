import numpy as np
import pytest
from rich.console import Console

from marginface.backbones import describe
from marginface.training import duration
from marginface.training.duration import first_forecast, forecast, in_words
from marginface.training.trainer import train


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "less than a minute"),
        (59.0, "about 1 minute"),
        (3600.0, "about 60 minutes"),
        (1290 * 60.0, "about 22 hours"),
        (9 * 86400.0, "about 9 days"),
        (5e9, "about 57,870 days"),
    ],
)
def test_times_are_words(seconds, words):
    assert in_words(seconds) == words


@pytest.mark.parametrize(
    ("backbone", "left", "seconds", "advised"),
    [
        ("iresnet50", 2000, 40.0, True),
        ("vit_t", 2000, 40.0, True),
        ("iresnet50", 2000, 0.2, False),  # a GPU's pace
        ("iresnet50", 20, 40.0, False),  # not long
        ("mobilefacenet", 2000, 40.0, False),
    ],
)
def test_a_long_run_at_a_slow_pace_names_the_network_for_a_cpu(backbone, left, seconds, advised):
    told = forecast(backbone, left, seconds, batch_size=128)
    assert ("--backbone mobilefacenet" in told) is advised


@pytest.mark.usefixtures("fake_backend")
def test_a_run_says_early_how_long_it_takes(make, capsys):
    train(make(), console=Console(stderr=True, width=500))
    told = capsys.readouterr().err
    assert told.index("less than a minute for the 21 steps left") < told.index("step 5/23")


class Paced:
    """Embeds at a pace, on a clock that it moves.

    Args:
        clock: in seconds.
        seconds: of an image.
    """

    def __init__(self, clock, seconds):
        self.clock, self.seconds = clock, seconds

    def embed(self, images):
        self.clock[0] += len(images) * self.seconds
        return np.ones((len(images), 4), np.float32)


@pytest.mark.parametrize(
    ("backbone", "batch_size", "processes", "seconds", "told"),
    [
        ("iresnet50", 128, 1, 0.1, "about 21 hours for the 2,000 steps left; iresnet50 is slow"),
        ("vit_b_dp005_mask_005", 64, 1, 0.3, "about 32 hours for the 2,000 steps left; vit_b"),
        ("iresnet18", 128, 2, 0.05, "about 5 hours for the 2,000 steps left; iresnet18 is slow"),
        ("mobilefacenet", 1024, 1, 0.02, "about 34 hours for the 2,000 steps left"),
        ("iresnet50", 128, 1, 0.0002, ""),  # a GPU
        ("mobilefacenet", 128, 1, 0.02, ""),  # whose first steps tell soon
    ],
)
def test_a_heavy_network_is_tried_before_the_first_step(
    monkeypatch, backbone, batch_size, processes, seconds, told
):
    clock = [0.0]
    monkeypatch.setattr(duration.time, "perf_counter", lambda: clock[0])
    said = first_forecast(
        Paced(clock, seconds),
        describe(backbone),
        backbone,
        2000,
        batch_size,
        batch_size // processes,
    )
    assert said.startswith(f"at a first guess {told}") if told else not said
    named = bool(told) and backbone != "mobilefacenet"
    assert ("--backbone mobilefacenet suits better" in said) is named


@pytest.mark.usefixtures("fake_backend")
def test_a_heavy_run_says_at_once_how_long_it_takes(make, fake_backend, capsys, monkeypatch):
    monkeypatch.setattr(duration, "HEAVY", 0)
    monkeypatch.setattr(duration, "SLOW", 1e9)
    told_before = []
    fake_backend.prepare = lambda learner: setattr(
        learner, "on_step", lambda _: told_before.append(capsys.readouterr().err)
    )
    train(make(), console=Console(stderr=True, width=500))
    assert "first guess less than a minute for the 23 steps left" in told_before[0]
