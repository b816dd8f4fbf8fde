"""Labelled images as `tf.train.Example`, TensorFlow's message of named features.

The schema is TensorFlow's (tensorflow/core/example/feature.proto), built here: protobuf needs no
generated code.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import Any, NamedTuple

from marginface.errors import MarginfaceError
from marginface.extras import needs

with needs("data"):
    from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
    from google.protobuf.message import DecodeError

IMAGE = ("image/encoded", "image_raw", "image")
LABEL = ("image/class/label", "label", "image/source_id")
IDENTITY = ("image/class/text",)
FILE = ("image/filename",)


class ImageExample(NamedTuple):
    """A labelled image.

    Attributes:
        image: JPEG or PNG.
        label: number of the identity.
        identity: its name, or empty.
        file: the image's path or name, or empty.
    """

    image: bytes
    label: int
    identity: str
    file: str


def pack_example(example: ImageExample) -> bytes:
    """Return the message of a labelled image, with the first of the names of each feature.

    >>> parse_example(pack_example(ImageExample(b"JPEG", 7, "ann", "ann/1.jpg")), "here")
    ImageExample(image=b'JPEG', label=7, identity='ann', file='ann/1.jpg')
    """
    message = _example_type()()
    feature = message.features.feature
    feature[IMAGE[0]].bytes_list.value.append(example.image)
    feature[LABEL[0]].int64_list.value.append(example.label)
    for name, text in ((IDENTITY[0], example.identity), (FILE[0], example.file)):
        if text:
            feature[name].bytes_list.value.append(text.encode(errors="surrogateescape"))
    return bytes(message.SerializeToString(deterministic=True))


def parse_example(data: bytes, where: str) -> ImageExample:
    """Return the labelled image of a message.

    Raises:
        MarginfaceError: it is no such message, has no image or label under a known name, or a
            negative label; the message begins with `where`.
    """
    message = _example_type()()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise MarginfaceError(f"{where}: expected a tf.train.Example: {error}") from error
    feature = message.features.feature
    image = _first(feature, IMAGE, "bytes_list")
    label = _first(feature, LABEL, "int64_list")
    if label is not None and label < 0:
        raise MarginfaceError(
            f"{where}: the label is {label}, expected a whole number from 0, one for each identity"
        )
    if image is None or label is None:
        lacking, names = ("image", IMAGE) if image is None else ("label", LABEL)
        features = ", ".join(sorted(feature))[:200] or "none"
        raise MarginfaceError(
            f"{where}: no {lacking} among its features ({features}); expected one "
            f"{'value' if image is None else 'int64'} in one of {', '.join(names)}"
        )
    identity, file = (
        (_first(feature, names, "bytes_list") or b"").decode(errors="surrogateescape")
        for names in (IDENTITY, FILE)
    )
    return ImageExample(image, label, identity, file)


def _first(feature: Any, names: Sequence[str], kind: str) -> Any:
    """Return the single value of the first feature that has one, or None."""
    for name in names:
        if name in feature:
            values = getattr(feature[name], kind).value
            if len(values) == 1:
                return values[0]
    return None


@cache
def _example_type() -> Any:
    """Return the class of tf.train.Example, in a pool of its own: TensorFlow may be loaded, too."""
    field = descriptor_pb2.FieldDescriptorProto
    file = descriptor_pb2.FileDescriptorProto(
        name="example.proto", package="tensorflow", syntax="proto3"
    )

    def message(parent: Any, name: str, *fields: tuple[str, Any, str, bool]) -> Any:
        descriptor = parent.add(name=name)
        for number, (title, kind, type_name, repeated) in enumerate(fields, 1):
            label = field.LABEL_REPEATED if repeated else field.LABEL_OPTIONAL
            descriptor.field.add(
                name=title, number=number, type=kind, type_name=type_name or None, label=label
            )
        return descriptor

    one = field.TYPE_MESSAGE
    types = file.message_type
    message(types, "BytesList", ("value", field.TYPE_BYTES, "", True))
    message(types, "FloatList", ("value", field.TYPE_FLOAT, "", True))
    message(types, "Int64List", ("value", field.TYPE_INT64, "", True))
    feature = message(
        types,
        "Feature",
        ("bytes_list", one, ".tensorflow.BytesList", False),
        ("float_list", one, ".tensorflow.FloatList", False),
        ("int64_list", one, ".tensorflow.Int64List", False),
    )
    feature.oneof_decl.add(name="kind")
    for each in feature.field:
        each.oneof_index = 0
    features = message(
        types, "Features", ("feature", one, ".tensorflow.Features.FeatureEntry", True)
    )
    entry = message(
        features.nested_type,
        "FeatureEntry",
        ("key", field.TYPE_STRING, "", False),
        ("value", one, ".tensorflow.Feature", False),
    )
    entry.options.map_entry = True
    message(types, "Example", ("features", one, ".tensorflow.Features", False))
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return message_factory.GetMessageClass(pool.FindMessageTypeByName("tensorflow.Example"))
