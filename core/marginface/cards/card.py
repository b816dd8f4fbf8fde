"""What is stated about a model beside its network: data, figures, licence."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Self

from marginface.errors import MarginfaceError
from marginface.text import shown

LONGEST = 2000  # characters of a statement
CARD_KEY = "marginface.card"  # of an ONNX file: the card as JSON


@dataclass(frozen=True)
class Card:
    """What its author states about a model; empty where nothing is stated.

    Args:
        loss: it was trained with.
        loss_parameters: of the loss, by name.
        training_data: in the author's words.
        figures: measured by the author, by the name of what was measured: `{"LFW": 99.83}`.
        licence: of the weights, as an SPDX name or in words.
        origin: where the weights come from: a project's name, a file, an address.

    Raises:
        MarginfaceError: a statement that is no text, or too long; a figure that is no number.

    >>> Card(licence="MIT", figures={"LFW": 99.83}).figures
    {'LFW': 99.83}
    """

    loss: str = ""
    loss_parameters: Mapping[str, Any] = field(default_factory=dict)
    training_data: str = ""
    figures: Mapping[str, float] = field(default_factory=dict)
    licence: str = ""
    origin: str = ""

    def __post_init__(self) -> None:
        for name in ("loss", "training_data", "licence", "origin"):
            _check_text(name, getattr(self, name))
        for name in ("loss_parameters", "figures"):
            values = getattr(self, name)
            if not isinstance(values, Mapping):
                raise MarginfaceError(f"a model card's {name} must be a table, got {shown(values)}")
            for key in values:
                _check_text(f"{name}, a name in it,", key)
        for key, value in self.figures.items():
            number = isinstance(value, int | float) and not isinstance(value, bool)
            if not number or not abs(value) <= sys.float_info.max:
                raise MarginfaceError(
                    f"a model card's figure {shown(key)} must be a number, got {shown(value)}"
                )
        for key, value in self.loss_parameters.items():
            if not isinstance(value, bool | int | float | str | None):
                raise MarginfaceError(
                    f"a model card's loss parameter {shown(key)} must be a number or a text, "
                    f"got {shown(value)}"
                )

    def to_json(self) -> dict[str, Any]:
        """Return plain values; what is not stated is left out."""
        return {name: value for name, value in asdict(self).items() if value}

    @classmethod
    def from_json(cls, values: Any) -> Self:
        """Rebuild from `to_json`'s values.

        Raises:
            MarginfaceError: they are none of a card.
        """
        known = {each.name for each in fields(cls)}
        if not isinstance(values, dict) or (unknown := sorted(values.keys() - known)):
            what = "is no table" if not isinstance(values, dict) else f"has {shown(unknown[0])}"
            raise MarginfaceError(f"a model card {what}; expected {', '.join(sorted(known))}")
        return cls(**values)


def parse_figures(texts: list[str]) -> dict[str, float]:
    """Read figures that are given as NAME=NUMBER.

    Raises:
        MarginfaceError: one is not, or a name is given twice.

    >>> parse_figures(["LFW=99.83", "IJB-C TAR@FAR 1e-4=96.4"])
    {'LFW': 99.83, 'IJB-C TAR@FAR 1e-4': 96.4}
    """
    figures: dict[str, float] = {}
    for text in texts:
        name, _, number = text.rpartition("=")
        try:
            value = float(number)
        except ValueError:
            value = math.nan
        if not name.strip() or not math.isfinite(value):
            raise MarginfaceError(f"--figure {shown(text)}: expected NAME=NUMBER, as LFW=99.83")
        name = name.strip()
        if name in figures:
            raise MarginfaceError(f"--figure: {shown(name)} is given twice")
        figures[name] = value
    return figures


def _check_text(name: str, value: Any) -> None:
    if not isinstance(value, str):
        raise MarginfaceError(f"a model card's {name} must be a text, got {shown(value)}")
    if len(value) > LONGEST:
        raise MarginfaceError(
            f"a model card's {name} has {len(value)} characters; at most {LONGEST} fit"
        )
