"""TFRecord files against bytes made by hand, cut at every byte, with any byte changed."""

import pickle
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_files import intact_offsets, pack, png, value_or_refusal

from marginface.data.formats.example import ImageExample, pack_example, parse_example
from marginface.data.formats.tfrecord import TFRecordFile, frame, masked_crc
from marginface.data.opening import open_images, open_listed
from marginface.errors import MarginfaceError


def crc32c(data):
    """Return CRC-32C, bit by bit (RFC 3720, appendix B.4)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte
        for _ in range(8):
            crc = crc >> 1 ^ (0x82F63B78 if crc & 1 else 0)
    return crc ^ 0xFFFFFFFF


def masked(data):
    crc = crc32c(data)
    return ((crc >> 15 | crc << 17) + 0xA282EAD8) % 2**32


def record(data):
    length = struct.pack("<Q", len(data))
    return length + struct.pack("<I", masked(length)) + data + struct.pack("<I", masked(data))


def field(number, data):
    """Return a length-delimited field of a protobuf message, of up to 127 bytes a length byte."""
    length, encoded = len(data), b""
    while length > 127:
        encoded += bytes([length % 128 + 128])
        length //= 128
    return bytes([number * 8 + 2]) + encoded + bytes([length]) + data


def text(value):
    return field(1, field(1, value))  # Feature.bytes_list.value


def number(value):
    return field(3, field(1, bytes([value])))  # Feature.int64_list.value, packed


def example(**features):
    """Return a tf.train.Example; `__` in a name is a slash."""
    entries = b"".join(
        field(1, field(1, name.replace("__", "/").encode()) + field(2, value))
        for name, value in features.items()
    )
    return field(1, entries)


def write(path, *examples):
    path.write_bytes(b"".join(map(record, examples)))
    return path


def names(images):
    return [images.name(index) for index in range(len(images))]


def test_checksums_and_frame_are_those_of_the_format():
    assert crc32c(b"123456789") == 0xE3069283  # the check value of CRC-32C
    for data in (b"", b"123456789", bytes(1000)):
        assert masked_crc(data) == masked(data)
        assert frame(data) == record(data)


def test_examples_made_by_hand():
    made = example(
        image__encoded=text(b"J" * 300),
        image__class__label=number(7),
        image__class__text=text(b"ann"),
        image__filename=text(b"ann/1.jpg"),
    )
    expected = ImageExample(b"J" * 300, 7, "ann", "ann/1.jpg")
    assert parse_example(made, "here") == expected
    assert parse_example(pack_example(expected), "here") == expected


@pytest.mark.parametrize("image", ["image__encoded", "image_raw", "image"])
@pytest.mark.parametrize("label", ["image__class__label", "label", "image__source_id"])
def test_usual_names_of_features(image, label):
    made = example(**{image: text(b"JPEG"), label: number(3), "height": number(112)})
    assert parse_example(made, "here") == (b"JPEG", 3, "", "")


@pytest.mark.parametrize(
    ("features", "message"),
    [
        ({"picture": text(b"x"), "label": number(1)}, r"no image .*\(label, picture\).*image_raw"),
        ({"image": text(b"x"), "klass": number(1)}, "no label .*image/class/label"),
        ({"image": text(b"x"), "label": text(b"1")}, "no label"),
        ({"image": number(1), "label": number(1)}, "no image"),
        ({"image": field(1, field(1, b"x") * 2), "label": number(1)}, "no image"),
        ({}, r"no image among its features \(none\)"),
    ],
)
def test_examples_that_are_no_labelled_images(features, message):
    with pytest.raises(MarginfaceError, match=f"here: {message}"):
        parse_example(example(**features), "here")


def test_bytes_that_are_no_example():
    with pytest.raises(MarginfaceError, match=r"here: expected a tf\.train\.Example"):
        parse_example(b"\xff\xff\xff", "here")


def labelled(label, value, **features):
    return example(image=text(png(value)), label=number(label), **features)


def test_images_of_a_file_in_its_order(tmp_path):
    path = write(tmp_path / "a.tfrecord", labelled(5, 1), labelled(3, 2), labelled(5, 3))
    images = open_images(path)
    assert images.identities == ("3", "5")
    assert images.labels.tolist() == [1, 0, 1]
    assert names(images) == ["5/0", "3/1", "5/2"]
    assert [int(images[index][0][0, 0, 0]) for index in range(3)] == [1, 2, 3]
    assert images.encoded(1) == png(2)


def test_names_of_identities_and_files_are_kept(tmp_path):
    path = write(
        tmp_path / "a.tfrecord",
        labelled(0, 1, image__class__text=text(b"ann"), image__filename=text(b"x.jpg")),
        labelled(1, 2, image__filename=text(b"data/bob/x.jpg")),
    )
    images = open_images(path)
    assert images.identities == ("ann", "bob")
    assert names(images) == ["ann/x.jpg", "bob/x.jpg"]


def test_names_that_lead_out_of_a_folder_are_not_kept(tmp_path):
    path = write(
        tmp_path / "a.tfrecord",
        labelled(0, 1, image__class__text=text(b"../ann"), image__filename=text(b"x\n.jpg")),
        labelled(1, 2, image__class__text=text(b"bob"), image__filename=text(b"y.jpg")),
    )
    assert names(open_images(path)) == ["0/0", "1/1"]


def test_a_written_file_is_opened_again(tmp_path):
    for value, name in enumerate(["ann/x.png", "ann/y.png", "bob/x.png"], 1):
        (tmp_path / "faces" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "faces" / name).write_bytes(png(value))
    images = open_images(pack(tmp_path / "faces", tmp_path / "a.tfrecord"))
    assert names(images) == ["ann/x.png", "ann/y.png", "bob/x.png"]
    assert images.labels.tolist() == [0, 0, 1]
    assert images.encoded(2) == png(3)
    again = pickle.loads(pickle.dumps(images))
    assert again.encoded(2) == png(3)


def test_shards_have_longer_names(tmp_path):
    path = write(tmp_path / "a.tfrecord-00000-of-00001", labelled(0, 1), labelled(1, 2))
    assert len(open_images(path)) == 2


THREE = [b"first", b"", b"the third one"]


def test_a_file_cut_at_any_byte_gives_an_error_or_the_intact_prefix(tmp_path):
    framed = [frame(data) for data in THREE]
    ends = np.cumsum([len(each) for each in framed]).tolist()
    path = tmp_path / "a.tfrecord"
    for size in range(sum(map(len, framed))):
        path.write_bytes(b"".join(framed)[:size])
        intact = sum(end <= size for end in ends)
        if size < 16:
            with pytest.raises(MarginfaceError, match=f"has {size} bytes, too few for a record"):
                TFRecordFile(path)
            continue
        file = TFRecordFile(path)
        assert [file.read(offset) for offset in intact_offsets(file)] == THREE[:intact]
        if size not in ends:
            with pytest.raises(MarginfaceError, match=f"the file ends at byte {size}"):
                file.offsets()


def test_any_flipped_bit_is_found(tmp_path):
    whole = bytearray(frame(b"hello") + frame(b"world"))
    path = tmp_path / "a.tfrecord"
    for position in range(len(whole)):
        changed = whole.copy()
        changed[position] ^= 1 << position % 8
        path.write_bytes(changed)
        file = TFRecordFile(path)
        with pytest.raises(MarginfaceError, match=r"checksum of its (length|data) disagrees"):
            [file.read(offset) for offset in file.offsets()]


def test_a_length_field_allocates_nothing(tmp_path):
    length = struct.pack("<Q", 2**63)
    path = tmp_path / "a.tfrecord"
    path.write_bytes(length + struct.pack("<I", masked(length)) + bytes(100))
    with pytest.raises(MarginfaceError, match=f"the record at byte {2**63 + 16}"):
        TFRecordFile(path).read(0)


@settings(deadline=None, max_examples=200, derandomize=True)
@given(st.data())
def test_any_message_gives_images_or_a_clear_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.tfrecord"
    made = [labelled(0, 1, image__filename=text(b"a/x.jpg")), labelled(1, 2)]
    changed = bytearray(made[0])
    for _ in range(data.draw(st.integers(1, 3))):
        place = data.draw(st.integers(0, len(changed) - 1))
        changed[place] = data.draw(st.integers(0, 255))
    write(path, bytes(changed), made[1])
    path.with_name("changed.tfrecord.index").unlink(missing_ok=True)
    images = value_or_refusal(open_listed, path)
    if isinstance(images, str):
        assert images.startswith(f"{path}: record at byte 0: ")
        assert "\n" not in images
    else:
        assert len(images) == 2


@given(st.binary(max_size=200))
@settings(deadline=None, derandomize=True)
def test_any_bytes_give_an_example_or_a_clear_error(data):
    found = value_or_refusal(parse_example, data, "here")
    assert isinstance(found, ImageExample) or found.startswith("here: ")
