import gzip
import hashlib
import os
import pickle
import shutil
import socket
import tarfile
import urllib.error
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ssl_runner.data.images.known_images import KnownImages

SHARED = Path(__file__).parents[4] / "../shared/data"


def source(name: str, root: Path, *, download: bool = False, val_fraction: float = 0.25) -> KnownImages:
    return KnownImages(name=name, root=str(root), download=download, val_fraction=val_fraction, split_seed=0)


def idx(array: np.ndarray) -> bytes:
    lengths = b"".join(length.to_bytes(4, "big") for length in array.shape)
    return b"\0\0\x08" + bytes([array.ndim]) + lengths + array.tobytes()


def idx_files(n_train: int = 20, n_test: int = 10, side: int = 28) -> dict[str, bytes]:
    """The four files of MNIST; image i is filled with i."""
    files = {}
    for part, n in (("train", n_train), ("t10k", n_test)):
        images = np.broadcast_to(np.arange(n, dtype=np.uint8)[:, None, None], (n, side, side))
        files[f"{part}-images-idx3-ubyte"] = idx(np.ascontiguousarray(images))
        files[f"{part}-labels-idx1-ubyte"] = idx((np.arange(n) % 10).astype(np.uint8))
    return files


def write_idx(root: Path, files: dict[str, bytes], *, packed: bool, folder: str = "MNIST") -> Path:
    raw = root / folder / "raw"
    raw.mkdir(parents=True)
    for name, content in files.items():
        path = raw / f"{name}.gz" if packed else raw / name
        path.write_bytes(gzip.compress(content) if packed else content)
    return raw


@pytest.mark.parametrize(
    ("name", "channels", "side", "classes"),
    [
        ("mnist", 1, 28, 10),
        ("fashion_mnist", 1, 28, 10),
        ("cifar10", 3, 32, 10),
        ("cifar100", 3, 32, 100),
        ("stl10", 3, 96, 10),
    ],
)
def test_the_spec_needs_no_file(name: str, channels: int, side: int, classes: int) -> None:
    spec = source(name, Path("/nowhere")).spec
    assert (spec.channels, spec.height, spec.width, spec.classes) == (channels, side, side, classes)
    assert len(set(spec.class_names)) == classes


@pytest.mark.parametrize("packed", [True, False])
def test_idx_files_are_read_packed_or_not_and_nothing_is_written(tmp_path, packed: bool) -> None:
    write_idx(tmp_path, idx_files(), packed=packed)
    before = sorted(tmp_path.rglob("*"))
    mnist = source("mnist", tmp_path)
    mnist.check()
    splits = mnist.load()
    assert [len(splits[name].label) for name in ("pretrain", "train", "val", "test")] == [15, 15, 5, 10]
    for data, label in splits.values():
        assert torch.equal(data[:, 0, 0, 0] % 10, label)
        assert data.shape[1:] == (1, 28, 28)
    assert sorted(tmp_path.rglob("*")) == before


def test_real_mnist_is_torchvisions(tmp_path) -> None:
    if not (SHARED / "mnist").is_dir():
        pytest.skip("../shared/data/mnist is not there")
    from torchvision.datasets import MNIST

    splits = source("mnist", SHARED / "mnist", val_fraction=0.1).load()
    shutil.copytree(SHARED / "mnist", tmp_path / "copy")
    theirs = MNIST(tmp_path / "copy", train=False, download=True)  # unpacks what is there
    assert torch.equal(splits["test"].data[:, 0], theirs.data)
    assert torch.equal(splits["test"].label, theirs.targets)
    every = torch.cat([splits["train"].label, splits["val"].label])
    assert torch.bincount(every).tolist() == [5923, 6742, 5958, 6131, 5842, 5421, 5918, 6265, 5851, 5949]
    assert len(splits["val"].label) == 6000


def damage(files: dict[str, bytes], raw: Path, how: str) -> None:
    images, labels = raw / "train-images-idx3-ubyte", raw / "train-labels-idx1-ubyte"
    match how:
        case "short":
            images.write_bytes(files[images.name][:-1])
        case "magic":
            images.write_bytes(b"\0\0\x0d\x03" + files[images.name][4:])
        case "packed short":
            images.with_name(images.name + ".gz").write_bytes(gzip.compress(files[images.name])[:-20])
        case "packed noise":
            images.with_name(images.name + ".gz").write_bytes(b"not gzip")
        case "labels":
            labels.write_bytes(idx(np.full(20, 10, dtype=np.uint8)))
        case "lengths":
            labels.write_bytes(idx(np.zeros(19, dtype=np.uint8)))
        case "size":
            images.write_bytes(idx(np.zeros((20, 27, 28), dtype=np.uint8)))


@pytest.mark.parametrize("how", ["short", "magic", "packed short", "packed noise", "labels", "lengths", "size"])
def test_damaged_files_are_refused(tmp_path, how: str) -> None:
    files = idx_files()
    damage(files, write_idx(tmp_path, files, packed=False), how)
    with pytest.raises(ValueError, match=r"files of dataset=mnist in .*MNIST/raw are damaged .*dataset\.download=true"):
        source("mnist", tmp_path).load()


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist", "cifar10", "cifar100", "stl10"])
def test_what_is_missing_is_named_and_what_to_do(tmp_path, name: str) -> None:
    for attempt in (source(name, tmp_path).check, source(name, tmp_path).load):
        with pytest.raises(
            ValueError, match=rf"dataset={name} needs {tmp_path}/.*set dataset\.root .*dataset\.download=true"
        ):
            attempt()
    source(name, tmp_path, download=True).check()
    assert not list(tmp_path.iterdir())


def test_a_download_to_a_read_only_root_is_refused_early(tmp_path, monkeypatch) -> None:
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path) != tmp_path)  # the superuser may write everywhere
    with pytest.raises(ValueError, match="not writable"):
        source("cifar10", tmp_path / "new", download=True).check()


def no_network(*args: object, **kwargs: object) -> None:
    raise urllib.error.URLError("no route to host")


@pytest.mark.parametrize("name", ["mnist", "cifar10", "stl10"])
def test_a_failed_download_says_so_and_leaves_nothing(tmp_path, monkeypatch, name: str) -> None:
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    with pytest.raises(
        ValueError, match=rf"dataset={name} could not be downloaded: .*no route to host.*set dataset\.root"
    ):
        source(name, tmp_path / "new", download=True).load()
    assert not list((tmp_path / "new").iterdir())


class Mirror:
    """Stands for torchvision's download: serves `files` by name; breaks off at the file `breaks`."""

    def __init__(self, files: dict[str, bytes], *, breaks: str = "", down: str = "") -> None:
        self.files, self.breaks, self.down = files, breaks, down
        self.asked: list[str] = []
        self.timeouts: set[float | None] = set()

    def __call__(self, url: str, root: Path, filename: str, md5: str) -> None:
        self.asked.append(url)
        self.timeouts.add(socket.getdefaulttimeout())
        if self.down and self.down in url:
            raise urllib.error.URLError("down")
        Path(root).mkdir(parents=True, exist_ok=True)
        content = self.files[filename]
        Path(root, filename).write_bytes(content[: len(content) // 2] if filename == self.breaks else content)
        if filename == self.breaks:
            raise TimeoutError("timed out")


def packed_idx_files() -> dict[str, bytes]:
    return {f"{name}.gz": gzip.compress(content) for name, content in idx_files().items()}


def test_a_download_is_done_once_with_a_timeout_from_any_mirror(tmp_path, monkeypatch) -> None:
    mirror = Mirror(packed_idx_files(), down="ossci-datasets")
    monkeypatch.setattr("torchvision.datasets.utils.download_url", mirror)
    for _ in range(2):
        assert len(source("mnist", tmp_path, download=True).load()["test"].label) == 10
    assert len(mirror.asked) == 8
    assert mirror.timeouts == {15}
    assert socket.getdefaulttimeout() is None
    assert sorted(path.name for path in tmp_path.iterdir()) == ["MNIST"]


def test_a_broken_off_download_is_not_taken_for_whole(tmp_path, monkeypatch) -> None:
    mirror = Mirror(packed_idx_files(), breaks="t10k-images-idx3-ubyte.gz")
    monkeypatch.setattr("torchvision.datasets.utils.download_url", mirror)
    with pytest.raises(ValueError, match="could not be downloaded"):
        source("mnist", tmp_path, download=True).load()
    assert not list(tmp_path.iterdir())
    mirror.breaks = ""
    assert len(source("mnist", tmp_path, download=True).load()["test"].label) == 10


def cifar(monkeypatch, tmp_path: Path) -> tuple[Path, np.ndarray, list[int]]:
    """A small CIFAR-10 in an archive whose checksums torchvision is told: its path, its test images and labels."""
    from torchvision.datasets import CIFAR10

    generator = np.random.default_rng(0)
    folder = tmp_path / "made" / CIFAR10.base_folder
    folder.mkdir(parents=True)
    contents: dict[str, dict[str, Any]] = {"batches.meta": {"label_names": list("abcdefghij")}}
    for name in [f"data_batch_{i}" for i in range(1, 6)] + ["test_batch"]:
        data = generator.integers(256, size=(20, 3072), dtype=np.uint8)
        contents[name] = {"data": data, "labels": [i % 10 for i in range(20)]}
    sums = {}
    for name, content in contents.items():
        (folder / name).write_bytes(pickle.dumps(content))
        sums[name] = hashlib.md5((folder / name).read_bytes()).hexdigest()
    archive = tmp_path / "made" / CIFAR10.filename
    with tarfile.open(archive, "w:gz") as tar:
        tar.add(folder, CIFAR10.base_folder)
    monkeypatch.setattr(CIFAR10, "train_list", [[name, sums[name]] for name in contents if "data" in name])
    monkeypatch.setattr(CIFAR10, "test_list", [["test_batch", sums["test_batch"]]])
    monkeypatch.setattr(CIFAR10, "meta", {**CIFAR10.meta, "md5": sums["batches.meta"]})
    monkeypatch.setattr(CIFAR10, "tgz_md5", hashlib.md5(archive.read_bytes()).hexdigest())
    return archive, contents["test_batch"]["data"].reshape(-1, 3, 32, 32), contents["test_batch"]["labels"]


def test_cifar_is_unpacked_from_an_archive_at_hand_without_a_network(tmp_path, monkeypatch) -> None:
    archive, images, labels = cifar(monkeypatch, tmp_path)
    monkeypatch.setattr("urllib.request.urlopen", no_network)
    root = tmp_path / "root"
    root.mkdir()
    shutil.copy(archive, root)
    source("cifar10", root).check()
    splits = source("cifar10", root).load()
    assert np.array_equal(splits["test"].data.numpy(), images)
    assert splits["test"].label.tolist() == labels
    assert (len(splits["train"].label), len(splits["val"].label)) == (75, 25)
    (root / archive.name).unlink()  # the folder is enough now
    assert len(source("cifar10", root).load()["val"].label) == 25


def test_cifar_is_downloaded_without_its_archive_staying(tmp_path, monkeypatch) -> None:
    archive, _, _ = cifar(monkeypatch, tmp_path)
    monkeypatch.setattr("torchvision.datasets.utils.download_url", Mirror({archive.name: archive.read_bytes()}))
    source("cifar10", tmp_path / "root", download=True).load()
    assert [path.name for path in (tmp_path / "root").iterdir()] == ["cifar-10-batches-py"]


def test_cifar_damaged_is_refused_packed_and_unpacked(tmp_path, monkeypatch) -> None:
    archive, _, _ = cifar(monkeypatch, tmp_path)
    root = tmp_path / "root"
    root.mkdir()
    (root / archive.name).write_bytes(archive.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"could not be downloaded.*damaged.*delete it"):
        source("cifar10", root).load()
    shutil.copytree(archive.parent / "cifar-10-batches-py", root / "cifar-10-batches-py")
    (root / "cifar-10-batches-py" / "test_batch").write_bytes(b"cos\nsystem\n(S'false'\ntR.")
    with pytest.raises(ValueError, match=r"files of dataset=cifar10 in .* are damaged"):
        source("cifar10", root).load()


def stl10(root: Path, *, cut: int = 0) -> np.ndarray:
    """A small STL-10: its unlabeled images, (n, C, H, W)."""
    folder = root / "stl10_binary"
    folder.mkdir()
    generator = np.random.default_rng(0)
    for part, n in (("train", 12), ("test", 5), ("unlabeled", 6)):
        images = generator.integers(256, size=(n, 3, 96, 96), dtype=np.uint8)
        content = images.transpose(0, 1, 3, 2).tobytes()
        (folder / f"{part}_X.bin").write_bytes(content[: len(content) - cut])
        (folder / f"{part}_y.bin").write_bytes(bytes(1 + i % 3 for i in range(n)))
    return images


def test_stl10_is_pretrained_on_train_and_unlabeled(tmp_path) -> None:
    unlabeled = stl10(tmp_path)
    splits = source("stl10", tmp_path).load()
    assert [len(splits[name].label) for name in ("pretrain", "train", "val", "test")] == [15, 9, 3, 5]
    assert np.array_equal(splits["pretrain"].data[9:].numpy(), unlabeled)
    assert splits["pretrain"].label.tolist() == [*splits["train"].label.tolist(), *[-1] * 6]
    assert torch.equal(splits["pretrain"].data[:9], splits["train"].data)
    assert splits["test"].label.tolist() == [0, 1, 2, 0, 1]
    assert all(part.data.is_contiguous() for part in splits.values())


def test_stl10_cut_short_is_refused(tmp_path) -> None:
    stl10(tmp_path, cut=1)
    with pytest.raises(ValueError, match=r"train_X\.bin ends within an image"):
        source("stl10", tmp_path).load()


def test_values_out_of_range_name_their_key(tmp_path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.val_fraction is 1"):
        source("mnist", tmp_path, val_fraction=1)
    with pytest.raises(ValueError, match=r"dataset\.name is svhn; it must be one of mnist, "):
        source("svhn", tmp_path)
