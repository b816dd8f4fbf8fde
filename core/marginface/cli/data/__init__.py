"""`marginface data`: what is done to images before training."""

from marginface.cli.lazy import lazy_app

COMMANDS = {
    "inspect": "Count, check and compare sets of images; name what two of them share.",
    "pack": "Convert a set of images: folder, .rec, .tfrecord or verification set.",
    "split": "Split a set into train and validation, without common identities.",
    "subset": "Take a part of a set: identities with enough images, or so many of them.",
}

data = lazy_app("marginface.cli.data", COMMANDS)
