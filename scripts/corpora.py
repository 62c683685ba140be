"""The corpora of recorded runs that are made of others.

    python scripts/corpora.py wiki_and_war ../shared/data/text/war_and_peace   # into outputs/corpora/wiki_and_war

`wiki_and_war`: the Wikipedia articles of dataset=wiki_sample, and War and Peace (Project Gutenberg, in train.txt,
valid.txt and test.txt), 0.9 million words to train on. It is a folder for dataset=text_folder: train/, val/ and test/,
in each wiki.txt and war_and_peace.txt. Articles are held out as wiki_sample holds them out.
"""

import argparse
import shutil
import sys
import tempfile
from pathlib import Path

import torch
import yaml
from study import ROOT, StudyError

from ssl_runner.config.paths import conf_dir
from ssl_runner.data.any.splits import stratified
from ssl_runner.data.text.wiki import articles, wiki_file

CORPORA = ROOT / "outputs" / "corpora"
NOVEL = ROOT.parent / "shared" / "data" / "text" / "war_and_peace"
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


MADE = {"wiki_and_war": wiki_and_war}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("corpus", choices=list(MADE))
    parser.add_argument("novel", type=Path, nargs="?", default=NOVEL, help="the folder of War and Peace")
    options = parser.parse_args()
    folder = CORPORA / options.corpus
    if folder.exists():
        raise StudyError(f"{folder} is there already; remove it to make it again")
    MADE[options.corpus](folder, options.novel)


if __name__ == "__main__":
    try:
        main()
    except StudyError as error:
        sys.exit(f"error: {error}")
