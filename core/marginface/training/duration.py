"""Say early in a run about how long it takes."""

from __future__ import annotations

UNITS = (("day", 86400), ("hour", 3600), ("minute", 60))
LONG_SECONDS = 3600.0
SLOW = 30.0  # images a second; a GPU trains every network here faster
CPU_NETWORK = "mobilefacenet"


def in_words(seconds: float) -> str:
    """Return a rough time in words.

    >>> in_words(77_400), in_words(4000), in_words(61), in_words(5)
    ('about 22 hours', 'about 67 minutes', 'about 1 minute', 'less than a minute')
    """
    for unit, size in UNITS:
        count = round(seconds / size)
        if count >= 2 or (count == 1 and unit == "minute"):
            return f"about {count:,} {unit}{'s' if count > 1 else ''}"
    return "less than a minute"


def forecast(backbone: str, steps_left: int, seconds: float, batch_size: int) -> str:
    """Say how long a run takes, and which network suits a CPU if it is a slow one.

    Args:
        backbone: that is trained.
        steps_left: in the run.
        seconds: of one step.
        batch_size: images in a step.

    >>> print(forecast("mobilefacenet", 100, 0.6, 32))
    about 1 minute for the 100 steps left
    """
    left = steps_left * seconds
    text = f"{in_words(left)} for the {steps_left:,} steps left"
    if left < LONG_SECONDS or batch_size > SLOW * seconds or backbone == CPU_NETWORK:
        return text
    return (
        f"{text}; {backbone} is slow here: on a CPU --backbone {CPU_NETWORK} suits better, in a "
        "new run"
    )
