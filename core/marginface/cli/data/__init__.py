"""`marginface data`: what is done to images before training."""

from marginface.cli.lazy import lazy_app

COMMANDS = {
    "pack": "Convert a set of images: folder, .rec, .tfrecord or verification set.",
    "inspect": "Count, check and compare sets of images; name what two of them share.",
    "split": "Split a set into train and validation, without common identities.",
    "subset": "Take a part of a set: identities with enough images, or so many of them.",
    "align": "Cut aligned faces out of photos, by a detector or given points.",
    "preview": "Draw what augmentations do to images.",
}

data = lazy_app("marginface.cli.data", COMMANDS)
