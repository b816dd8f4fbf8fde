"""Verification sets are pickles: what may stand in one, and that nothing else is ever run."""

from __future__ import annotations

import os
import pickle
import struct
import subprocess
import sys
import tracemalloc
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from marginface.data.verification.bin_file import read_bin
from marginface.errors import MarginfaceError
from marginface.pickles.reading import load

IMAGES = [b"\xff\xd8 one", b"\x89PNG\r\n\x1a\n two", b"\xff\xd8 th'ree\\", b'\x00\x80"\xff']
FLAGS = [True, False]


def written(folder: Path, content: bytes) -> Path:
    path = folder / "set.bin"
    path.write_bytes(content)
    return path


def refusal(folder: Path, content: bytes) -> str:
    path = written(folder, content)
    with pytest.raises(MarginfaceError) as caught:
        read_bin(path)
    message = str(caught.value)
    assert message.startswith(str(path))
    assert "\n" not in message
    return message


def check_read(folder: Path, content: bytes) -> None:
    pairs = read_bin(written(folder, content))
    assert [pairs.images.encoded(name) for name in pairs.first] == IMAGES[::2]
    assert [pairs.images.encoded(name) for name in pairs.second] == IMAGES[1::2]
    assert pairs.same.tolist() == FLAGS


# What Python 3 and NumPy write

IMAGE_FORMS = {
    "bytes": lambda image: image,
    "bytearray": bytearray,
    "array": lambda image: np.frombuffer(image, np.uint8),
    "array that owns its data": lambda image: np.array(list(image), np.uint8),
}
FLAG_FORMS = {
    "list": list,
    "tuple": tuple,
    "array": np.array,
    "scalars": lambda flags: [np.bool_(flag) for flag in flags],
    "numbers": lambda flags: [int(flag) for flag in flags],
    "array of numbers": lambda flags: np.array(flags, np.uint8),
}


@pytest.mark.parametrize("protocol", range(6))
@pytest.mark.parametrize("flags", FLAG_FORMS)
@pytest.mark.parametrize("images", IMAGE_FORMS)
def test_what_python_3_writes(tmp_path, protocol, images, flags):
    content = ([IMAGE_FORMS[images](image) for image in IMAGES], FLAG_FORMS[flags](FLAGS))
    check_read(tmp_path, pickle.dumps(content, protocol))
    check_read(tmp_path, pickle._dumps(content, protocol))  # Python's own pickler, in Python


@pytest.mark.parametrize("protocol", range(6))
def test_bytearrays_that_are_larger_than_what_describes_them(tmp_path, protocol):
    images = [bytes(range(256)) * 40] * 2  # protocols below 3 make each in two steps
    content = pickle.dumps(([bytearray(image) for image in images], [True]), protocol)
    pairs = read_bin(written(tmp_path, content))
    assert [pairs.images.encoded(name) for name in (*pairs.first, *pairs.second)] == images


def test_numpy_1_calls_its_modules_otherwise(tmp_path):
    arrays = [np.frombuffer(image, np.uint8) for image in IMAGES]
    new = pickle.dumps((arrays, np.array(FLAGS)), 2)
    assert new.count(b"numpy._core.") == 1
    check_read(tmp_path, new.replace(b"numpy._core.", b"numpy.core."))


# What Python 2 writes, from opcodes


def string(value: bytes) -> bytes:
    return b"U" + bytes([len(value)]) + value


def long_string(value: bytes) -> bytes:
    return b"T" + struct.pack("<i", len(value)) + value


def quoted(value: bytes) -> bytes:
    """Return a string of protocol 0, with the escapes of Python 2's repr."""
    escapes = {ord("\\"): b"\\\\", ord("'"): b"\\'", 9: b"\\t", 10: b"\\n", 13: b"\\r"}
    body = b"".join(
        escapes.get(byte, bytes([byte]) if 32 <= byte < 127 else b"\\x%02x" % byte)
        for byte in value
    )
    return b"S'" + body + b"'\n"


@pytest.mark.parametrize("write", [string, long_string, quoted])
def test_strings_of_python_2(tmp_path, write):
    images = b"".join(write(image) + b"q%c" % at for at, image in enumerate(IMAGES, 1))
    flags = b"I01\nI00\n" if write is quoted else b"\x88\x89"
    content = b"]q\x00(" + images + b"e](" + flags + b"e\x86."
    check_read(tmp_path, content if write is quoted else b"\x80\x02" + content)


def test_arrays_of_python_2(tmp_path):
    dtype = b"cnumpy\ndtype\nq\x01(" + string(b"u1") + b"K\x00K\x01tq\x02Rq\x03(K\x03"
    dtype += string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tq\x04b"
    arrays = b""
    for at, image in enumerate(IMAGES):
        arrays += b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(K\x00t"
        arrays += string(b"b") + b"tR(K\x01(K%ct" % len(image)
        arrays += (dtype if at == 0 else b"h\x03") + b"\x89" + long_string(image) + b"tb"
    scalar = b"cnumpy.core.multiarray\nscalar\n(cnumpy\ndtype\n(" + string(b"b1")
    scalar += b"K\x00K\x01tR(K\x03" + string(b"|") + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
    flags = scalar + string(b"\x01") + b"tR" + scalar + string(b"\x00") + b"tR"
    check_read(tmp_path, b"\x80\x02](" + arrays + b"e](" + flags + b"e\x86.")


# What is refused


def attacks(command: str) -> dict[str, tuple[bytes, str]]:
    """Return pickles that run a command when Python reads them, and what each asks for."""
    system = f"{os.system.__module__}.system"
    module = os.system.__module__.encode()
    text = b"X" + struct.pack("<I", len(command)) + command.encode()
    short = b"U" + bytes([len(command)]) + command.encode()
    name = module + b"\nsystem\n"
    stacked = b"\x8c%c%b\x8c\x06system\x93" % (len(module), module)

    class Plain:
        def __reduce__(self):
            return os.system, (command,)

    class InList:
        def __reduce__(self):
            return list, ([],), None, iter([Plain()])

    return {
        "reduce": (pickle.dumps(([Plain()], [True]), 2), system),
        "reduce, protocol 4": (pickle.dumps(([Plain()], [True]), 4), system),
        "in a list": (pickle.dumps(InList(), 2), "builtin"),
        "global": (b"\x80\x02c" + name + text + b"\x85R.", system),
        "stack global": (b"\x80\x04" + stacked + text + b"\x85R.", system),
        "inst": (b"(" + short + b"i" + name + b".", system),
        "obj": (b"(c" + name + short + b"o.", system),
        "newobj": (b"\x80\x02c" + name + text + b"\x85\x81.", system),
        "newobj ex": (b"\x80\x04" + stacked + b")}\x92.", system),
        "build": (b"\x80\x02cbuiltins\nobject\n)R}b.", "builtins.object"),
        "eval": (b"\x80\x02cbuiltins\neval\n" + text + b"\x85R.", "builtins.eval"),
        "attribute of what is admitted": (
            b"\x80\x04\x8c\x05numpy\x8c\x0edtype.__init__\x93.",
            "numpy.dtype.__init__",
        ),
        "numpy's own unpickler": (
            b"\x80\x02cnumpy.core.multiarray\nfromstring\n.",
            "numpy.core.multiarray.fromstring",
        ),
        "extension": (b"\x80\x02\x82\x01.", "EXT1"),
        "extension of two bytes": (b"\x80\x02\x83\x01\x00.", "EXT2"),
        "persistent name": (b"Pposix.system\n.", "PERSID"),
        "persistent name on the stack": (b"\x80\x02K\x01Q.", "BINPERSID"),
        "dictionary": (b"\x80\x02}.", "EMPTY_DICT"),
        "buffer outside": (b"\x80\x05\x97.", "NEXT_BUFFER"),
        "duplicates": (b"\x80\x02]2.", "DUP"),
    }


NAMES = sorted(attacks(""))


@pytest.mark.parametrize("name", NAMES)
def test_nothing_of_a_malicious_file_is_run(tmp_path, name):
    marker = tmp_path / "was here"
    content, asked = attacks(f"touch '{marker}'")[name]
    message = refusal(tmp_path, content)
    assert asked in message
    assert "refused" in message
    assert not marker.exists()


def test_the_attacks_are_attacks(tmp_path):
    """Python's own unpickler runs them, which the tests above would not notice otherwise."""
    for at, name in enumerate(
        ["reduce", "global", "stack global", "inst", "obj", "reduce, protocol 4"]
    ):
        marker = tmp_path / f"{at}"
        path = written(tmp_path, attacks(f"touch '{marker}'")[name][0])
        code = "import pickle, sys; pickle.load(open(sys.argv[1], 'rb'))"
        subprocess.run([sys.executable, "-c", code, path], check=False, capture_output=True)
        assert marker.exists(), name


U1 = b"cnumpy\ndtype\n(U\x02u1K\x00K\x01tR"


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"c_codecs\nencode\n(X\x01\x00\x00\x00aX\x05\x00\x00\x00rot13tR.", "_codecs.encode"),
        (b"c_codecs\nencode\n(U\x01aX\x06\x00\x00\x00latin1tR.", "_codecs.encode"),
        (b"c_codecs\nencode\n(X\x02\x00\x00\x00\xc4\x80X\x06\x00\x00\x00latin1tR.", "_codecs"),
        (b"cnumpy\ndtype\n(U\x02O8K\x00K\x01tR.", "an array of type 'O8'"),
        (b"cnumpy\ndtype\n(U\x02i8K\x00K\x01tR.", "an array of type 'i8'"),
        (U1 + b"(K\x03U\x01|U\x01xNNK\x00K\x00K\x00tb.", "a dtype that is not plain"),
        (b"cnumpy\nndarray\n)R.", "numpy.ndarray"),
        (b"cnumpy\nndarray\n(M\xff\xfftR.", "numpy.ndarray"),
        (b"cbuiltins\nbytearray\n(J\xff\xff\xff\x7ftR.", "bytearray"),
        (
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(J\xff\xff\xff\x7ftU\x01btR.",
            "_rec",
        ),
        (
            b"cnumpy.core.numeric\n_frombuffer\n(U\x01a" + U1 + b"(J\xff\xff\xff\x7ftU\x01CtR.",
            "1 items",
        ),
        (
            b"cnumpy.core.numeric\n_frombuffer\n(U\x01a" + U1 + b"(J\xff\xff\xff\xfftU\x01CtR.",
            "lengths",
        ),
        (b"cnumpy.core.numeric\n_frombuffer\n(U\x01aK\x01(K\x01tU\x01CtR.", "bytes or flags"),
        (U1 + b"(K\x01)tb.", "not plain"),
        (b"]K\x01b.", "a state for what has none"),
        (b"K\x01)R.", "cannot be called"),
        (b"K\x01K\x01a.", "a list expected"),
        (b"]a.", "a value is missing"),
        (b"(]a.", "a value is missing"),
        (b"e.", "a mark is missing"),
        (b"h\x01.", "memo 1 is missing"),
        (b"(" * 101 + b".", "levels"),
        (b"]].", "left over"),
        (b"].after", "5 bytes follow its end"),
        (b"\x80\x06].", "protocol 6"),
        (b"\x80\x04\x95" + b"\xff" * 8 + b"].", "a frame that is longer"),
        (b"\x8e" + b"\xff" * 8 + b".", "18446744073709551615 bytes announced, 1 left"),
        (b"\x96\x00\x00\x00\x00\x01\x00\x00\x00.", "bytes announced"),
        (b"T\xff\xff\xff\xff.", "-1 bytes announced"),
        (b"I" + b"9" * 5000 + b"\n.", "a number expected"),
        (b"I1_0\n.", "a number expected"),
        (b"S'\\d'\n.", "a quoted string expected"),
        (b"Sx\n.", "a quoted string expected"),
        (b"S'\n.", "a quoted string expected"),
        (b"S'x\"\n.", "a quoted string expected"),
        (b"V\\u12\n.", "text that is no raw-unicode-escape"),
        (b"X\x01\x00\x00\x00\xff.", "text that is no utf-8"),
        (b"\x93.", "a value is missing"),
        (b"K\x01K\x01\x93.", "a name expected"),
        (b"Inothing", "a line without an end"),
        (b"\xff.", "no pickle has an opcode 0xff"),
    ],
)
def test_what_no_set_needs_is_named(tmp_path, content, reason):
    assert reason in refusal(tmp_path, content)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (None, "it is no tuple of images and flags"),
        (([b"a"], [True], 1), "it is no tuple of images and flags"),
        ((b"ab", [True]), "its images are in no list"),
        (([b"a", b"b"], b"\x01"), "its flags are in no list"),
        (([b"a", b"b"], np.array([[True]])), "its flags are in no list"),
        (([b"a", b"b"], []), "it has no pairs"),
        (([b"a", b"b"], [2]), "a flag is neither true nor false"),
        (([b"a", b"b"], ["1"]), "a flag is neither true nor false"),
        (([b"a", b"b", b"c"], [True]), "it has 3 images for 1 pairs"),
        (([b"a", b""], [True]), "its image 1 is no encoded image"),
        (([b"a", "b"], [True]), "its image 1 is no encoded image"),
        (([b"a", np.zeros((1, 1), np.uint8)], [True]), "its image 1 is no encoded image"),
        (([b"a", np.array([True])], [True]), "its image 1 is no encoded image"),
    ],
)
def test_a_pickle_of_something_else_is_no_set(tmp_path, content, reason):
    assert reason in refusal(tmp_path, pickle.dumps(content))


def test_a_file_that_cannot_be_read_or_is_empty(tmp_path):
    assert "it is empty" in refusal(tmp_path, b"")
    with pytest.raises(MarginfaceError, match=r"cannot read .*none.bin: No such file"):
        read_bin(tmp_path / "none.bin")


# Damage

WHOLE = [pickle.dumps((IMAGES, FLAGS), protocol) for protocol in (0, 2, 5)] + [
    pickle.dumps(([np.frombuffer(i, np.uint8) for i in IMAGES], np.array(FLAGS)), p) for p in (2, 5)
]


@pytest.mark.parametrize("content", WHOLE, ids=range(len(WHOLE)))
def test_a_file_cut_short_anywhere_is_refused(tmp_path, content):
    for length in range(1, len(content)):
        assert "cut short, damaged or no verification set" in refusal(tmp_path, content[:length])


def peak_of(content: bytes) -> int:
    """Read bytes as a pickle, for a value or the library's error; return the memory it took."""
    tracemalloc.start()
    try:
        with suppress(MarginfaceError):
            load(content, "set.bin")
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


CODES = b"().0123KMJILNSTUVXBC\x8c\x8d\x8e\x96]laet\x85\x86\x87c\x93Rbghjpqr\x94\x80\x95\x88\x89\n"
PARTS = st.one_of(
    st.binary(max_size=6),
    st.sampled_from([bytes([code]) for code in CODES]),
    st.sampled_from(
        [
            *(b"cnumpy\ndtype\n", b"c_codecs\nencode\n", b"U\x02u1", b"U\x01|", b"K\x00", U1),
            *(b"cnumpy.core.multiarray\n_reconstruct\n", b"cnumpy\nndarray\n"),
            *(b"cbuiltins\nbytes\n", b"X\x06\x00\x00\x00latin1"),
        ]
    ),
)


@settings(deadline=None, max_examples=400, derandomize=True)
@given(st.lists(PARTS, max_size=40).map(b"".join))
def test_any_opcodes_give_a_value_or_the_librarys_error(content):
    assert peak_of(content) < 4_000_000


@settings(deadline=None, max_examples=400, derandomize=True)
@given(st.sampled_from(WHOLE), st.data())
def test_changed_bytes_give_a_value_or_the_librarys_error(content, data):
    changed = bytearray(content)
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(changed) - 1))
        piece = data.draw(st.one_of(st.binary(max_size=3), st.sampled_from([b"\xff" * 8, b"\x94"])))
        changed[at : at + data.draw(st.integers(0, 3))] = piece
    assert peak_of(bytes(changed)) < 4_000_000


@pytest.mark.parametrize(
    "bomb",
    [
        b"]" * 2_000_000,
        b"C\x00" * 1_000_000,
        b"]" + b"\x94" * 2_000_000,
        b"(" + b"M\xff\xff" * 700_000 + b"t.",
        b"S'" + b"x\\x8f" * 400_000 + b"'\n.",
        # A text of 1 MB made bytes of, time and again
        b"c_codecs\nencode\nq\x00X\x00\x00\x10\x00"
        + b"a" * (1 << 20)
        + b"X\x06\x00\x00\x00latin1\x86q\x01"
        + b"h\x00h\x01R" * 300,
        b"cbuiltins\nbytes\nq\x00B\x00\x00\x10\x00"
        + b"a" * (1 << 20)
        + b"\x85q\x01"
        + b"h\x00h\x01R" * 300,
    ],
    ids=["lists", "bytes", "memo", "numbers", "quoted", "encode", "bytes of bytes"],
)
def test_memory_is_bounded_by_the_size_of_the_file(bomb):
    assert peak_of(bomb) < 25 * len(bomb) + 25_000_000
