"""What became of every array of a file."""

from __future__ import annotations

from dataclasses import dataclass, field

from marginface.text import listed

Shape = tuple[int, ...]


@dataclass(frozen=True)
class Account:
    """What became of every array of a file, which lacks none of its network.

    Args:
        used: the name in the file of each of the network's arrays, by its canonical name.
        left: the shapes of other arrays, by name.
        training: names of those left that the project's files have for training.
        outside: keys beside the state_dict, which were not read.
        counters: names of PyTorch's counts of batches, which say nothing of the network.

    >>> print(Account({"fc.weight": "module.fc.weight"}, {"head.weight": (9, 512)}))
    used 1, none missing, all renamed (from module.*), left 1 (head.weight)
    """

    used: dict[str, str]
    left: dict[str, Shape] = field(default_factory=dict)
    training: tuple[str, ...] = ()
    outside: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()

    @property
    def renamed(self) -> dict[str, str]:
        """The used arrays that have another name in the file."""
        return {name: stored for name, stored in self.used.items() if name != stored}

    def groups(self) -> dict[str, list[str]]:
        """Return the names in the file by what became of them; used ones as `file -> network`."""
        groups = {
            "used": [name for name, stored in self.used.items() if name == stored],
            "renamed": [f"{stored} -> {name}" for name, stored in self.renamed.items()],
            "left, of training": list(self.training),
            "left": [name for name in self.left if name not in self.training],
            "left, counters": list(self.counters),
            "not read": list(self.outside),
        }
        return {what: names for what, names in groups.items() if names}

    def __str__(self) -> str:
        """Count what was used, renamed and left, in one line."""
        text = f"used {len(self.used)}, none missing"
        if self.renamed:
            name, stored = next(iter(self.renamed.items()))
            text += f", all renamed (from {stored.removesuffix(name)}*)"
        groups = self.groups()
        for what, told in (("left, of training", "left {} of training"), ("left", "left {}")):
            if names := groups.get(what):
                text += f", {told.format(len(names))} ({listed(names)})"
        if self.outside:
            text += f", not read: {listed(self.outside)}"
        return text
