"""`marginface data`: what is done to images before training."""

from marginface.cli.lazy import lazy_app

COMMANDS = {
    "align": "Cut aligned faces out of photos, by a detector or given points.",
    "preview": "Draw what augmentations do to images.",
}

data = lazy_app("marginface.cli.data", COMMANDS)
