"""The plan of a pass over the classes: blocks, and the logits kept for the backward pass."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, get_args

from marginface.checks import check_count
from marginface.errors import unknown_name

Precision = Literal["full", "bfloat16", "float16"]

# Logits kept from the forward to the backward pass save one of four matrix products. Beyond this
# much they are computed once more.
KEPT_BYTES = 64 * 2**20
WORKING_COPIES = 5  # arrays [batch, block] alive at once while a block is computed


@dataclass(frozen=True)
class HeadPlan:
    """The plan for one batch.

    Args:
        batch: embeddings, of all processes where classes are sharded.
        classes: classes that this process goes over.
        block: classes at a time.
        kept: classes whose logits stay until the backward pass; the others' are computed again.
        itemsize: bytes of a logit.
        centers: logits of a class, the highest of which counts.
        in_gradient: logits are kept where the gradient of class weights will be, which has the
            room from the forward pass on; else in memory of their own.
        precision: what embeddings, weights and slopes are rounded to for their products.
        constant: the classes' vectors get no gradient.
        ahead: a pass comes before this one, which keeps nothing.
        companion: a pass over the latest vectors of the classes comes after it.
        class_state: bytes that the loss keeps for the classes.

    >>> print(plan_head(128, 1_000_000, itemsize=4, block_logits=2**18))
    1000000 classes for 128 embeddings in 489 blocks of 2045, 64 MiB of logits kept, the others \
computed twice; 69 MiB beside weights and gradient (all logits at once: 488 MiB an array)
    """

    batch: int
    classes: int
    block: int
    kept: int
    itemsize: int
    centers: int = 1
    in_gradient: bool = False
    precision: Precision = "full"
    constant: bool = False
    ahead: bool = False
    companion: bool = False
    class_state: int = 0

    def of_constants(self) -> HeadPlan:
        """Return the plan of a pass over the same classes whose vectors get no gradient."""
        kept = _kept(self.batch * self.itemsize, self.classes, self.block, KEPT_BYTES)
        alone = replace(self, ahead=False, companion=False, class_state=0)
        return replace(alone, kept=kept, centers=1, in_gradient=False, constant=True)

    @property
    def blocks(self) -> int:
        """Number of blocks; the last may be smaller, or overlap the one before it."""
        return -(-self.classes // self.block)

    @property
    def kept_blocks(self) -> int:
        """Number of blocks whose logits are kept."""
        return -(-self.kept // self.block)

    @property
    def extra_bytes(self) -> int:
        """Return about how much memory it takes beside weights, gradient and class state."""
        working = min(self.block, self.classes) * WORKING_COPIES
        kept = self._bytes(working + (0 if self.in_gradient else self.kept))
        if self.companion:
            after = self.of_constants()
            kept += after._bytes(after.kept)
        return kept

    def __str__(self) -> str:
        """Return the plan in a sentence."""
        whole = self._bytes(self.classes)
        blocks = f"in {self.blocks} blocks of {self.block}" if self.blocks > 1 else "in one block"
        if self.kept == self.classes:
            kept = "all logits kept" + " in the gradient's memory" * self.in_gradient
        elif self.kept:
            kept = f"{_mib(self._bytes(self.kept))} of logits kept, the others "
            kept += "computed twice"
        else:
            kept = "logits computed twice"
        if self.precision != "full":
            kept += f", products in {self.precision}"
        if self.ahead:
            kept += ", a pass ahead of it"
        if self.companion:
            kept += ", a pass over latest vectors after it"
        state = f", {_mib(self.class_state)} of class state" if self.class_state else ""
        return (
            f"{self.classes} classes for {self.batch} embeddings {blocks}, {kept}; "
            f"{_mib(self.extra_bytes)} beside weights and gradient{state} "
            f"(all logits at once: {_mib(whole)} an array)"
        )

    def _bytes(self, classes: int) -> int:
        """Return the bytes of an array of logits of so many classes."""
        return self.batch * classes * self.centers * self.itemsize


def plan_head(
    batch: int,
    classes: int,
    *,
    itemsize: int,
    block_logits: int,
    centers: int = 1,
    block: int | None = None,
    gradient_room: int = 0,
    kept_bytes: int = 0,
    precision: Precision = "full",
    ahead: bool = False,
    companion: bool = False,
    class_state: int = 0,
) -> HeadPlan:
    """Plan the pass over `classes` classes: the size of a block, and which logits are kept.

    Args:
        batch: embeddings.
        classes: classes of this process.
        itemsize: bytes of a logit.
        block_logits: logits of a block that the framework and the device are fastest with.
        centers: logits of a class.
        block: classes at a time; None to derive it from `block_logits`.
        gradient_room: logits for which a row of the gradient of class weights has room; 0 where
            there is no such gradient, or none that can hold logits.
        kept_bytes: memory for logits where that is more than usual.
        precision, ahead, companion, class_state: see `HeadPlan`.

    Raises:
        MarginfaceError: a size that is no whole number of at least 1.
    """
    batch = check_count("batch", batch)
    if block is None:
        block = max(1, block_logits // (batch * centers))
        # One block and a little more would cost another round for nothing; others are of one size.
        block = classes if classes <= 2 * block else -(-classes // -(-classes // block))
        block = max(1, block)  # a shard may have none of a sample's classes
    block = min(check_count("block", block), max(1, classes))
    in_gradient = batch <= gradient_room
    room = max(KEPT_BYTES, kept_bytes)
    kept = classes if in_gradient else _kept(batch * itemsize * centers, classes, block, room)
    return HeadPlan(
        batch,
        classes,
        block,
        kept,
        itemsize,
        centers,
        in_gradient,
        precision,
        ahead=ahead,
        companion=companion,
        class_state=class_state,
    )


def _kept(class_bytes: int, classes: int, block: int, room: int) -> int:
    """Return how many classes' logits there is room for: all, or those of whole blocks."""
    fitting = room // class_bytes
    return classes if fitting >= classes else fitting // block * block


def check_precision(name: str) -> None:
    """Raise for an unknown precision."""
    if name not in get_args(Precision):
        raise unknown_name("precision", name, get_args(Precision))


def _mib(size: int) -> str:
    return f"{max(1, round(size / 2**20))} MiB"
