"""`marginface data`: what is done to images before training."""

from marginface.cli.lazy import lazy_app

COMMANDS = {
    "preview": "Draw what augmentations do to images.",
}

data = lazy_app("marginface.cli.data", COMMANDS)
