"""Read what `torch.save` writes, without PyTorch: a zip since 1.6, a row of pickles before.

Nothing of a file is run: see `machine` and `tensors`.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from marginface import zips
from marginface.errors import MarginfaceError
from marginface.formats import begins
from marginface.pickles import torch_row
from marginface.pickles.machine import Refused, Unfit
from marginface.pickles.torch_row import read_row
from marginface.pickles.torch_zip import read_zip

# What the files of quantised networks ask for.
QUANTISED = ("torch.qint8", "torch.quint8", "torch._utils._rebuild_qtensor")
LOOKED_AT = 512  # bytes of a zip, in which the name of its first entry is


def is_torch_file(path: Path) -> bool:
    """Return whether a file begins as those of `torch.save`; a zip with its pickle."""
    if begins(path, zips.BEGIN):
        with path.open("rb") as file:
            return b"/data.pkl" in file.read(LOOKED_AT)
    return begins(path, torch_row.BEGIN)


def read_torch_file(path: Path) -> Any:
    """Read a file of `torch.save`: dictionaries, lists, numbers, text, `Tensor`.

    A tensor's numbers are read where its `array()` is called.

    Raises:
        MarginfaceError: it is none, damaged, or holds anything else, which is named.
    """
    try:
        return read_zip(path) if begins(path, zips.BEGIN) else read_row(path)
    except Refused as refused:
        if str(refused) in QUANTISED:
            raise MarginfaceError(
                f"{path} holds int8 weights of PyTorch's quantisation (it asks for {refused}); "
                "give the floating-point weights that they were made from"
            ) from None
        raise MarginfaceError(
            f"{path} holds other objects, expected a plain state_dict saved by torch.save: it asks "
            f"for {refused}, and nothing of it was run; save model.state_dict() again"
        ) from None
    except Unfit as unfit:
        raise MarginfaceError(
            f"{path} holds damaged data, expected a plain state_dict saved by torch.save: {unfit}; "
            "restore it, or save model.state_dict() again"
        ) from None
