"""RecordIO against files made by hand, cut at every byte, with any byte changed."""

import pickle
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from multiprocessing import get_context

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from record_files import MAGIC, header, intact_offsets, part, value_or_refusal

from marginface.data.formats.headers import read_headers
from marginface.data.formats.recordio import (
    LONGEST,
    RecordFile,
    frame,
    pack_labelled,
    unpack_labelled,
)
from marginface.errors import MarginfaceError

PAYLOADS = st.lists(st.sampled_from([MAGIC, b"\0", b"ab", b"cde", b"fghi"]), max_size=12).map(
    b"".join
)


@pytest.fixture
def path(tmp_path_factory):
    return tmp_path_factory.mktemp("records") / "a.rec"


def records_of(file):
    return [file.read(offset) for offset in file.offsets().tolist()]


def test_bytes_of_a_record_are_those_of_the_format():
    assert frame(b"hello") == bytes.fromhex("0a23d7ce 05000000") + b"hello\0\0\0"
    assert frame(b"") == bytes.fromhex("0a23d7ce 00000000")
    assert frame(b"abcd") == bytes.fromhex("0a23d7ce 04000000") + b"abcd"


def test_a_payload_with_the_magic_word_at_a_word_is_split_there():
    assert frame(b"abcd" + MAGIC + b"e") == part(1, b"abcd") + part(3, b"e")
    assert frame(MAGIC) == part(1, b"") + part(3, b"")
    assert frame(MAGIC + b"abcd" + MAGIC) == part(1, b"") + part(2, b"abcd") + part(3, b"")
    assert frame(b"a" + MAGIC + b"bcd") == part(0, b"a" + MAGIC + b"bcd")


def test_split_records_made_by_hand_are_joined(path):
    path.write_bytes(
        part(0, b"one") + part(1, b"abcd") + part(2, b"") + part(3, b"ef") + part(0, b"last")
    )
    file = RecordFile(path)
    assert records_of(file) == [b"one", b"abcd" + MAGIC + MAGIC + b"ef", b"last"]
    assert file.offsets().tolist() == [0, 12, 44]


@settings(deadline=None, derandomize=True)
@given(st.lists(PAYLOADS, min_size=1, max_size=6))
def test_records_come_back_as_they_were(tmp_path_factory, payloads):
    path = tmp_path_factory.getbasetemp() / "round.rec"
    path.write_bytes(b"".join(map(frame, payloads)))
    assert records_of(RecordFile(path)) == payloads
    assert path.stat().st_size % 4 == 0


def test_a_header_made_by_hand_and_one_with_several_labels():
    found = unpack_labelled(header(7, 3.0) + b"JPEG", "here")
    assert found == (0, 3.0, 7, b"JPEG")
    assert unpack_labelled(header(7, [5.0, 1.0]) + b"JPEG", "here") == (2, 5.0, 7, b"JPEG")
    assert pack_labelled(b"JPEG", 7, 3) == header(7, 3.0) + b"JPEG"
    assert pack_labelled(b"", 9, (1, 5)) == header(9, [1.0, 5.0])


def test_headers_too_short_for_what_they_announce():
    with pytest.raises(MarginfaceError, match="here: 23 bytes, expected a header of 24"):
        unpack_labelled(header(7, 3.0)[:-1], "here")
    with pytest.raises(MarginfaceError, match="here: 28 bytes, but its header announces 2 labels"):
        unpack_labelled(header(7, [1.0, 2.0])[:-4], "here")


def test_a_payload_beyond_the_format_is_refused():
    class Long(bytes):
        def __len__(self):
            return LONGEST + 1

    with pytest.raises(MarginfaceError, match="at most 536870911 bytes"):
        frame(Long())


THREE = [b"first", b"abcd" + MAGIC + b"ef", b"the third one"]


def test_a_file_cut_at_any_byte_gives_an_error_or_the_intact_prefix(path):
    framed = [frame(payload) for payload in THREE]
    ends = np.cumsum([len(record) for record in framed]).tolist()
    whole = b"".join(framed)
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        intact = sum(end <= size for end in ends)
        if size < 8:
            with pytest.raises(MarginfaceError, match=f"has {size} bytes, too few for a record"):
                RecordFile(path)
            continue
        file = RecordFile(path)
        assert [file.read(offset) for offset in intact_offsets(file)] == THREE[:intact]
        if size in ends:
            assert len(file.offsets()) == intact
            continue
        with pytest.raises(MarginfaceError, match=r"a\.rec: cannot read the record at byte \d+"):
            file.offsets()
        with pytest.raises(MarginfaceError, match=f"the file ends at byte {size}"):
            file.read([0, *ends][intact])


def test_headers_of_a_file_cut_at_any_byte(path):
    whole = frame(pack_labelled(b"JPEG of some length", 1, 3))
    for size in range(8, len(whole)):
        path.write_bytes(whole[:size])
        with pytest.raises(MarginfaceError, match=f"the file ends at byte {size}"):
            read_headers(RecordFile(path), np.array([0]))


@pytest.mark.parametrize("wrong", [-4, 2, 4, 10_000, 2**62])
def test_no_record_begins_there(path, wrong):
    path.write_bytes(frame(b"hello") + frame(b"world"))
    with pytest.raises(MarginfaceError, match=f"cannot read the record at byte {wrong}: "):
        RecordFile(path).read(wrong)
    with pytest.raises(MarginfaceError, match=f"cannot read the record at byte {wrong}: "):
        read_headers(RecordFile(path), np.array([wrong]))


def test_parts_in_an_impossible_order(path):
    for parts in (
        part(2, b"abcd"),
        part(3, b"abcd"),
        part(1, b"abcd") + part(0, b"abcd"),
        part(1, b"abcd") + part(1, b"abcd") + part(3, b""),
        part(5, b"abcd"),
    ):
        path.write_bytes(parts)
        with pytest.raises(MarginfaceError, match="unexpected part"):
            RecordFile(path).read(0)


def test_a_length_field_allocates_nothing(path):
    path.write_bytes(MAGIC + (LONGEST).to_bytes(4, "little") + b"abcd")
    with pytest.raises(MarginfaceError, match="the record at byte 536870920"):
        RecordFile(path).read(0)


@settings(deadline=None, max_examples=300, derandomize=True)
@given(st.data())
def test_any_change_gives_a_value_or_a_clear_error(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "changed.rec"
    whole = bytearray(b"".join(frame(pack_labelled(image, 1, label)) for image, label in LABELLED))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    path.write_bytes(whole)
    file = RecordFile(path)
    offsets = np.array(intact_offsets(file), np.int64)
    for offset in offsets.tolist():
        assert len(file.read(offset)) <= len(whole)
    for each in (offsets, np.array([0, 40])):
        headers = value_or_refusal(read_headers, file, each)
        if isinstance(headers, str):
            assert headers.startswith(f"{path}: ")
        else:
            for index, offset in enumerate(each.tolist()):
                one = file.labelled(offset)
                assert headers.flag[index] == one.flag
                np.testing.assert_equal(headers.label[index], np.float32(one.label))
                assert headers.key[index] == one.key
                assert headers.empty[index] == (one.image == b"")
                assert headers.end[index] == file.end(offset)


LABELLED = [(b"JPEG", 3), (b"", (1, 5)), (b"", 4), (MAGIC + b"PNG", (2, 1)), (b"x" * 13, 2**24 - 1)]


def test_missing_files_and_folders_are_named(tmp_path):
    with pytest.raises(MarginfaceError, match=r"cannot read .*gone\.rec: No such file"):
        RecordFile(tmp_path / "gone.rec")
    with pytest.raises(MarginfaceError, match="cannot read"):
        RecordFile(tmp_path)


def test_a_file_is_pickled_as_its_path(path):
    path.write_bytes(b"".join(frame(bytes([number]) * 1000) for number in range(100)))
    file = RecordFile(path)
    pickled = pickle.dumps(file)
    assert len(pickled) < 400
    assert records_of(pickle.loads(pickled)) == records_of(file)


def test_threads_and_processes_read_one_file(path):
    payloads = [bytes([number]) * (number * 37) for number in range(50)]
    path.write_bytes(b"".join(map(frame, payloads)))
    file = RecordFile(path)
    offsets = file.offsets().tolist() * 20
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(file.read, offsets)) == payloads * 20
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(file.read, offsets[:50], chunksize=10)) == payloads
