"""TFRecord files written here are TensorFlow's, and the other way."""

from pathlib import Path

import pytest

from marginface.data.opening import open_images
from marginface.data.packing.training_sets import pack

tf = pytest.importorskip("tensorflow", reason="TensorFlow is not installed")


def png(value: int) -> bytes:
    return bytes(tf.io.encode_png(tf.fill([112, 112, 3], tf.constant(value, tf.uint8))).numpy())


def test_tensorflow_reads_what_we_write(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"
    for value, name in enumerate(["ann/x.png", "bé/y.png"], 1):
        (tmp_path / "faces" / name).parent.mkdir(parents=True)
        (tmp_path / "faces" / name).write_bytes(png(value))
    pack(open_images(tmp_path / "faces"), path)
    features = {
        "image/encoded": tf.io.FixedLenFeature([], tf.string),
        "image/class/label": tf.io.FixedLenFeature([], tf.int64),
        "image/class/text": tf.io.FixedLenFeature([], tf.string),
        "image/filename": tf.io.FixedLenFeature([], tf.string),
    }
    rows = [
        {name: value.numpy() for name, value in tf.io.parse_single_example(data, features).items()}
        for data in tf.data.TFRecordDataset(str(path))
    ]
    assert [row["image/encoded"] for row in rows] == [png(1), png(2)]
    assert [row["image/class/label"] for row in rows] == [0, 1]
    assert [row["image/class/text"].decode() for row in rows] == ["ann", "bé"]
    assert [row["image/filename"].decode() for row in rows] == ["ann/x.png", "bé/y.png"]


def test_we_read_what_tensorflow_writes(tmp_path: Path) -> None:
    path = tmp_path / "a.tfrecord"

    def feature(value: bytes | int) -> object:
        if isinstance(value, int):
            return tf.train.Feature(int64_list=tf.train.Int64List(value=[value]))
        return tf.train.Feature(bytes_list=tf.train.BytesList(value=[value]))

    with tf.io.TFRecordWriter(str(path)) as writer:
        for label in (70_000, 2, 70_000):
            values = {"image_raw": png(label % 250), "label": label, "height": 112}
            named = {name: feature(value) for name, value in values.items()}
            example = tf.train.Example(features=tf.train.Features(feature=named))
            writer.write(example.SerializeToString())
    images = open_images(path)
    assert images.identities == ("2", "70000")
    assert images.labels.tolist() == [1, 0, 1]
    assert images.encoded(1) == png(2)
