"""The families of losses, in the order in which tables and pages show them.

A word is a file here, one in `losses` of each backend, and one in `parity_tests/papers`. A type
checker cannot loop over words: it reads the same list once more, as imports.
"""

from typing import TYPE_CHECKING

FAMILIES = (
    "softmax",
    "sphereface",
    "sphereface2",
    "cosface",
    "arcface",
    "li_arcface",
    "magface",
    "adaface",
    "curricularface",
    "elasticface",
    "uniface",
    "circle",
    "x2_softmax",
    "vpl",
    "uss",
    "adaptiveface",
    "sface",
    "npcface",
    "adacos",
    "mv_softmax",
    "arcnegface",
)

if TYPE_CHECKING:
    from marginface.losses.adacos import *
    from marginface.losses.adaface import *
    from marginface.losses.adaptiveface import *
    from marginface.losses.arcface import *
    from marginface.losses.arcnegface import *
    from marginface.losses.circle import *
    from marginface.losses.cosface import *
    from marginface.losses.curricularface import *
    from marginface.losses.elasticface import *
    from marginface.losses.li_arcface import *
    from marginface.losses.magface import *
    from marginface.losses.mv_softmax import *
    from marginface.losses.npcface import *
    from marginface.losses.sface import *
    from marginface.losses.softmax import *
    from marginface.losses.sphereface import *
    from marginface.losses.sphereface2 import *
    from marginface.losses.uniface import *
    from marginface.losses.uss import *
    from marginface.losses.vpl import *
    from marginface.losses.x2_softmax import *
