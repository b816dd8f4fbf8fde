"""The losses in TensorFlow: tensor code only; parameters, defaults and docs are the core's."""

from typing import Any

from marginface import losses
from marginface.losses import MarginLoss
from marginface_tf.losses.adaface import AdaFaceOps
from marginface_tf.losses.arcface import ArcFaceOps, CombinedMarginOps
from marginface_tf.losses.base import LossOps
from marginface_tf.losses.circle import CircleOps
from marginface_tf.losses.cosface import CosFaceOps
from marginface_tf.losses.curricularface import CurricularFaceOps
from marginface_tf.losses.elasticface import ElasticFaceArcOps, ElasticFaceCosOps
from marginface_tf.losses.li_arcface import LiArcFaceOps
from marginface_tf.losses.magface import MagFaceOps
from marginface_tf.losses.softmax import NormFaceOps, SoftmaxOps
from marginface_tf.losses.sphereface import SphereFaceOps, SphereFaceRV1Ops, SphereFaceRV2Ops
from marginface_tf.losses.sphereface2 import SphereFace2Ops
from marginface_tf.losses.uniface import UniFaceOps

__all__ = ["OPS", "LossOps", "loss_ops"]

OPS: dict[type[MarginLoss], type[LossOps[Any]]] = {
    losses.Softmax: SoftmaxOps,
    losses.NormFace: NormFaceOps,
    losses.SphereFace: SphereFaceOps,
    losses.SphereFaceRV1: SphereFaceRV1Ops,
    losses.SphereFaceRV2: SphereFaceRV2Ops,
    losses.SphereFace2: SphereFace2Ops,
    losses.CosFace: CosFaceOps,
    losses.ArcFace: ArcFaceOps,
    losses.CombinedMargin: CombinedMarginOps,
    losses.LiArcFace: LiArcFaceOps,
    losses.SubCenterArcFace: ArcFaceOps,
    losses.MagFace: MagFaceOps,
    losses.AdaFace: AdaFaceOps,
    losses.CurricularFace: CurricularFaceOps,
    losses.ElasticFaceArc: ElasticFaceArcOps,
    losses.ElasticFaceArcPlus: ElasticFaceArcOps,
    losses.ElasticFaceCos: ElasticFaceCosOps,
    losses.ElasticFaceCosPlus: ElasticFaceCosOps,
    losses.UniFace: UniFaceOps,
    losses.Circle: CircleOps,
}


def loss_ops(loss: MarginLoss) -> LossOps[Any]:
    """Return the tensor code of a loss."""
    return OPS[type(loss)](loss)
