"""Bits flipped at random in what is kept of a run: none gives other weights, none a traceback."""

import json
import random
import shutil
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import made_text
import pytest
import torch
from small_runs import do
from torch import Tensor

from ssl_runner import load_encoder
from ssl_runner.assembly import construct, export
from ssl_runner.assembly.load import load_data
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import typed
from ssl_runner.runtime import checkpoint_files

FLIPS = 2000
QUICK = FLIPS // 10
MOST = 8  # bits flipped at once


def flipped(content: bytes, draw: random.Random) -> bytes:
    """One bit in half of the cases, up to `MOST` in the others; in a quarter among the last bytes, where a zip
    archive's directory is."""
    changed = bytearray(content)
    start = max(0, len(content) - 2000) if draw.random() < 0.25 else 0
    for _ in range(1 if draw.random() < 0.5 else draw.randint(2, MOST)):
        changed[draw.randrange(start, len(content))] ^= 1 << draw.randrange(8)
    return bytes(changed)


def try_all(files: list[Path], read: Callable[[], object], refused: type[Exception], flips: int) -> Counter[str]:
    """Flip bits in a file at a time, and read. What is read is as it was, or refused in a line that names the file."""
    whole, draw, outcomes = read(), random.Random(0), Counter[str]()
    for number in range(flips):
        file = files[number % len(files)]
        content = file.read_bytes()
        file.write_bytes(changed := flipped(content, draw))
        try:
            found, said = read(), ""
        except refused as error:
            found, said = whole, str(error)
        finally:
            file.write_bytes(content)
        assert found == whole, (number, file.name)
        assert not said or (str(file.parent) in said and "\n" not in said), said
        outcomes["refused" if said else "as it was"] += changed != content
    return outcomes


def plain(state: dict[str, Tensor]) -> str:
    return json.dumps({name: value.double().flatten().tolist() for name, value in state.items()})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return do(tmp_path_factory.mktemp("run"), "budget.amount=2", "trainer.checkpoint_steps=1", "backbone.widths=[2]")


def of_checkpoint(run: Path, tmp_path: Path, flips: int) -> Counter[str]:
    file = tmp_path / "last.ckpt"
    shutil.copy(run / "checkpoints" / "last.ckpt", file)

    def read() -> str:
        try:
            found = checkpoint_files.verify(file)
            state = checkpoint_files.load(file, mmap=False)
        except ValueError as error:
            raise ConfigError([f"{file}: {error}"]) from error
        return plain(state["state_dict"]) + repr(found)

    return try_all([file], read, ConfigError, flips)


def test_of_a_checkpoint(run: Path, tmp_path: Path) -> None:
    assert of_checkpoint(run, tmp_path, QUICK) == {"refused": QUICK}


def of_encoder(folder: Path, flips: int) -> Counter[str]:
    files = sorted(file for file in folder.iterdir() if file.is_file())

    def read() -> str:
        return plain(load_encoder(folder).encoder.state_dict()) + repr(export.exported_spec(folder))

    return try_all(files, read, ValueError, flips)


def test_of_an_encoder(run: Path, tmp_path: Path) -> None:
    shutil.copytree(run / "encoder", tmp_path / "encoder")
    assert len(list((tmp_path / "encoder").iterdir())) == 3
    assert of_encoder(tmp_path / "encoder", QUICK) == {"refused": QUICK}


@pytest.fixture(scope="module")
def text_encoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    words = [*made_text.overrides(), "objective=bert", "backbone=bert_tiny", "backbone.dim=16", "backbone.depth=1"]
    config = typed(compose([*words, "backbone.heads=2", "logger=none", "batch_size=8"]))
    source, _ = construct.source(config)
    spec = load_data(config, source).spec
    folder = tmp_path_factory.mktemp("text") / "encoder"
    export.export_encoder(folder, construct.objective(config, spec).encoder, config.backbone, spec)
    return folder


def test_of_an_encoder_of_text(text_encoder: Path, tmp_path: Path) -> None:
    shutil.copytree(text_encoder, tmp_path / "encoder")
    assert len(list((tmp_path / "encoder").iterdir())) == 5
    assert of_encoder(tmp_path / "encoder", QUICK) == {"refused": QUICK}


def test_of_a_checkpoint_of_an_older_version(run: Path, tmp_path: Path) -> None:
    """Without a checksum: what is read is as it was, or refused; the archive's list is not believed."""
    file = tmp_path / "last.ckpt"
    torch.save(torch.load(run / "checkpoints" / "last.ckpt", weights_only=True), file)

    def read() -> str:
        try:
            return plain(checkpoint_files.load(file, mmap=False)["state_dict"])
        except ValueError as error:
            raise ConfigError([f"{file}: {error}"]) from error

    outcomes = try_all([file], read, ConfigError, QUICK)
    assert outcomes["refused"] > QUICK / 2


@pytest.mark.slow
def test_of_a_checkpoint_all(run: Path, tmp_path: Path) -> None:
    assert of_checkpoint(run, tmp_path, FLIPS) == {"refused": FLIPS}


@pytest.mark.slow
def test_of_an_encoder_all(run: Path, text_encoder: Path, tmp_path: Path) -> None:
    for name, folder in (("images", run / "encoder"), ("text", text_encoder)):
        shutil.copytree(folder, tmp_path / name)
        assert of_encoder(tmp_path / name, FLIPS // 2) == {"refused": FLIPS // 2}


def test_an_encoder_of_an_older_version_is_loaded_with_a_note(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    shutil.copytree(run / "encoder", tmp_path / "encoder")
    (tmp_path / "encoder" / "SHA256SUMS").unlink()
    load_encoder(tmp_path / "encoder")
    assert [record.message.partition(" has ")[2] for record in caplog.records] == [
        "no SHA256SUMS (it was written by an older version): damage to it cannot be detected"
    ]


def test_a_damaged_checkpoint_gives_way_to_the_one_before(run: Path, tmp_path: Path) -> None:
    """Wherever the bit: in a weight, in the archive's directory, in the checksum."""
    copy = tmp_path / "run"
    for place in (0.5, 0.9, 0.97, 0.999):
        shutil.copytree(run / "checkpoints", copy / "checkpoints", dirs_exist_ok=True)
        file = copy / "checkpoints" / "last.ckpt"
        content = bytearray(file.read_bytes())
        content[int(place * len(content))] ^= 4
        file.write_bytes(content)
        found = checkpoint_files.find(copy)
        assert list(found.damaged) == [file]
        assert found.newest is not None
        assert (found.newest.path.name, found.newest.step) == ("last-1.ckpt", 1)
