"""`marginface bench`: one front to what is measured."""

from marginface.cli.lazy import lazy_app

COMMANDS = {
    "losses": "Time forward and backward of each loss beside normface's.",
    "heads": "Time the ways of a head over its classes: blocks, sampled, bfloat16.",
    "data": "Time batches of a folder, .rec and .tfrecord beside the bare decoder.",
    "step": "Time whole training steps of backbones.",
    "export": "Time embedding in ONNX Runtime beside the framework.",
    "compare": "Compare two records of the same bench, with intervals.",
}

bench = lazy_app("marginface.cli.bench", COMMANDS)
