"""The losses in PyTorch: tensor code only; parameters, defaults and docs are the core's."""

from typing import Any

from marginface import losses
from marginface.losses import MarginLoss
from marginface_torch.losses.adaface import AdaFaceOps
from marginface_torch.losses.arcface import ArcFaceOps, CombinedMarginOps
from marginface_torch.losses.base import LossOps
from marginface_torch.losses.circle import CircleOps
from marginface_torch.losses.cosface import CosFaceOps
from marginface_torch.losses.curricularface import CurricularFaceOps
from marginface_torch.losses.elasticface import ElasticFaceArcOps, ElasticFaceCosOps
from marginface_torch.losses.li_arcface import LiArcFaceOps
from marginface_torch.losses.magface import MagFaceOps
from marginface_torch.losses.softmax import NormFaceOps, SoftmaxOps
from marginface_torch.losses.sphereface import SphereFaceOps, SphereFaceRV1Ops, SphereFaceRV2Ops
from marginface_torch.losses.sphereface2 import SphereFace2Ops
from marginface_torch.losses.uniface import UniFaceOps

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
