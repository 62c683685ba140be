"""Fingerprints of files: what they hold and what they are called, never where they lie."""

import os
from pathlib import Path

import pytest

from ssl_runner.assembly import contents
from ssl_runner.assembly.contents import fingerprint


def written(folder: Path, **files: bytes) -> dict[str, Path]:
    folder.mkdir(parents=True, exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return {name: folder / name for name in files}


@pytest.mark.parametrize("whole", [contents.WHOLE, 0], ids=["all", "sampled"])
def test_contents_and_names_count_and_place_and_time_do_not(
    tmp_path: Path, whole: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contents, "WHOLE", whole)
    monkeypatch.setattr(contents, "BLOCK", 4)
    a, b = b"first file" * 10, b"second file" * 10
    known = fingerprint(written(tmp_path / "one", a=a, b=b))
    moved = written(tmp_path / "two" / "three", a=a, b=b)
    os.utime(moved["a"], (1, 1))
    assert fingerprint(moved) == known
    assert fingerprint(dict(reversed(moved.items()))) == known
    for place, other in enumerate(
        (
            dict(a=b, b=a),
            dict(a=a + b"x", b=b[1:]),
            dict(a=a, c=b),
            dict(a=a),
            dict(a=a, b=b, c=b""),
            dict(a=a + b"f", b=b),
        )
    ):
        assert fingerprint(written(tmp_path / f"other{place}", **other)) != known, other
    assert fingerprint({}) != known


def test_all_bytes_of_small_files_count(tmp_path: Path) -> None:
    """A change that keeps length and times is seen, at once and in the same process."""
    content = bytearray(os.urandom(5000))
    files = written(tmp_path, a=bytes(content), b=b"b")
    known = {fingerprint(files)}
    for place in range(0, 5000, 499):
        content[place] ^= 1
        files["a"].write_bytes(content)
        os.utime(files["a"], ns=(10**18, 10**18))
        known.add(fingerprint(files))
    assert len(known) == 1 + len(range(0, 5000, 499))


@pytest.mark.thorough
def test_of_large_files_blocks_count_from_beginning_to_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(contents, "WHOLE", 1000)
    monkeypatch.setattr(contents, "BLOCK", 10)
    monkeypatch.setattr(contents, "BLOCKS", 21)
    content = bytes(2000)
    known = fingerprint(written(tmp_path / "known", a=content, b=content))
    seen = []
    for place in range(4000):
        both = bytearray(content + content)
        both[place] = 1
        files = written(tmp_path / "other", a=bytes(both[:2000]), b=bytes(both[2000:]))
        seen.append(contents._fingerprint(files, {"a": 2000, "b": 2000}) != known)
    assert seen[0]
    assert seen[-1]
    assert 200 <= sum(seen) <= 210
    assert max(b - a for a, b in zip(*[[p for p, s in enumerate(seen) if s][i:] for i in (0, 1)], strict=False)) <= 200
