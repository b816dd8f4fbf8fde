"""The networks that the library brings, whatever others a test or a docstring has registered."""

from marginface import backbones

NETWORKS = tuple(
    name
    for name, build in backbones._BUILDERS.items()
    if build.__module__.startswith("marginface.backbones.")
)
