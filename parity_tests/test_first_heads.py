"""First class weights from people's images: the same in both frameworks and in each process."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from comparison import state_of
from frameworks import Framework
from tiny_training import CLASSES, SIDE, fresh, images_of

from marginface import losses
from marginface.heads.initial import InitialHead
from marginface.training.first_heads import CenterRows

SIZE, SEED = 16, 0


class Drawn:
    """Labelled images in memory."""

    root = Path("drawn")
    identities = tuple(map(str, range(CLASSES)))
    labels = np.arange(5 * CLASSES) % CLASSES
    size = (SIDE, SIDE)
    skipped = ()

    def __init__(self) -> None:
        self.images = images_of(self.labels, seed=4)

    def __len__(self) -> int:
        return len(self.labels)

    def __getitem__(self, index: int) -> Any:
        return self.images[index], self.labels[index]

    def name(self, index: int) -> str:
        return str(index)

    def encoded(self, index: int) -> bytes:
        raise NotImplementedError

    def fingerprint(self) -> str:
        return ""


def centers(learner: Any, loss: Any, batch_size: int = 7) -> CenterRows:
    first = InitialHead((CLASSES * loss.num_centers, SIZE), SEED)
    return CenterRows(learner.embed, Drawn(), loss, first, batch_size, lambda *_: None)


@pytest.mark.parametrize("name", ["arcface", "subcenter_arcface"])
def test_both_frameworks_start_from_the_same_rows(
    torch: Framework, tf: Framework, name: str
) -> None:
    loss, heads = losses.get(name), []
    for framework in (torch, tf):
        learner = fresh(framework, loss)
        learner.load_arrays({"head.weight": centers(learner, loss)}, strict=False)
        heads.append(state_of(learner)["head.weight"].copy())
    np.testing.assert_allclose(heads[0], heads[1], rtol=1e-5, atol=1e-9)
    own, count = heads[0][:: loss.num_centers], loss.num_centers
    np.testing.assert_allclose(np.linalg.norm(own, axis=1), 0.01 * np.sqrt(SIZE), rtol=1e-6)
    if count > 1:
        drawn = InitialHead((CLASSES * count, SIZE), SEED)[:]
        np.testing.assert_array_equal(heads[0][1::count], drawn[1::count])


def test_a_batch_s_size_and_a_process_s_share_change_nothing(framework: Framework) -> None:
    loss = losses.get("arcface")
    learner = fresh(framework, loss)
    whole = np.asarray(centers(learner, loss))
    for rows in (slice(0, 4), slice(4, CLASSES)):
        np.testing.assert_allclose(centers(learner, loss, 3)[rows], whole[rows], rtol=1e-5)
