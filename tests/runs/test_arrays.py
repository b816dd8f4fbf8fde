"""Files of arrays that are written one array at a time."""

import zlib

import numpy as np
import pytest
import safetensors.numpy

from marginface.arrays import DTYPES, ArraySpec, in_file_order, save_file, write_arrays


def test_the_files_are_those_that_safetensors_writes(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {
        f"{code}.é{number}": rng.integers(0, 2, shape).astype(dtype)
        for number, shape in enumerate([(), (3,), (2, 3), (0, 4)])
        for code, dtype in DTYPES.items()
    }
    arrays["turned"] = np.arange(6.0).reshape(2, 3).T  # not contiguous
    save_file(arrays, tmp_path / "ours")
    contiguous = {name: value.copy(order="C") for name, value in arrays.items()}
    safetensors.numpy.save_file(contiguous, tmp_path / "theirs")
    assert (tmp_path / "ours").read_bytes() == (tmp_path / "theirs").read_bytes()


def test_the_other_byte_order_is_written_as_any(tmp_path):
    save_file({"a": np.arange(3, dtype=">f4")}, tmp_path / "file")
    found = safetensors.numpy.load_file(tmp_path / "file")["a"]
    assert found.dtype == np.float32
    assert found.tolist() == [0, 1, 2]


def test_the_sum_is_that_of_the_file_and_one_buffer_serves_for_all(tmp_path):
    buffer = np.empty((1000, 300))  # larger than a block
    specs = {name: ArraySpec(buffer.dtype, buffer.shape) for name in "abc"}

    def one_at_a_time():
        for number, name in enumerate(specs):
            buffer[...] = number
            yield name, buffer

    crc32 = write_arrays(tmp_path / "file", in_file_order(specs), one_at_a_time())
    assert crc32 == zlib.crc32((tmp_path / "file").read_bytes())
    found = safetensors.numpy.load_file(tmp_path / "file")
    for number, name in enumerate(specs):
        assert (found[name] == number).all()


@pytest.mark.parametrize(
    ("name", "array"), [("b", np.ones(2)), ("a", np.ones(3)), ("a", np.ones(2, np.float32))]
)
def test_what_is_not_as_it_was_announced_is_refused(tmp_path, name, array):
    specs = {"a": ArraySpec(np.dtype(np.float64), (2,))}
    with pytest.raises(TypeError, match=r"expected a, .*got "):
        write_arrays(tmp_path / "file", specs, [(name, array)])
