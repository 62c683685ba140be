"""Files damaged in many ways: each is refused with an error that names it, or is read as something valid."""

import csv
import gzip
import hashlib
import io
import json
import random
import shutil
import tarfile
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import made_boxes
import made_text
import made_video
import numpy as np
import pytest
import torch
import yaml
from bounded import bounded
from damage import damaged
from PIL import Image
from safetensors.torch import load_file, save_file

from ssl_runner import load_encoder
from ssl_runner.assembly import construct, export, load
from ssl_runner.assembly.load import load_data
from ssl_runner.commands import compare
from ssl_runner.commands.evaluate import finished_run
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import run_folder
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.data.any.download import Remote, fetch_files
from ssl_runner.reporting.page import write_report

pytestmark = pytest.mark.filterwarnings("ignore::UserWarning:PIL.TiffImagePlugin")  # it says what it leaves out
QUICK = 6  # cases of each file in the quick suite


class Kind(NamedTuple):
    """A file of some kind, whole, and what reads it."""

    files: Sequence[str]  # under the folder: what is damaged, one at a time
    read: Callable[[Path], object]  # of the folder
    cases: int  # over all its files
    wrong: Sequence[tuple[str, bytes]] = ()  # (file, content): whole files with wrong contents


def dataset(*words: str) -> Callable[[Path], object]:
    """Read a dataset as a run does, to its first batch; DIR in `words` is the folder."""
    known: dict[Path, Any] = {}

    def read(folder: Path) -> None:
        if folder not in known:
            words_ = [word.replace("DIR", str(folder)) for word in words]
            known[folder] = typed(
                compose([*words_, "logger=none", "evaluation=[]", "batch_size=4", f"output={folder}"])
            )
        shutil.rmtree(folder / "cache", ignore_errors=True)
        found, _ = construct.source(known[folder])
        next(iter(load_data(known[folder], found).train_dataloader()))

    return read


def picture(side: int = 16, number: int = 0) -> Image.Image:
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    return Image.fromarray(np.kron(pixels[::4, ::4], np.ones((4, 4, 1), dtype=np.uint8)))


def encoded(suffix: str, number: int = 0) -> bytes:
    out = io.BytesIO()
    picture(number=number).save(out, format={"jpg": "JPEG", "tif": "TIFF", "pgm": "PPM"}.get(suffix, suffix.upper()))
    return out.getvalue()


# ---------------------------------------------------------------------------------------------------------- the kinds


def images(folder: Path) -> Kind:
    names = [f"{number}.{suffix}" for number, suffix in enumerate(("png", "jpg", "gif", "bmp", "tif", "webp", "pgm"))]
    for kind in ("cats", "dogs"):
        for number in range(8):
            (folder / "images" / kind).mkdir(parents=True, exist_ok=True)
            (folder / "images" / kind / f"whole-{number}.png").write_bytes(encoded("png", number))
    for name in names:
        (folder / "images" / "cats" / name).write_bytes(encoded(name.partition(".")[2]))
    words = ("dataset=image_folder", "dataset.path=DIR/images", "dataset.cache=DIR/cache", "dataset.size=16")
    return Kind([f"images/cats/{name}" for name in names], dataset(*words, "dataset.workers=2"), 70)


def shards(folder: Path) -> Kind:
    for name in ("train-0", "train-1", "val", "test"):
        with tarfile.open(folder / f"{name}.tar", "w") as archive:
            for number in range(6):
                for member, content in ((f"{number}.png", encoded("png", number)), (f"{number}.cls", b"1")):
                    about = tarfile.TarInfo(member)
                    about.size = len(content)
                    archive.addfile(about, io.BytesIO(content))
    words = [f"dataset.{part}=DIR/{part}.tar" for part in ("val", "test")]
    words += ["dataset=webdataset", "dataset.train='DIR/train-{0,1}.tar'", "dataset.streams=2"]
    words += ["dataset.classes=2", "dataset.size=16", "dataset.buffer=8", "dataset.workers=1", "dataset.most=8"]
    return Kind(["train-0.tar", "test.tar"], dataset(*words), 60)


def arrays(folder: Path) -> Kind:
    pixels, label = np.random.default_rng(0).integers(0, 256, (20, 8, 8), dtype=np.uint8), np.arange(20) % 2

    def npz(**changed: Any) -> bytes:
        out = io.BytesIO()
        whole = {"x_train": pixels, "x_test": pixels, "y_train": label, "y_test": label}
        np.savez_compressed(out, **{name: value for name, value in (whole | changed).items() if value is not None})
        return out.getvalue()

    (folder / "arrays.npz").write_bytes(npz())
    wrong = [
        npz(x_train=pixels.astype(np.float32)), npz(x_train=pixels[:, :4]), npz(y_train=label[:5]), npz(x_train=None),
        npz(x_train=pixels[0, 0]), npz(x_train=np.uint8(3)), npz(y_train=label - 1), npz(y_train=label * 0.5),
        npz(y_train=np.array(["a"] * 20)), npz(x_test=pixels[:0]), npz(x_train=np.array([{}], dtype=object)),
        npz(y_train=np.array([{}] * 20, dtype=object)), npz(label_names=np.array([1.5])), npz(y_train=label + 2**40),
        npz(x_train=pixels[..., None, None]), npz(label_names=np.array({"a": 1}, dtype=object)),
        npz(y_train=np.uint8(1)), npz(x_train=pixels.astype("S1")), npz(y_train=label.astype(complex)),
        npz(y_train=label.astype("M8[s]")),
    ]  # fmt: skip
    read = dataset("dataset=arrays", "dataset.path=DIR/arrays.npz")
    return Kind(["arrays.npz"], read, 60, [("arrays.npz", content) for content in wrong])


def boxes(folder: Path) -> Kind:
    """Those of VOC's layout."""
    made_boxes.write_voc(folder / "voc", {"train": range(6), "val": range(6, 9), "test": range(9, 12)})
    file = "voc/Annotations/001.xml"
    things = made_boxes.objects(1)
    whole = made_boxes.annotation(things)
    wrong = [
        made_boxes.annotation(things, size=(0, 16)), made_boxes.annotation([("red", 9, 9, 2, 2)]), "<a/>", "",
        made_boxes.annotation([("red", 1, 1, 99, 2)]), whole.replace("<xmin>", "<xmin>nan"), whole.replace("red", ""),
        whole.replace("<xmax>", "<xmax>inf"), whole.replace("<width>", "<width>1e3"), made_boxes.annotation([]),
    ]  # fmt: skip
    read = dataset("dataset=voc", "dataset.root=DIR/voc", "dataset.cache=DIR/cache", "dataset.size=16")
    files = [file, "voc/ImageSets/Main/train.txt", "voc/JPEGImages/001.png"]
    return Kind(files, read, 45, [(file, text.encode()) for text in wrong])


def coco_boxes(folder: Path) -> Kind:
    """Those of COCO's json."""
    made_boxes.write_voc(folder / "coco", {"train": range(12)})
    things = [(number, each) for number in range(12) for each in made_boxes.objects(number)]
    width, height = made_boxes.SIZE
    whole: dict[str, Any] = {
        "images": [{"id": n, "file_name": f"{n:03}.png", "width": width, "height": height} for n in range(12)],
        "categories": [{"id": 1, "name": "red"}, {"id": 2, "name": "blue"}],
        "annotations": [
            {"image_id": n, "category_id": 1 + (name == "blue"), "bbox": [left - 1, top - 1, 3, 3]}
            for n, (name, left, top, *_) in things
        ],
    }
    (folder / "coco" / "train.json").write_text(json.dumps(whole))
    values: tuple[Any, ...] = (None, 3, "x", [], {}, [1], [{}], [None], {"a": 1})
    wrong = [json.dumps(whole | {key: value}).encode() for key in whole for value in values]
    for kind, key in (("images", "width"), ("images", "file_name"), ("annotations", "bbox"), ("categories", "name")):
        others: tuple[Any, ...] = (None, -1, [1], "x", 1e400, {})
        for value in others:
            wrong.append(json.dumps(whole | {kind: [whole[kind][0] | {key: value}, *whole[kind][1:]]}).encode())
    read = dataset(
        "dataset=coco", "dataset.root=DIR/coco", "dataset.train=train.json", "dataset.test=null",
        "dataset.train_folder=JPEGImages", "dataset.cache=DIR/cache", "dataset.size=16",
    )  # fmt: skip
    return Kind(["coco/train.json"], read, 40, [("coco/train.json", content) for content in wrong])


def mnist(folder: Path) -> Kind:
    def idx(array: np.ndarray) -> bytes:
        return b"\0\0\x08" + bytes([array.ndim]) + b"".join(n.to_bytes(4, "big") for n in array.shape) + array.tobytes()

    raw = folder / "MNIST" / "raw"
    raw.mkdir(parents=True)
    pixels = np.random.default_rng(0).integers(0, 256, (30, 28, 28), dtype=np.uint8)
    for part in ("train", "t10k"):
        (raw / f"{part}-images-idx3-ubyte").write_bytes(idx(pixels))
        (raw / f"{part}-labels-idx1-ubyte.gz").write_bytes(gzip.compress(idx(np.arange(30, dtype=np.uint8) % 10)))
    files = ["MNIST/raw/train-images-idx3-ubyte", "MNIST/raw/train-labels-idx1-ubyte.gz"]
    wrong = [idx(pixels[:, :20]), idx(pixels[0, 0]), idx(pixels[:0]), b"\0\0\x08\xff" + b"\xff" * 1020, b"\0\0\x08\0"]
    wrong += [b"\0\0\x08\x03" + b"\xff" * 12, b"\0\0\x08\x02" + bytes(8)]
    read = dataset("dataset=mnist", "dataset.root=DIR", "dataset.download=false")
    return Kind(files, read, 50, [(files[0], content) for content in wrong])


def videos(folder: Path) -> Kind:
    for number in range(12):
        made_video.write(folder / "videos" / f"{number}.{('mp4', 'avi', 'mkv')[number % 3]}", 5)
    words = ("dataset=video_folder", "dataset.path=DIR/videos", "dataset.labels=none", "dataset.cache=DIR/cache")
    read = dataset(
        *words,
        "dataset.side=16",
        "dataset.frames=4",
        "dataset.stride=4",
        "objective=arrow_of_time",
        "backbone=vivit_micro",
    )
    return Kind([f"videos/{number}.{suffix}" for number, suffix in enumerate(("mp4", "avi", "mkv"))], read, 45)


def corpora(folder: Path) -> Kind:
    (folder / "corpus.txt").write_text(made_text.text(40) + "\n\nZwei Wörter «naïve» 日本.\n")
    read = dataset(
        "dataset=text_file", "dataset.path=DIR/corpus.txt", "dataset.cache=DIR/cache", "dataset.documents=blank_lines",
        "dataset.tokens=words", "dataset.vocabulary=40", "dataset.length=12", "objective=bert", "backbone=bert_tiny",
    )  # fmt: skip
    return Kind(
        ["corpus.txt"], read, 40, [("corpus.txt", b"\xff\xfea\0b\0"), ("corpus.txt", b"\n\n\n"), ("corpus.txt", b" ")]
    )


def tables(folder: Path) -> Kind:
    with (folder / "table.csv").open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["text", "label"])
        writer.writerows([f'{made_text.text(1, number)} "quoted", {number}', number % 3] for number in range(40))
    read = dataset(
        "dataset=text_table", "dataset.path=DIR/table.csv", "dataset.cache=DIR/cache", "dataset.tokens=words",
        "dataset.vocabulary=40", "dataset.length=12", "objective=bert", "backbone=bert_tiny",
    )  # fmt: skip
    wrong = [
        b"text,label\n",
        b"text\na\n",
        b'text,label\n"a,1\n',
        b"text,label\na\n",
        b"label,text\n1\n",
        b"text,label\0\n",
    ]
    wrong += [b"text,label\n" + b"a" * 200_000 + b",1\n"]
    return Kind(["table.csv"], read, 40, [("table.csv", content) for content in wrong])


def pairs(folder: Path) -> Kind:
    rows = "".join(f"the cat sees {n},the dog likes {n}\n" for n in range(40))
    (folder / "pairs.csv").write_text(f"first,second\n{rows}")
    read = dataset(
        "dataset=text_pairs", "dataset.path=DIR/pairs.csv", "dataset.columns=[first,second]", "dataset.tokens=words",
        "dataset.vocabulary=40", "dataset.length=12", "objective=bert", "backbone=bert_tiny",
    )  # fmt: skip
    return Kind(["pairs.csv"], read, 20)


def downloads(folder: Path) -> Kind:
    """Archives whose checksums are right: damaged where they were made."""
    with zipfile.ZipFile(folder / "set.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("texts/a.txt", made_text.text(5))
        archive.writestr("texts/b.txt", made_text.text(5, 1))
    with tarfile.open(folder / "set.tar.gz", "w:gz") as tar:
        tar.add(folder / "set.zip", "texts/c.zip")

    def read(place: Path) -> None:
        for name in ("set.zip", "set.tar.gz"):
            content = (place / name).read_bytes()
            remote = Remote(name, ((place / name).as_uri(),), f"sha256:{hashlib.sha256(content).hexdigest()}")
            shutil.rmtree(place / "root", ignore_errors=True)
            fetch_files([remote], place / "root")

    return Kind(["set.zip", "set.tar.gz"], read, 60)


def small_run(folder: Path) -> list[str]:
    return [
        "dataset=fake_images", "dataset.examples=40", "dataset.test_examples=20", "dataset.height=8", "dataset.width=8",
        "backbone.widths=[4,8]", "batch_size=8", "logger=csv", "budget.unit=steps", "budget.amount=2",
        "evaluation=[knn]", "trainer.accelerator=cpu", "controls=[]", "trainer.validations=0", "objective=rotation",
        "trainer.watch_every=0", f"output={folder}",
    ]  # fmt: skip


def did(folder: Path) -> Path:
    plain = compose(small_run(folder))
    made = run(RunRequest.of(plain))
    made.rename(folder / "run")
    return folder / "run"


def encoders(folder: Path) -> Kind:
    state = load_file(did(folder) / "encoder" / "encoder.safetensors")
    (folder / "run" / "encoder" / export.SUMS).unlink()  # as of an older version: what it holds has to be understood
    about = yaml.safe_load((folder / "run" / "encoder" / "config.yaml").read_text())
    wrong = []

    for changed in (
        {name: value.double() for name, value in state.items()},
        {name: value[..., None] for name, value in state.items()},
        {name: value.to(torch.int32) for name, value in state.items()},
        {"x": torch.zeros(1)},
        {},
    ):
        save_file({name: value.contiguous() for name, value in changed.items()}, folder / "changed.safetensors")
        wrong.append(("run/encoder/encoder.safetensors", (folder / "changed.safetensors").read_bytes()))
    for part, key, values in (
        ("backbone", "widths", ["x", None, [], [0], [-1], [10**12], [10**6, 10**6], {"a": 1}, [1.5], True, [10**30]]),
        ("backbone", "_target_", [None, 3, [], "os.system", "ssl_runner.objectives.mae.MAE", "ssl_runner.", "\0"]),
        ("spec", "_target_", [None, 3, "os.system", "ssl_runner.interfaces.Encoder", "ssl_runner.interfaces.TextSpec"]),
        ("spec", "height", [None, "x", -1, 0, 10**12, 1.5, []]),
        ("spec", "class_names", [None, 3, "x", [1, 2]]),
        ("spec", "classes", [None, "x", -5]),
        ("spec", "strange", [1]),
    ):
        wrong += [
            ("run/encoder/config.yaml", yaml.safe_dump(about | {part: about[part] | {key: value}}).encode())
            for value in values
        ]
    wrong += [
        ("run/encoder/config.yaml", content) for content in (b"[" * 5000, b"&a [*a]", b"a: !!python/name:os.system")
    ]
    files = ["run/encoder/encoder.safetensors", "run/encoder/config.yaml"]
    return Kind(files, lambda place: load_encoder(place / "run"), 80, wrong)


def text_encoders(folder: Path) -> Kind:
    config = typed(
        compose([*made_text.overrides(), "objective=bert", "backbone=bert_tiny", "logger=none", "batch_size=8"])
    )
    found, _ = construct.source(config)
    spec = load_data(config, found).spec
    model = construct.objective(config, spec)
    export.export_encoder(folder / "encoder", model.encoder, config.backbone, spec)
    (folder / "encoder" / export.SUMS).unlink()

    def read(place: Path) -> None:
        load_encoder(place)
        load.load_tokenizer(place)
        again = typed(
            compose([*made_text.overrides(), f"dataset.tokenizer={place}", "objective=bert", "backbone=bert_tiny"])
        )
        _ = construct.source(again)

    tokens = [b"[]", b"{}", b'{"counts": 3, "starts": null}', b'{"counts": [], "starts": []}', b"null"]
    files = ["encoder/tokenizer.json", "encoder/tokens.json"]
    return Kind(files, read, 50, [(files[1], content) for content in tokens] + [(files[0], b"{}"), (files[0], b"null")])


def checkpoints(folder: Path) -> Kind:
    """A run that goes on from its last checkpoint."""
    made = did(folder)
    (made / "result.json").unlink()
    plain = compose(small_run(folder))

    def read(place: Path) -> None:
        target = run_folder(typed(plain), plain)
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(place / "run", target)
        run(RunRequest.of(plain))

    content = (made / "checkpoints" / "last.ckpt").read_bytes()
    state = torch.load(io.BytesIO(content), weights_only=True)

    def saved(changed: object) -> tuple[str, bytes]:
        out = io.BytesIO()
        torch.save(changed, out)
        return "run/checkpoints/last.ckpt", out.getvalue()

    changes: list[Mapping[str, Any]] = [
        {"state_dict": {}}, {"global_step": "x"}, {"global_step": -5}, {"budget": {}}, {"budget": None}, {"loops": {}},
        {"optimizer_states": []}, {"callbacks": {"Record": 3}}, {"state_dict": {"objective.encoder.x": torch.ones(1)}},
        {"state_dict": {name: value[:1] if value.ndim else value for name, value in state["state_dict"].items()}},
        {"epoch": None}, {"lr_schedulers": None}, {"pytorch-lightning_version": "99.0"}, {"loops": None},
    ]  # fmt: skip
    wrong = [saved(state | change) for change in changes] + [saved(3), saved([]), saved({}), saved(torch.ones(2))]
    wrong += [saved({key: value for key, value in state.items() if key != lost}) for lost in state]
    return Kind(["run/checkpoints/last.ckpt"], read, 45, wrong)


def results(folder: Path) -> Kind:
    made = did(folder)
    whole = json.loads((made / "result.json").read_text())

    def read(place: Path) -> None:
        assert compare.main([str(place / "run"), "--html", str(place / "page.html")]) in (0, 2)
        write_report(place / "run")

    wrong = []
    for key in whole:
        for value in (None, 3, -1.5, "x", [], {}, [1], {"a": None}, [[["x"]]]):
            wrong.append(("run/result.json", json.dumps(whole | {key: value}).encode()))
    wrong = random.Random(0).sample(wrong, 60)
    return Kind(["run/result.json", "run/metrics.csv"], read, 40, wrong)


def configs(folder: Path) -> Kind:
    did(folder)
    whole = yaml.safe_load((folder / "run" / "config.yaml").read_text())
    wrong = [whole | {key: value} for key in whole for value in (None, 3, "x", [1], {"a": 1})]
    contents = [yaml.safe_dump(each).encode() for each in random.Random(0).sample(wrong, 25)] + [
        b"3",
        b"[]",
        b"- a",
        b"null",
    ]
    return Kind(
        ["run/config.yaml"],
        lambda place: finished_run(str(place / "run")),
        30,
        [("run/config.yaml", c) for c in contents],
    )


KINDS = (
    images, shards, arrays, boxes, coco_boxes, mnist, videos, corpora, tables, pairs, downloads, encoders,
    text_encoders, checkpoints, results, configs,
)  # fmt: skip


def try_all(make: Callable[[Path], Kind], folder: Path, most: int | None) -> Counter[str]:
    """Damage each file of a kind in turn; `most` cases, or all."""
    kind = make(folder)
    kind.read(folder)  # whole, it is read
    cases = [(kind.files[n % len(kind.files)], n // len(kind.files)) for n in range(kind.cases)]
    found: Counter[str] = Counter()
    for file, how in [*cases, *kind.wrong][:: 1 if most is None else max(1, (len(cases) + len(kind.wrong)) // most)]:
        path = folder / file
        whole = path.read_bytes()
        way, content = damaged(whole, how) if isinstance(how, int) else ("wrong", how)
        path.write_bytes(content)
        try:
            with bounded(folder):
                kind.read(folder)
        except (ValueError, ConfigError) as error:
            found["refused"] += 1
            said = str(error)  # a whole file with wrong contents may be named by its folder, or its setting
            assert path.name in said or str(path.parent) in said or "dataset." in said, f"{way} {file}: {said}"
        else:
            found["read"] += 1
        path.write_bytes(whole)
    return found


@pytest.mark.parametrize("make", KINDS)
@pytest.mark.sampled(5)
def test_some_damaged_files(tmp_path: Path, make: Callable[[Path], Kind]) -> None:
    found = try_all(make, _inside(tmp_path), QUICK)
    assert found["refused"]


@pytest.mark.slow
def test_damaged_files(tmp_path: Path) -> None:
    found: Counter[str] = Counter()
    for make in KINDS:
        found += try_all(make, _inside(tmp_path / make.__name__), None)
    print(dict(found))
    assert found.total() >= 500


def _inside(folder: Path) -> Path:
    """A folder whose surroundings can be watched."""
    (folder / "work").mkdir(parents=True)
    return folder / "work"
