"""USS: a softmax over class weights, and one threshold over the classes' latest embeddings."""

from dataclasses import dataclass
from typing import ClassVar

from marginface.losses.base import MarginLoss
from marginface.losses.hyperparameters import parameter
from marginface.losses.latest import LatestEmbedding
from marginface.losses.uniface import UniFace
from marginface.losses.values import Arrays, Float, Logit, Memory, Numbers


@dataclass(frozen=True, kw_only=True)
class USS(LatestEmbedding):
    """USS (2311.02523): CosFace, and UniFace's threshold against real images of every class.

    loss = CosFace's + softplus(-p) + sum_j softplus(q_j)
    target logit = scale * (cos(theta) - margin)          CosFace's, against class weights
    p = scale * (cos(x, f_y) - pair_margin) + b
    q_j = scale * cos(x, f_j) + b                         f_j: the latest embedding of class j

    So one threshold is to separate the pairs of all people, which is what verification asks: a
    "unified threshold integrated sample-to-sample loss". f_j gets no gradient. A step does not see
    its own embeddings, and of several images of a class the last in the batch counts. A class that
    was not seen yet has no pairs: it is in no sum, and its samples have no p. The bias b is learned
    and starts at -ln(10 classes), as UniFace's. It is the negative of the paper's. An interclass
    filter acts on CosFace's part alone.

    In the wild:
        - The released code leaves the sums out in the first epoch, here start_step steps, and its
          memory starts as whatever lies there.
        - It sets its b to the mean logsumexp of the negatives whenever it is 0 or less. Of random
          memories of 512 numbers, that is about ln(60 classes) at scale 64.
        - It clamps p and q_j to +-scale, so the pairs with the largest loss have no gradient:
          clamp=True. The default does not, as UniFace's.
        - In several replicas, it keeps the memory of the first alone.

    >>> USS().target(0.9, 1.0, {}).value, USS().companion.target(0.9, 1.0, {}).value
    (0.5, 0.8)
    """

    name: ClassVar[str] = "uss"
    panel: ClassVar[str] = "For each class"

    scale: float = parameter(64.0, above=0, help="radius of the hypersphere, in both parts")
    margin: float = parameter(0.4, low=0, below=2, help="subtracted from the target cosine")
    pair_margin: float = parameter(
        0.1, low=0, below=2, help="subtracted from the cosine to the class's latest embedding"
    )
    start_step: int = parameter(0, low=0, help="steps that are CosFace's")
    clamp: bool = parameter(
        False, help="whether p and q_j stay in +-scale, as in the released code"
    )

    @property
    def companion(self) -> MarginLoss:
        """The part on latest embeddings."""
        return UniFace(scale=self.scale, margin=self.pair_margin, clamp=self.clamp)

    def initial_bias(self, num_classes: int) -> Float | None:
        """Return the companion's."""
        return self.companion.initial_bias(num_classes)

    def recall(self, rows: Arrays, state: Arrays) -> Memory:
        """Return whether the class has a latest embedding that counts, and which."""
        counts = int(rows["seen"]) > 0 and int(state["step"]) + 1 > self.start_step
        return Memory(float(counts), rows["latest"])

    def target(self, cosine: float, norm: float, prepared: Numbers) -> Logit:
        """Return cos(theta) - margin."""
        return Logit(cosine - self.margin, 1.0)
