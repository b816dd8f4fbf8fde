"""How threads wait for work."""

import os


def wait_without_spinning() -> None:
    """Let idle threads of OpenMP sleep, unless the environment says how they wait.

    PyTorch's spin; on cores that other programs use too, training was 3 to 10 times slower for it.
    OpenMP reads this when the framework is imported.
    """
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
