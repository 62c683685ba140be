"""Files as tensors."""

import os
from pathlib import Path

import numpy as np
import pytest
import torch

from ssl_runner.data.any.mapped import mapped


def test_a_change_stays_in_memory(tmp_path: Path) -> None:
    file = tmp_path / "bytes"
    file.write_bytes(bytes(range(6)))
    found = mapped(file, (2, 3))
    assert found.tolist() == [[0, 1, 2], [3, 4, 5]]
    found[0, 0] = 9
    assert file.read_bytes() == bytes(range(6))


def test_a_file_larger_than_memory(tmp_path: Path) -> None:
    size = 4 * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    with (tmp_path / "bytes").open("wb") as file:
        file.write(b"\x01\x02")
        try:
            file.truncate(size)  # a hole: it takes no room
        except OSError as error:
            pytest.skip(f"no sparse file of {size} bytes here: {error}")
    found = mapped(tmp_path / "bytes", (size // 8, 8))
    assert found[0].tolist() == [1, 2, 0, 0, 0, 0, 0, 0]
    assert torch.equal(found[-1], torch.zeros(8, dtype=torch.uint8))


def test_a_file_that_is_too_short(tmp_path: Path) -> None:
    (tmp_path / "bytes").write_bytes(b"123")
    with pytest.raises(ValueError, match="mmap length is greater than file size"):
        mapped(tmp_path / "bytes", (2, 2))


def test_all_of_a_file(tmp_path: Path) -> None:
    (tmp_path / "numbers").write_bytes(np.array([5, -7], dtype=np.int32).tobytes())
    (tmp_path / "none").write_bytes(b"")
    (tmp_path / "cut").write_bytes(b"12345")
    assert mapped(tmp_path / "numbers", dtype=np.int32).tolist() == [5, -7]
    assert mapped(tmp_path / "none", dtype=np.int32).shape == (0,)
    with pytest.raises(ValueError, match="multiple of the data-type size"):
        mapped(tmp_path / "cut", dtype=np.int32)
