"""The parts of a backbone: what freezing and learning rates of their own speak of."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from marginface.backbones.graph import Graph, array_name
from marginface.backbones.layers.batch_norm import BatchNorm
from marginface.errors import MarginfaceError, unknown_name

BACKBONE, HEAD, STEM = "backbone", "head", "stem"


def parts(graph: Graph) -> dict[str, list[str]]:
    """Return the parts of a backbone in order of execution, each with its layers that have arrays.

    A part is named as the parameters are: by their first word (`fc`, `layer1`), or by the word and
    number of a row (`blocks.0`). What stands before the first of the row is the `stem`.

    >>> from marginface.backbones import describe
    >>> list(parts(describe("iresnet18")))
    ['stem', 'layer1', 'layer2', 'layer3', 'layer4', 'bn2', 'fc', 'features']
    >>> list(parts(describe("vit_t")))[:3], list(parts(describe("vit_t")))[-3:]
    (['stem', 'blocks.0', 'blocks.1'], ['norm', 'mask_token', 'feature'])
    """
    layers = [node.layer.name for node in graph.nodes if node.layer.parameters()]
    first = next((i for i, name in enumerate(layers) if _in_row(name)), 0)
    members: dict[str, list[str]] = {}
    for i, name in enumerate(layers):
        members.setdefault(STEM if i < first else _part(name), []).append(name)
    return members


def layers_of(graph: Graph, part: str, others: Sequence[str] = (BACKBONE,)) -> list[str]:
    """Return the layers of a part: `backbone` for all, one of `parts`, or how their names start.

    Args:
        graph: the backbone.
        part: the name.
        others: what else could have been meant, for the message.

    Raises:
        MarginfaceError: the backbone has no such part.

    >>> from marginface.backbones import describe
    >>> layers_of(describe("iresnet18"), "layer1.0")[:2]
    ['layer1.0.bn1', 'layer1.0.conv1']
    """
    known = parts(graph)
    every = [name for names in known.values() for name in names]
    if part == BACKBONE:
        return every
    found = known.get(part) or [name for name in every if f"{name}.".startswith(f"{part}.")]
    if not part or not found:
        rows = {name.rpartition(".")[0] for name in known if "." in name} - {HEAD}
        near = str(unknown_name("part", part, [*known, *rows, *others])).partition(" (")[0]
        listed = f"{_in_words(known)}; {BACKBONE} for all"
        if HEAD in others:
            listed += f"; {HEAD} for the class weights"
        raise MarginfaceError(f"{near} (parts of {graph.name}: {listed})")
    return found


def arrays_of(graph: Graph, layers: Iterable[str]) -> list[str]:
    """Return the arrays of layers by canonical name."""
    by_name = {node.layer.name: node.layer for node in graph.nodes}
    return [
        f"{BACKBONE}.{array_name(by_name[name], suffix)}"
        for name in layers
        for suffix in by_name[name].parameters()
    ]


@dataclass(frozen=True, kw_only=True)
class Tuning:
    """What rests in a training, and the share of the learning rate that each part learns at.

    A frozen part keeps its weights, and its BatchNorms their statistics, by which they normalise.
    Dropout, drop path and masks are the run's, and go on. The head always learns.

    Args:
        freeze: parts of the backbone.
        unfreeze_at: the step, counted from 0, from which they learn; None for never. Momentum and
            moments start there from zero, and so does the count of AdamW's corrections.
        lr_factor: factors on the learning rate by part, or `head`; of several parts that hold a
            layer the smallest counts.
        layer_decay: a factor for each part further from the head, beginning with the last of the
            row (`layer4`, `blocks.11`); what stands behind the row learns at the full rate.
        frozen_statistics: every BatchNorm normalises by its stored statistics, which stay, while
            its scale and shift learn.

    Raises:
        MarginfaceError: a number out of range, or one that would have no effect.
    """

    freeze: tuple[str, ...] = ()
    unfreeze_at: int | None = None
    lr_factor: Mapping[str, float] = field(default_factory=dict)
    layer_decay: float = 1.0
    frozen_statistics: bool = False

    def __post_init__(self) -> None:
        for name, factor in self.lr_factor.items():
            if not 0 < factor < math.inf:
                still = (
                    "the head always learns"
                    if name == HEAD
                    else f"to hold it still give --freeze {name}"
                )
                raise MarginfaceError(
                    f"lr_factor of {name} must be a finite number above 0, got {factor}"
                    + (f"; {still}" if factor == 0 else "")
                )
        if not 0 < self.layer_decay <= 1:
            raise MarginfaceError(f"layer_decay must be above 0, at most 1, got {self.layer_decay}")
        if HEAD in self.freeze:
            raise MarginfaceError("freeze takes parts of the backbone; the head always learns")
        if self.unfreeze_at is not None and self.unfreeze_at < 1:
            raise MarginfaceError(f"unfreeze_at must be 1 or more, got {self.unfreeze_at}")
        if self.unfreeze_at is not None and not self.freeze:
            raise MarginfaceError(
                f"unfreeze_at {self.unfreeze_at} has no effect without freeze; say which parts "
                "rest until then, such as --freeze backbone"
            )

    def check(self, graph: Graph) -> None:
        """Raise if a part is none of the backbone's, or a factor would have no effect."""
        never = self.never_trained(graph)
        for name in self.lr_factor:
            if name == HEAD:
                continue
            if never.issuperset(arrays_of(graph, layers_of(graph, name, (BACKBONE, HEAD)))):
                raise MarginfaceError(
                    f"lr_factor of {name} has no effect: it is frozen throughout; leave one of "
                    "them out, or say from when it learns, with --unfreeze-at"
                )
        norms = [node.layer.name for node in graph.nodes if isinstance(node.layer, BatchNorm)]
        if self.frozen_statistics and set(arrays_of(graph, norms)) <= never:
            raise MarginfaceError(
                "frozen_statistics has no effect: the backbone has no BatchNorm whose weights "
                "learn; leave it out"
            )
        every = set(arrays_of(graph, layers_of(graph, BACKBONE)))
        if self.layer_decay != 1 and every <= never:
            raise MarginfaceError(
                f"layer_decay {self.layer_decay} has no effect: the whole backbone is frozen "
                "throughout; leave one of them out, or give --unfreeze-at"
            )

    def check_reached(self, total_steps: int) -> None:
        """Raise if a run ends before its frozen parts learn."""
        if self.unfreeze_at is not None and self.unfreeze_at >= total_steps:
            raise MarginfaceError(
                f"unfreeze_at {self.unfreeze_at} is never reached: the run has {total_steps} "
                "steps, counted from 0; give --unfreeze-at below that, leave it out, or train "
                "longer (--epochs, --max-steps)"
            )

    def check_change(self, before: Tuning, step: int) -> None:
        """Raise if a run that took `step` steps as `before` says cannot go on like this.

        Another step to unfreeze at must be one that is still to come, as the old one must.
        """
        if self.unfreeze_at == before.unfreeze_at:
            return
        if not before.frozen_at(step - 1):
            raise MarginfaceError(
                f"unfreeze_at cannot become {self.unfreeze_at}: {', '.join(self.freeze)} learn "
                f"since step {before.unfreeze_at}, and the run is at step {step}; leave it out"
            )
        if self.unfreeze_at is None or self.unfreeze_at < step:
            raise MarginfaceError(
                f"unfreeze_at cannot become {self.unfreeze_at}: the run is at step {step}; give "
                f"--unfreeze-at {step} or more"
            )

    def describe(self) -> str:
        """Describe what is not as usual; "" if nothing is.

        >>> Tuning(freeze=("stem",), unfreeze_at=9, lr_factor={"head": 2}).describe()
        'stem frozen until step 9, learning rate times 2 for head'
        """
        said = []
        if self.freeze:
            until = "" if self.unfreeze_at is None else f" until step {self.unfreeze_at}"
            said.append(f"{', '.join(self.freeze)} frozen{until}")
        if self.lr_factor:
            factors = (f"{factor:g} for {name}" for name, factor in self.lr_factor.items())
            said.append(f"learning rate times {', '.join(factors)}")
        if self.layer_decay != 1:
            said.append(f"layer decay {self.layer_decay:g}")
        if self.frozen_statistics:
            said.append("statistics of BatchNorm frozen")
        return ", ".join(said)

    def frozen_at(self, step: int) -> bool:
        """Return whether the frozen parts rest in a step, counted from 0."""
        return bool(self.freeze) and (self.unfreeze_at is None or step < self.unfreeze_at)

    def frozen_layers(self, graph: Graph) -> list[str]:
        """Return the layers of the frozen parts."""
        return list(dict.fromkeys(one for part in self.freeze for one in layers_of(graph, part)))

    def still_norms(self, graph: Graph, *, frozen: bool) -> list[str]:
        """Return the layers whose BatchNorms take their stored statistics, and leave them."""
        if self.frozen_statistics:
            return layers_of(graph, BACKBONE)
        return self.frozen_layers(graph) if frozen else []

    def first_steps(self, graph: Graph) -> dict[str, int]:
        """Return the step from which each array of the frozen parts learns, if it ever does."""
        if self.unfreeze_at is None:
            return {}
        return dict.fromkeys(arrays_of(graph, self.frozen_layers(graph)), self.unfreeze_at)

    def never_trained(self, graph: Graph) -> set[str]:
        """Return the arrays that no step moves; they have no optimizer slots."""
        resting = arrays_of(graph, self.frozen_layers(graph))
        return set(resting) if self.unfreeze_at is None else set()

    def factors(self, graph: Graph) -> dict[str, float]:
        """Return the factor on the learning rate of every array, by canonical name.

        >>> from marginface.backbones import describe
        >>> graph = describe("iresnet18", embedding_size=64)
        >>> found = Tuning(lr_factor={"backbone": 0.5, "fc": 1}, layer_decay=0.1).factors(graph)
        >>> [found[f"backbone.{name}.weight"] for name in ("fc", "bn2", "layer4.0.bn1")]
        [1.0, 0.5, 0.05]
        """
        known = parts(graph)
        rows = [i for i, names in enumerate(known.values()) if _in_row(names[0])]
        last = rows[-1] if rows else len(known) - 2
        decays = {
            layer: self.layer_decay ** max(0, last - i + 1)
            for i, names in enumerate(known.values())
            for layer in names
        }
        given: dict[str, float] = {}
        chosen = {name: layers_of(graph, name) for name in self.lr_factor if name != HEAD}
        for name, layers in sorted(chosen.items(), key=lambda pair: len(pair[1]), reverse=True):
            given |= dict.fromkeys(layers, self.lr_factor[name])  # the smallest part last
        found = {
            f"{BACKBONE}.{array_name(node.layer, suffix)}": decays[node.layer.name]
            * given.get(node.layer.name, 1.0)
            for node in graph.nodes
            for suffix in node.layer.parameters()
        }
        return found | dict.fromkeys(("head.weight", "head.bias"), self.head_factor)

    @property
    def head_factor(self) -> float:
        """The factor on the head's learning rate."""
        return self.lr_factor.get(HEAD, 1.0)


def _part(name: str) -> str:
    """Return the part that a layer belongs to, but for the stem.

    By two words where the first is `head`, which alone is the class weights.
    """
    first, *rest = name.split(".")
    in_row = _in_row(name) and not first[-1].isdigit()
    return f"{first}.{rest[0]}" if in_row or (rest and first == HEAD) else first


def _in_row(name: str) -> bool:
    """Return whether a layer stands in a row of parts: `layer1.0.bn1`, `blocks.3.attn`."""
    first, *rest = name.split(".")
    return len(rest) > 1 and (first[-1:].isdigit() or rest[0].isdigit())


def _in_words(names: Iterable[str]) -> str:
    """List parts, a row of many as its ends."""
    rows: dict[str, list[str]] = {}
    for name in names:
        rows.setdefault(name.rstrip("0123456789"), []).append(name)
    return ", ".join(
        f"{row[0]} to {row[-1]}" if len(row) > 2 else ", ".join(row) for row in rows.values()
    )
