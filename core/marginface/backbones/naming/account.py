"""What became of every array of a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from marginface.text import listed

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Account:
    """What became of every array of a file, and what a network lacks.

    Args:
        used: the name in the file of each of the network's arrays, by its canonical name.
        left: the shapes of other arrays, by name.
        missing: the shapes of the network's arrays that the file has not, by canonical name.
        training: names of those left that the project's files have for training.
        outside: keys beside the state_dict, which were not read.
        counters: names of PyTorch's counts of batches, which say nothing of the network.

    >>> print(Account({"fc.weight": "module.fc.weight"}, {"head.weight": (9, 512)}))
    used 1 of 1 (1 renamed, from module.*), left 1 (head.weight)
    """

    used: dict[str, str]
    left: dict[str, Shape] = field(default_factory=dict)
    missing: dict[str, Shape] = field(default_factory=dict)
    training: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()

    @property
    def renamed(self) -> dict[str, str]:
        """The used arrays that have another name in the file."""
        return {name: stored for name, stored in self.used.items() if name != stored}

    def rows(self) -> list[tuple[str, str, str]]:
        """Return a row for each array: its name in the file, the network's name, what became."""
        rows = [
            (stored, name, "used" if name == stored else "renamed")
            for name, stored in self.used.items()
        ]
        rows += [
            (name, "", "left, of training" if name in self.training else "left")
            for name in self.left
        ]
        rows += [(name, "", "beside, not read") for name in self.outside]
        rows += [(name, "", "a counter, left") for name in self.counters]
        return rows + [("", name, "missing") for name in self.missing]

    def __str__(self) -> str:
        """Count what was used, renamed and left, and what is missing."""
        text = f"used {len(self.used)} of {len(self.used) + len(self.missing)}"
        if self.renamed:
            name, stored = next(iter(self.renamed.items()))
            text += f" ({len(self.renamed)} renamed, from {stored.removesuffix(name)}*)"
        if self.training:
            text += f", left {len(self.training)} of training ({listed(self.training)})"
        if unknown := [name for name in self.left if name not in self.training]:
            text += f", left {len(unknown)} ({listed(unknown)})"
        if self.outside:
            text += f", not read: {listed(self.outside)}"
        if self.missing:
            text += f", missing {len(self.missing)} ({listed(self.missing)})"
        return text
