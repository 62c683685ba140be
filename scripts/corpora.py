"""The corpora of recorded runs that are made of others.

    python scripts/corpora.py wiki_and_war ../shared/data/text/war_and_peace   # into outputs/corpora/wiki_and_war
    python scripts/corpora.py cifar10_jpeg ../shared/data/archives             # into outputs/corpora/cifar10_jpeg
    python scripts/corpora.py tiny_imagenet ../shared/data/archives            # likewise tiny_imagenet_boxes, bccd
    python scripts/corpora.py blimp ../shared/data/archives
    python scripts/corpora.py sts ../shared/data/archives
    python scripts/corpora.py halves ../shared/data/text/war_and_peace
    python scripts/corpora.py stsb_same ../shared/data/text/stsb

`wiki_and_war`: the Wikipedia articles of dataset=wiki_sample, and War and Peace (Project Gutenberg, in train.txt,
valid.txt and test.txt), 0.9 million words to train on. It is a folder for dataset=text_folder: train/, val/ and test/,
in each wiki.txt and war_and_peace.txt. Articles are held out as wiki_sample holds them out.

`cifar10_jpeg`: 1,000 training and 200 test images of each class of CIFAR-10, stored as JPEG; `cifar10_jpeg_full`: all
of them. `tiny_imagenet`: 200 training and 40 test images of 50 classes of Tiny ImageNet at 32 x 32 pixels. Each is
images.npz, for dataset=arrays.
`tiny_imagenet_boxes` has the same images with their boxes, for evaluation=localization.

`bccd`: 364 images of blood cells with boxes, as published, in the layout of dataset=voc.

`blimp`: BLiMP's minimal pairs, a .jsonl file a paradigm. `sts`: STS12 to STS16, in SentEval's layout. `halves`: the
training texts of `wiki_and_war` in two, first.txt and second.txt: articles, and parts of the novel of 50 paragraphs, by
turns.

`stsb_same`: the pairs of sentences of STS-B's train that people scored 4 or more of 5: pairs.tsv, with the columns
sent0 and sent1, for dataset=paired_texts and dataset=text_pairs.
"""

import argparse
import io
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
import yaml
from study import ROOT, StudyError

from ssl_runner.config.paths import conf_dir
from ssl_runner.data.any.splits import stratified
from ssl_runner.data.text.wiki import articles, wiki_file

CORPORA = ROOT / "outputs" / "corpora"
SHARED = ROOT.parent / "shared" / "data"
NOVEL = SHARED / "text" / "war_and_peace"
ARCHIVES = SHARED / "archives"
BLOCK = 50  # paragraphs of the novel that stay together in `halves`
SAME = 4.0  # STS-B's score from which two sentences say the same, of 5: "mostly equivalent"
PARTS = {"train": "train", "val": "valid", "test": "test"}  # a folder of the corpus -> the novel's file


def wiki_and_war(folder: Path, novel: Path = NOVEL) -> None:
    """Make the corpus, whole or not at all. Raises StudyError where the novel is not in the folder `novel`."""
    missing = [name for name in PARTS.values() if not (novel / f"{name}.txt").is_file()]
    if missing:
        raise StudyError(f"{novel} must hold War and Peace in train.txt, valid.txt and test.txt; it lacks {missing}")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        for part, found in parted_articles().items():
            (made / part).mkdir(parents=True)
            text = "\n\n".join(paragraph for article in found for paragraph in article)
            (made / part / "wiki.txt").write_text(text + "\n", encoding="utf-8")
            shutil.copyfile(novel / f"{PARTS[part]}.txt", made / part / "war_and_peace.txt")
        made.rename(folder)


def parted_articles() -> dict[str, list[list[str]]]:
    """The paragraphs of each article that has some, by split: those of dataset=wiki_sample."""
    found = [paragraphs for paragraphs in articles(wiki_file()) if paragraphs]
    settings = yaml.safe_load((conf_dir() / "dataset" / "wiki_sample.yaml").read_text(encoding="utf-8"))
    rest, chosen = torch.arange(len(found)), {}
    for part in ("test", "val"):  # in this order
        kept, held = stratified(torch.full((len(rest),), -1), settings[f"{part}_fraction"], settings["split_seed"])
        chosen[part], rest = rest[held], rest[kept]
    chosen["train"] = rest
    return {part: [found[place] for place in places] for part, places in chosen.items()}


class Cut(NamedTuple):
    """A part of a set of images."""

    unpacked: str  # the file that the archive's unpack.py writes
    classes: int  # the first so many
    train: int  # of each class, the first so many
    test: int
    boxes: bool = False  # whether the boxes of images are taken too


def unpacked(name: str, into: str, archives: Path) -> None:
    """Raises StudyError where there is no unpack.py in the folder `archives`."""
    unpack = archives / "unpack.py"
    if not unpack.is_file():
        raise StudyError(f"{archives} must hold the archives of images, with unpack.py; it does not")
    subprocess.run([sys.executable, unpack.resolve(), name, into], check=True)


def published(name: str, inner: str, folder: Path, archives: Path = ARCHIVES) -> None:
    """Unpack a set as it is, whole or not at all; `inner`: its folder in the archive. Raises as `unpacked` does."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        unpacked(name, temporary, archives)
        (Path(temporary) / inner).rename(folder)


def images(name: str, cut: Cut, folder: Path, archives: Path = ARCHIVES) -> None:
    """Make images.npz of a part of a set, whole or not at all, the same bytes each time. Raises StudyError as
    `unpacked`."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        unpacked(name, temporary, archives)
        with np.load(Path(temporary) / cut.unpacked) as whole:
            parts = {"label_names": whole["label_names"][: cut.classes]}
            for split, count in (("train", cut.train), ("test", cut.test)):
                label = whole[f"y_{split}"]
                chosen = np.concatenate([np.flatnonzero(label == k)[:count] for k in range(cut.classes)])
                parts |= {f"x_{split}": whole[f"x_{split}"][chosen], f"y_{split}": label[chosen]}
                if cut.boxes:
                    parts[f"boxes_{split}"] = whole[f"boxes_{split}"][chosen]
        made = Path(temporary) / folder.name
        made.mkdir()
        save(made / "images.npz", parts)
        made.rename(folder)


def archive(name: str, inner: str, folder: Path, archives: Path = ARCHIVES) -> None:
    """Unpack an archive's folder `inner`, whole or not at all. Raises StudyError where there is no unpack.py."""
    unpack = archives / "unpack.py"
    if not unpack.is_file():
        raise StudyError(f"{archives} must hold the archives, with unpack.py; it does not")
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        subprocess.run([sys.executable, unpack.resolve(), name, temporary], check=True)
        (Path(temporary) / inner).rename(folder)


def halves(folder: Path, novel: Path = NOVEL) -> None:
    """Make both halves, whole or not at all. Raises StudyError where the novel is not in the folder `novel`."""
    train = novel / "train.txt"
    if not train.is_file():
        raise StudyError(f"{novel} must hold War and Peace in train.txt; it does not")
    paragraphs = train.read_text(encoding="utf-8").split("\n\n")
    parts = [*parted_articles()["train"], *(paragraphs[at : at + BLOCK] for at in range(0, len(paragraphs), BLOCK))]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        made.mkdir()
        for name, chosen in (("first", parts[::2]), ("second", parts[1::2])):
            text = "\n\n".join(paragraph for part in chosen for paragraph in part)
            (made / f"{name}.txt").write_text(text + "\n", encoding="utf-8")
        made.rename(folder)


def save(file: Path, parts: Mapping[str, np.ndarray]) -> None:
    """As numpy.savez, without the time at which it was written: a run is known by what its files hold."""
    with zipfile.ZipFile(file, "w") as archive:
        for name, array in parts.items():
            content = io.BytesIO()
            np.lib.format.write_array(content, array, allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), content.getvalue())


def stsb_same(folder: Path, source: Path = SHARED / "text" / "stsb") -> None:
    """Make pairs.tsv, whole or not at all. Raises StudyError where STS-B's train is not in the folder `source`."""
    file = source / "sts-train.csv"
    if not file.is_file():
        raise StudyError(f"{source} must hold STS-B's sts-train.csv; it does not")
    rows = [line.split("\t") for line in file.read_text(encoding="utf-8").splitlines()]
    same = [f"{row[5]}\t{row[6]}\n" for row in rows if float(row[4]) >= SAME]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent) as temporary:
        made = Path(temporary) / folder.name
        made.mkdir()
        (made / "pairs.tsv").write_text("sent0\tsent1\n" + "".join(same), encoding="utf-8")
        made.rename(folder)


MADE: dict[str, Callable[..., None]] = {
    "blimp": partial(archive, "blimp", "blimp"),
    "sts": partial(archive, "sts", "STS"),
    "halves": halves,
    "wiki_and_war": wiki_and_war,
    "cifar10_jpeg": partial(images, "cifar10", Cut("cifar10.npz", classes=10, train=1000, test=200)),
    "cifar10_jpeg_full": partial(images, "cifar10", Cut("cifar10.npz", classes=10, train=5000, test=1000)),
    "stsb_same": stsb_same,
    "tiny_imagenet": partial(images, "tiny_imagenet", Cut("tiny_imagenet_32.npz", classes=50, train=200, test=40)),
    "tiny_imagenet_boxes": partial(
        images, "tiny_imagenet", Cut("tiny_imagenet_32.npz", classes=50, train=200, test=40, boxes=True)
    ),
    "bccd": partial(published, "bccd", "BCCD"),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=list(MADE))
    parser.add_argument("source", type=Path, nargs="?", help="the folder of War and Peace, or of archives")
    options = parser.parse_args()
    folder = CORPORA / options.corpus
    if folder.exists():
        raise StudyError(f"{folder} is there already; remove it to make it again")
    MADE[options.corpus](folder, *([options.source] if options.source else []))


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(f"error: {error}")
