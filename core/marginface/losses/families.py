"""The families of losses, in the order in which tables and pages show them.

A word is a file here, one in `losses` of each backend, and one in `parity_tests/papers`.
"""

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
)
