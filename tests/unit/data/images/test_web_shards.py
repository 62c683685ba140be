"""Tar shards, made here: what is read, in which order, and what is refused."""

import io
import tarfile
import threading
from collections import Counter
from collections.abc import Generator, Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.request import RunRequest
from ssl_runner.data.any.module import DataModule
from ssl_runner.data.any.stream import BrokenDataError, shuffled
from ssl_runner.data.images.web_shards import WebShards, braces
from ssl_runner.results.result import read_result

SHARDS, EACH = 6, 10  # shards of train, and images in each


def png(red: int, green: int) -> bytes:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4, 3), (red, green, 0), np.uint8)).save(out, "png")
    return out.getvalue()


def write(path: Path, members: list[tuple[str, bytes]]) -> None:
    with tarfile.open(path, "w") as archive:
        for name, content in members:
            member = tarfile.TarInfo(name)
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))


def shard(number: int, count: int = EACH) -> list[tuple[str, bytes]]:
    """Images of one color: red is the shard, green the place; the class is the place's remainder by 2."""
    members = []
    for place in range(count):
        key = f"part/{number:03}-{place:03}"
        members += [(f"{key}.png", png(number, place)), (f"{key}.cls", f"{place % 2}\n".encode())]
        members += [(f"{key}.json", b"{}")]
    return members


@pytest.fixture
def root(tmp_path: Path) -> Path:
    for number in range(SHARDS):
        write(tmp_path / f"train-{number:02}.tar", shard(number))
    write(tmp_path / "val.tar", shard(100))
    write(tmp_path / "test.tar", shard(101, 7))
    return tmp_path


def source(root: Path | str, **changes: Any) -> WebShards:
    settings: dict[str, Any] = {
        "train": f"{root}/train-{{00..05}}.tar", "val": f"{root}/val.tar", "test": f"{root}/test.tar",
        "examples": None, "classes": 2, "class_names": None, "size": 4, "channels": 3, "depth": None, "bits": 8,
        "range": None, "streams": 2, "buffer": 12,
        "most": 30, "on_broken": "refuse", "workers": 2,
    }  # fmt: skip
    return WebShards(**settings | changes)


def batches(found: WebShards, epoch: int = 0, **changes: Any) -> list[list[tuple[int, int]]]:
    """(shard, place) of each example of each batch."""
    settings: dict[str, Any] = {"batch": 12, "seed": 0, "rank": 0, "ranks": 1, "skip": 0}
    passes = found.passes(**settings | changes)
    passes.set_epoch(epoch)
    read = []
    for batch in passes:
        assert batch.data.dtype == torch.uint8
        assert batch.data.shape[1:] == (3, 4, 4)
        assert (batch.data == batch.data[:, :, :1, :1]).all()
        red, green, _ = batch.data[:, :, 0, 0].T.tolist()
        assert batch.label.tolist() == [place % 2 for place in green]
        assert batch.index.tolist() == [number * 2**32 + place for number, place in zip(red, green, strict=True)]
        read.append(list(zip(red, green, strict=True)))
    return read


def test_an_epoch_is_each_example_once(root: Path) -> None:
    found = source(root)
    splits = found.load()
    assert found.length() == SHARDS * EACH
    read = batches(found)
    assert [len(batch) for batch in read] == [12] * 5
    assert sorted(example for batch in read for example in batch) == [
        (s, p) for s in range(SHARDS) for p in range(EACH)
    ]
    for batch in read:  # half of each stream: even and odd shards
        assert [number % 2 for number, _ in batch] == [0] * 6 + [1] * 6
    assert {name: len(examples.label) for name, examples in splits.items()} == {
        "pretrain": 30, "train": 30, "val": 10, "test": 7,
    }  # fmt: skip
    assert Counter(splits["train"].data[:, 0, 0, 0].tolist()) == {number: 5 for number in range(SHARDS)}
    assert splits["test"].label.tolist() == [0, 1, 0, 1, 0, 1, 0]


def test_the_order_follows_from_seed_and_epoch_and_is_shuffled(root: Path) -> None:
    found = source(root)
    found.load()
    first = batches(found)
    assert batches(found) == first == batches(source(root, examples=60, workers=1))
    assert batches(found, epoch=1) != first != batches(found, seed=1)
    places = [[place for number, place in batch] for batch in first]
    assert all(each != sorted(each) for each in places)
    assert max(len({number for number, _ in batch}) for batch in first) > 2  # of more than one shard a stream


def test_processes_together_have_the_batches_of_one(root: Path) -> None:
    found = source(root, examples=60)
    whole = batches(found)
    parts = [batches(found, rank=rank, ranks=2) for rank in range(2)]
    assert [first + second for first, second in zip(*parts, strict=True)] == whole


def test_it_goes_on_where_it_stopped(root: Path) -> None:
    found = source(root, examples=60)
    assert batches(found, skip=3) == batches(found)[3:]
    passes = found.passes(batch=12, seed=0, rank=0, ranks=1, skip=3)
    assert [len(list(passes)) for _ in range(2)] == [2, 5]  # the next epoch is whole


def test_streams_of_unequal_length_begin_again(root: Path) -> None:
    read = batches(source(root, train=f"{root}/train-{{00..02}}.tar", examples=36))
    assert [len(batch) for batch in read] == [12] * 3
    seen = Counter(example for batch in read for example in batch)
    assert max(seen[(1, place)] for place in range(EACH)) == 2


def test_leaving_in_the_middle_ends_all_threads(root: Path) -> None:
    before = threading.active_count()
    for _ in range(3):
        passes = iter(source(root, examples=600).passes(batch=12, seed=0, rank=0, ranks=1, skip=0))
        assert isinstance(passes, Generator)
        next(passes)
        passes.close()
    assert threading.active_count() <= before + 1


def test_memory_is_bounded_by_the_buffer(root: Path) -> None:
    """No more is read ahead than the buffer and a few batches."""
    read = 0

    def counted() -> Iterator[int]:
        nonlocal read
        while True:
            read += 1
            yield read

    stream = shuffled(counted(), 50, torch.Generator().manual_seed(0))
    given = [next(stream) for _ in range(200)]
    assert read == 250
    assert all(value <= place + 51 for place, value in enumerate(given))
    assert len(set(given)) == 200
    assert sorted(shuffled(iter(range(9)), 4, torch.Generator().manual_seed(0))) == list(range(9))


def test_names_in_archives_become_no_paths(root: Path) -> None:
    outside = root.parent / "outside.png"
    members = [("../outside.png", png(1, 2)), ("/etc/absolute.png", png(1, 3)), ("x/../../y.png", png(1, 4))]
    write(root / "evil.tar", members)
    with tarfile.open(root / "evil.tar", "a") as archive:
        for kind, name in (
            (tarfile.SYMTYPE, "link.png"),
            (tarfile.LNKTYPE, "hard.png"),
            (tarfile.FIFOTYPE, "fifo.png"),
        ):
            member = tarfile.TarInfo(name)
            member.type, member.linkname = kind, "/etc/passwd"
            archive.addfile(member)
    before = sorted(root.rglob("*"))
    found = source(root, train=f"{root}/evil.tar", streams=1, classes=0)
    assert found.load()["train"].data[:, 1, 0, 0].tolist() == [2, 3, 4]
    assert found.length() == 3
    assert sorted(root.rglob("*")) == before
    assert not outside.exists()


@pytest.mark.parametrize(("changes", "message"), [
    ({"streams": 7}, "dataset.streams is 7, and dataset.train names 6 shards"),
    ({"buffer": 1}, "dataset.buffer is 1; it must be at least dataset.streams, 2"),
    ({"train": "a{1..}.tar"}, "is not a pattern"),
    ({"train": "a{9..1}.tar"}, "must ascend"),
    ({"train": "{1..9999999}.tar"}, "at most 1000000"),
    ({"train": "ftp://host/a.tar"}, "must begin with http"),
    ({"train": "file:///etc/passwd"}, "must begin with http"),
    ({"train": "https://me:secret@host/{0..3}.tar"}, "must not contain a user or password"),
    ({"most": 1}, "dataset.most is 1"), ({"classes": -1}, "dataset.classes is -1"),
    ({"examples": 0}, "dataset.examples is 0"), ({"size": 0}, "dataset.size is 0"),
])  # fmt: skip
def test_settings_that_cannot_be_are_refused(root: Path, changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source(root, **changes)


def test_what_is_missing_is_refused_before_anything_is_read(root: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.train: '.*train-06.tar' is not an existing file"):
        source(root, train=f"{root}/train-{{05..06}}.tar").check()
    with pytest.raises(ValueError, match=r"dataset\.examples is null"):
        source(root, train="https://host.invalid/{0..3}.tar").check()


@pytest.mark.parametrize(("batch", "ranks", "message"), [
    (13, 1, "batch_size is 13"), (12, 4, "dataset.streams is 2; 4 devices share them"),
])  # fmt: skip
def test_streams_that_cannot_be_shared_are_refused(root: Path, batch: int, ranks: int, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        source(root, examples=60).passes(batch=batch, seed=0, rank=0, ranks=ranks, skip=0)


def test_classes_out_of_range_are_refused(root: Path) -> None:
    with pytest.raises(ValueError, match=r"the classes in dataset\.train lie from 0 .* to 1"):
        source(root, classes=1).load()
    write(root / "val.tar", [("a.png", png(0, 0)), ("b.png", png(0, 0)), ("b.cls", b"one")])
    with pytest.raises(ValueError, match=r"'b\.cls' in .* is not a class"):
        source(root).load()


def damaged(root: Path) -> WebShards:
    members = shard(3)
    members[12] = (members[12][0], b"no image")
    write(root / "train-03.tar", members)
    return source(root, examples=60, most=6)


def test_a_broken_image_is_refused_or_replaced(root: Path) -> None:
    found = damaged(root)
    with pytest.raises(BrokenDataError, match=r"'part/003-004' in .*train-03.tar.* dataset\.on_broken=skip"):
        batches(found)
    found.on_broken = "skip"
    read = batches(found)
    seen = Counter(example for batch in read for example in batch)
    assert (3, 4) not in seen
    assert sorted(seen.values()) == [1] * 58 + [2]
    assert batches(found, skip=2) == read[2:]


def test_a_cut_archive_is_refused(root: Path) -> None:
    path = root / "train-03.tar"
    path.write_bytes(path.read_bytes()[:5000])
    with pytest.raises(ValueError, match=r"train-03.tar' cannot be read to its end|is truncated"):
        source(root).load()
    with pytest.raises(BrokenDataError, match=r"train-03.tar' cannot be read to its end"):
        batches(source(root, examples=60))


class Breaking(SimpleHTTPRequestHandler):
    """Serves files; the first answer to each ends in its middle."""

    asked: Counter[str] = Counter()

    def do_GET(self) -> None:
        Breaking.asked[self.path] += 1
        content = Path(self.translate_path(self.path)).read_bytes()
        self.send_response(200)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content if Breaking.asked[self.path] > 1 else content[:6000])

    def log_message(self, format: str, *args: Any) -> None:
        pass


def test_shards_by_url_are_the_same_and_are_asked_again(root: Path) -> None:
    Breaking.asked.clear()
    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Breaking, directory=str(root))) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            by_url = batches(source(f"http://127.0.0.1:{server.server_port}", examples=60))
        finally:
            server.shutdown()
    assert by_url == batches(source(root, examples=60))
    assert max(Breaking.asked.values()) > 1


def test_patterns() -> None:
    assert braces("train", "a-{08..10}.tar") == ["a-08.tar", "a-09.tar", "a-10.tar"]
    assert braces("train", "{x,y}/{0..1}") == ["x/0", "x/1", "y/0", "y/1"]


def words(root: Path, output: Path, *more: str) -> list[str]:
    return [
        "dataset=webdataset", f"dataset.train='{root}/train-{{00..05}}.tar'", f"dataset.val={root}/val.tar",
        f"dataset.test={root}/test.tar", "dataset.classes=2", "dataset.size=8", "dataset.streams=2", "dataset.most=30",
        "batch_size=12", "objective=autoencoder", "backbone.widths=[4,8]", "budget.unit=epochs", "budget.amount=2",
        "evaluation=[knn]", "controls=[]", "logger=none", "trainer.accelerator=cpu", "trainer.precision=float32",
        f"output={output}", *more,
    ]  # fmt: skip


def test_images_that_leave_the_upper_bits_free_are_refused_or_read_by_a_stated_depth(root: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 4095, np.uint16)).save(out, "png")
    for part in ("train-00", "train-01", "val", "test"):
        write(root / f"{part}.tar", [("a.png", out.getvalue()), ("b.png", out.getvalue())])
    changes = {"train": f"{root}/train-{{00,01}}.tar", "classes": 0, "channels": 1}
    with pytest.raises(ValueError, match=r"the 4 images of .* go up to 4095 of 65535, .* set dataset\.depth=12; "):
        source(root, **changes).load()
    assert source(root, **changes, depth=12).load()["train"].data.unique().tolist() == [255]


def test_a_run_streams(root: Path, tmp_path: Path) -> None:
    plain = compose(words(root, tmp_path / "out"))
    result = read_result(run(RunRequest.of(plain)))
    assert result.pretraining.steps == 10
    assert result.pretraining.epochs == 2
    assert result.data["pretrain"] == 60
    assert result.data["train"] == 30


def test_a_run_ends_plainly_where_an_image_is_broken(root: Path, tmp_path: Path) -> None:
    damaged(root)
    plain = compose(words(root, tmp_path / "out", "dataset.most=6"))
    with pytest.raises(ConfigError, match=r"'part/003-004' in"):
        run(RunRequest.of(plain))


def test_statistics_are_those_of_the_part_in_memory(root: Path) -> None:
    data = DataModule(source(root), batch_size=12, seed=0)
    mean, _ = data.statistics()
    assert mean[0].item() * 255 == pytest.approx(2.5)
    assert data.spec.size == 60


def test_classes_may_be_called_by_names(root: Path) -> None:
    """In the order of `class_names`, in what is kept as in what is streamed."""

    def named(members: list[tuple[str, bytes]]) -> list[tuple[str, bytes]]:
        words = {b"0\n": b"owl\n", b"1\n": "caf\xe9".encode()}
        return [(name, words[content] if name.endswith(".cls") else content) for name, content in members]

    for number in range(SHARDS):
        write(root / f"train-{number:02}.tar", named(shard(number)))
    write(root / "val.tar", named(shard(100)))
    write(root / "test.tar", named(shard(101)))
    own = source(root, classes=0, class_names=["caf\xe9", "owl"])
    assert (own.spec.classes, own.spec.class_names) == (2, ("caf\xe9", "owl"))
    test = own.load()["test"]
    assert test.label.tolist() == [1 - int(place) % 2 for place in test.data[:, 1, 0, 0]]
    passes = own.passes(batch=12, seed=0, rank=0, ranks=1, skip=0)
    assert all(batch.label.tolist() == [1 - int(p) % 2 for p in batch.data[:, 1, 0, 0]] for batch in passes)
    with pytest.raises(ValueError, match=r"'part/.*\.cls' in .* is not one of the classes: it contains b'caf.*are emu"):
        source(root, classes=0, class_names=["emu", "owl"]).load()
    with pytest.raises(
        ValueError, match=r"is not a class: it must contain a number, .* list these in dataset\.class_n"
    ):
        source(root).load()


def test_names_of_classes_are_checked(root: Path) -> None:
    with pytest.raises(ValueError, match=r"dataset\.class_names is \['a', 'a'\]; every class must have a name"):
        source(root, classes=0, class_names=["a", "a"])
    with pytest.raises(ValueError, match=r"dataset\.classes is 3, and dataset\.class_names lists 2: set classes=0"):
        source(root, classes=3, class_names=["a", "b"])


def test_16_bits_are_streamed(root: Path) -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((4, 4), 40_000, np.uint16)).save(out, "png")
    for part in ("train-00", "train-01", "val", "test"):
        write(root / f"{part}.tar", [(f"{name}.png", out.getvalue()) for name in "abcd"])
    own = source(root, train=f"{root}/train-{{00,01}}.tar", classes=0, channels=1, bits=16)
    assert own.load()["train"].data.unique().tolist() == [40_000]
    batch = next(iter(own.passes(batch=4, seed=0, rank=0, ranks=1, skip=0)))
    assert batch.data.dtype == torch.uint16
    assert own.spec.to_input(batch.data).unique().item() == pytest.approx(40_000 / 65_535)
