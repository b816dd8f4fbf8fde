import pytest
from rich.console import Console

from marginface.training.duration import forecast, in_words
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
