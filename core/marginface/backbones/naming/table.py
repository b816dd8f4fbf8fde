"""How others name the parameters of these backbones in their files, and what their networks take.

What is stated here stands in the authors' own code, which `source` names; what they do not state is
None.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from marginface.backbones.edgeface import NETWORKS as EDGEFACE
from marginface.backbones.ir import NETWORKS
from marginface.backbones.iresnet import UNITS
from marginface.backbones.mbf import WIDTHS
from marginface.backbones.naming.places import WRAPPERS
from marginface.backbones.vit import SIZES
from marginface.errors import unknown_name

IR = tuple(name for name, network in NETWORKS.items() if not network.evolve)
EVOLVE = tuple(name for name, network in NETWORKS.items() if network.evolve)


@dataclass(frozen=True)
class Naming:
    """The names in one project's files, and the pixels that its networks take.

    Args:
        name: of the project, as `--as` takes it.
        backbones: the networks that it publishes.
        source: the authors' code in which this stands.
        prefixes: what precedes the canonical names; the first one is written. What PyTorch's
            wrappers add, `module` and `_orig_mod`, does not count.
        wrapper: the key of the dictionary around the state_dict in a .pt; "" for none.
        beside: first parts of other names in such files, of what training alone needs.
        channels: the order of an image's channels.
        mean: subtracted from pixels, 0 to 255.
        std: divides them after that.
        epsilon: of every BatchNorm, where it is another than the network's here.
    """

    name: str
    backbones: tuple[str, ...]
    source: str
    prefixes: tuple[str, ...] = ("",)
    wrapper: str = ""
    beside: tuple[str, ...] = ()
    channels: Literal["rgb", "bgr"] | None = "rgb"
    mean: float | None = 127.5
    std: float | None = 127.5
    epsilon: float | None = None

    def trains_with(self, name: str) -> bool:
        """Return whether an array is one that only the project's training needs."""
        return WRAPPERS.sub("", name).lstrip(".").partition(".")[0] in self.beside

    def pixels(self) -> dict[str, str | float]:
        """Return what is stated of pixels, as `Preprocessing` and the options call it."""
        stated = {"channels": self.channels, "mean": self.mean, "std": self.std}
        return {name: value for name, value in stated.items() if value is not None}

    def __str__(self) -> str:
        """Name the project and what its networks take."""
        pixels = ", ".join(
            f"{name} {value if isinstance(value, str) else f'{value:g}'}"
            for name, value in self.pixels().items()
        )
        epsilon = f", BatchNorm epsilon {self.epsilon:g}" if self.epsilon else ""
        return f"{self.name} ({pixels or 'pixels not stated'}{epsilon})"


NAMINGS = (
    Naming(
        "insightface",
        (*UNITS, *WIDTHS, *SIZES),
        "deepinsight/insightface, recognition/arcface_torch/inference.py",
    ),
    Naming(
        "lvface",
        tuple(SIZES),
        "bytedance/LVFace, eval_ijbc.py",
    ),
    Naming(
        "magface",
        tuple(UNITS),
        "IrvingMeng/MagFace, inference/gen_feat.py and models/iresnet.py",
        prefixes=("features.module", "features"),
        wrapper="state_dict",
        beside=("fc", "parallel_fc"),
        channels="bgr",
        mean=0.0,
        std=255.0,
        epsilon=2e-5,
    ),
    Naming(
        "adaface",
        IR,
        "mk-minchul/AdaFace, inference.py",
        prefixes=("model",),
        wrapper="state_dict",
        beside=("head",),
        channels="bgr",
    ),
    Naming(
        "cvlface",
        (*IR, *UNITS),
        "mk-minchul/CVLface, run_v1/models/iresnet",
        prefixes=("net", "model.net"),
    ),
    Naming("tface", IR, "Tencent/TFace, recognition/test/extract_features.py"),
    Naming("evolve", EVOLVE, "ZhaoJ9014/face.evoLVe, config.py and util/extract_feature_v1.py"),
    Naming(
        "treb1en",
        EVOLVE,
        "TreB1eN/InsightFace_Pytorch, data/data_pipe.py and face_verify.py",
        channels="bgr",
    ),
    Naming(
        "edgeface",
        tuple(EDGEFACE),
        "otroshi/edgeface, README.md and backbones/timmfr.py",
        prefixes=("model",),
    ),
    Naming(
        "xiaoccer",
        ("mobilefacenet",),
        "Xiaoccer/MobileFaceNet_Pytorch, dataloader/LFW_loader.py",
        wrapper="net_state_dict",
        std=128.0,
    ),
)


def find_naming(name: str) -> Naming:
    """Return the naming of a project.

    Raises:
        MarginfaceError: there is none of that name.

    >>> find_naming("adaface").channels
    'bgr'
    """
    for each in NAMINGS:
        if each.name == name:
            return each
    raise unknown_name("naming", name, [each.name for each in NAMINGS])
