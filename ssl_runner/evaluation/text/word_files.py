"""Word vectors from files: of an exported encoder, or of a text file as word2vec and fastText write it."""

import json
from pathlib import Path

import torch
from torch import Tensor
from torch.nn import functional as F

from ssl_runner.evaluation.text.data import read_text
from ssl_runner.evaluation.text.words import Case, Words, folded, named
from ssl_runner.interfaces import SpecialTokens

WEIGHTS, TOKENIZER, TOKENS = "encoder.safetensors", "tokenizer.json", "tokens.json"  # of an exported encoder
TABLE = "embedding.weight"  # of its word vectors


def vector_files(key: str, path: str) -> list[Path]:
    """The files of word vectors: of the encoder in a folder, or the file itself. Raises ValueError for neither."""
    place = Path(path).expanduser()
    if place.is_file():
        return [place]
    for folder in (place / "encoder", place):
        files = [folder / name for name in (WEIGHTS, TOKENIZER, TOKENS)]
        if all(file.is_file() for file in files):
            return files
    raise ValueError(
        f"{key} is {path!r}; it must be the folder of a finished run on text, or a file with a word and its numbers "
        "per line"
    )


def check_vectors(key: str, files: list[Path]) -> None:
    """Raise ValueError for an encoder without a table of word vectors, by its header."""
    if len(files) == 1:
        return
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(files[0], "pt") as opened:
            names = list(opened.keys())
    except SafetensorError as error:
        raise ValueError(f"{files[0]} cannot be read: {error}") from error
    if TABLE not in names:
        raise ValueError(f"{key} is the folder of an encoder without a table of word vectors ({TABLE})")


def read_vectors(files: list[Path], *, restrict: int | None, case: Case, device: torch.device) -> Words:
    """The words of files, the most frequent first. Raises ValueError, with the line, for a file of another form."""
    if len(files) == 1:
        return _from_text(files[0], restrict, case, device)
    from safetensors.torch import load_file

    table = load_file(files[0])[TABLE]
    about = json.loads(read_text(files[2]))
    special = SpecialTokens(**about["special"])
    return named(
        table.to(device), read_text(files[1]), special, about["counts"], about["starts"], restrict=restrict, case=case
    )


def _from_text(file: Path, restrict: int | None, case: Case, device: torch.device) -> Words:
    """A word and its numbers per line, between spaces or tabs; a first line of two numbers says how many."""
    names: list[str] = []
    rows: list[Tensor] = []
    places: dict[str, int] = {}
    for number, line in enumerate(read_text(file).split("\n"), start=1):
        cells = line.split()
        if not cells or (number == 1 and len(cells) == 2):
            continue
        if len(names) == restrict:
            break
        try:
            vector = torch.tensor([float(cell) for cell in cells[1:]])
        except ValueError as error:
            raise ValueError(f"{file}, line {number} is {line[:60]!r}; it must be a word and its numbers") from error
        if not len(vector) or (rows and len(vector) != len(rows[0])):
            wanted = f"{len(rows[0])}, as the lines before" if rows else "at least one"
            raise ValueError(f"{file}, line {number} has {len(vector)} numbers; it must have {wanted}")
        if folded(cells[0], case) not in places:
            places[folded(cells[0], case)] = len(names)
            names.append(cells[0])
            rows.append(vector)
    if not names:
        raise ValueError(f"{file} has no words")
    return Words(names, F.normalize(torch.stack(rows).to(device), dim=1), places)
