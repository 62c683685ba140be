"""A user's own images with captions."""

from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple, Unpack

import torch
from torch import Tensor

from ssl_runner.data.any.labels import in_order, say_if_alone
from ssl_runner.data.any.splits import stratified
from ssl_runner.data.any.tables import Column, Table
from ssl_runner.data.images.decode import decode_all
from ssl_runner.data.images.decoded import DecodedImages, ImageSettings, Listed, in_order_of_splits
from ssl_runner.data.text.text_pairs import encode_rows, known_of
from ssl_runner.data.text.tokens import (
    CutSettings,
    check_cut,
    find_tokenizer,
    known_tokenizer,
    read_tokenizer,
    tokenizer_path,
    train_tokenizer,
)
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName, TextSpec


class CaptionSettings(ImageSettings, CutSettings):
    """How images and their captions are read; documented in conf/dataset/captions.yaml."""


class Rows(NamedTuple):
    """What a table says, row by row."""

    files: list[Path]
    captions: list[str]
    labels: list[str]  # "" of an unlabeled image


class Captions(DataSource):
    """Images of a .csv or .tsv file, one a row, which encoders read, and their captions, the second view of each.

    Columns are named as in the first row, or numbered from 0 where it is a row like the others. A caption is
    [CLS] tokens [SEP] and PAD, of at most `length` tokens; an image may be in several rows, each with a caption of its
    own. Then all rows of an image are held out together. Images are decoded as `image_folder.ImageFolder` does; a
    damaged one is refused. The tokenizer is trained on the captions of train.
    """

    def __init__(
        self,
        *,
        path: str,
        folder: str | None,
        file_column: int | str,
        caption_column: int | str,
        label_column: int | str | None,
        **settings: Unpack[CaptionSettings],
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        if self.path.suffix.lower() not in (".csv", ".tsv"):
            raise ValueError(f"dataset.path {self.path} must be a .csv or a .tsv file")
        self.folder = self.path.parent if folder is None else Path(folder).expanduser().absolute()
        given = {"file": file_column, "caption": caption_column, "label": label_column}
        self.columns: dict[str, Column] = {
            f"dataset.{name}_column": column for name, column in given.items() if column is not None
        }
        if len({type(column) for column in self.columns.values()}) > 1 or len({*self.columns.values()}) < len(
            self.columns
        ):
            raise ValueError(
                f"{', '.join(self.columns)} are {', '.join(map(str, self.columns.values()))}; they must be different "
                "columns, all by name or all by number"
            )
        if settings["on_broken"] == "skip":
            raise ValueError(
                "dataset.on_broken is skip, which would leave the captions of damaged images alone; set it to refuse"
            )
        if settings["length"] < 3:
            raise ValueError(f"dataset.length is {settings['length']}; it must be 3 or more")
        check_cut(settings)
        self.images = DecodedImages(settings)
        self.settings = settings
        self.tokenizer = tokenizer_path(settings)
        self._known: dict[str, Any] | None = None  # of the captions, after `load`
        self._others: dict[SplitName, Tensor] = {}

    @property
    def spec(self) -> ImageSpec:
        return replace(self.image_spec, other=self.text_spec)

    @property
    def image_spec(self) -> ImageSpec:
        return self.images.spec({"train": len(self._rows.files)}, self._names)

    @property
    def text_spec(self) -> TextSpec:
        known = self._known or {"vocabulary": self.settings["vocabulary"]}
        if self._known is None and self.tokenizer is not None:
            known = known_tokenizer(self.tokenizer)
        return TextSpec(length=self.settings["length"], example="sentence", **known)

    def check(self) -> None:
        say_if_alone(self._names, "if that carries no information, set dataset.label_column=null")

    def contents(self) -> Contents:
        files = {str(place): file for place, file in enumerate(dict.fromkeys(self._rows.files))}
        given = {} if self.tokenizer is None else {"tokenizer": {"": find_tokenizer(self.tokenizer)}}
        return {"path": {"": self.path}, "folder": files, **given}

    def load(self) -> Mapping[SplitName, Examples]:
        images, texts = self.both()
        self._others = texts
        return images

    def others(self, split: SplitName) -> Tensor:
        return self._others[split]

    def both(self) -> tuple[dict[SplitName, Examples], dict[SplitName, Tensor]]:
        """Images with labels, and captions, of each split. Raises ValueError for damaged images."""
        rows, number = self._rows, {name: place for place, name in enumerate(self._names)}
        label = torch.tensor([number.get(name, -1) for name in rows.labels])
        splits = self.images.hold_out({"train": Listed(torch.arange(len(label)), label)}, self._hold)
        files, places = in_order_of_splits(rows.files, splits)
        images = self.images.examples(
            f"{self.path} (dataset.path)",
            places,
            lambda: decode_all(
                self.folder, files, self.images.how, cache=self.images.cache, workers=self.images.workers
            ),
        )
        tokenizer = self._tokenizer([rows.captions[place] for place in splits["train"].place.tolist()])
        ids = encode_rows(tokenizer, [[caption] for caption in rows.captions], self.settings["length"])
        self._known = known_of(tokenizer, ids[splits["train"].place])
        texts = {split: ids[each.place] for split, each in splits.items()}
        return images, {"pretrain": texts["train"], **texts}

    def _hold(self, listed: Listed, share: float) -> tuple[Tensor, Tensor]:
        """Rest and held of examples, by image: one that has several captions is in one split."""
        images = {file: place for place, file in enumerate(dict.fromkeys(self._rows.files))}
        of_image = torch.tensor([images[self._rows.files[place]] for place in listed.place.tolist()])
        own, first = of_image.unique(return_inverse=True)
        label = torch.full((len(own),), -1).scatter(0, first, listed.label)
        _, held = stratified(label, share, self.images.split_seed)
        taken = torch.isin(first, held)
        return (~taken).nonzero().squeeze(1), taken.nonzero().squeeze(1)

    def _tokenizer(self, captions: list[str]) -> Any:
        from tokenizers import Tokenizer

        if self.tokenizer is not None:
            return Tokenizer.from_str(read_tokenizer(find_tokenizer(self.tokenizer)))
        learned = train_tokenizer(
            captions,
            tokens=self.settings["tokens"],
            words="marks",
            vocabulary=self.settings["vocabulary"],
            lowercase=self.settings["lowercase"],
        )
        return Tokenizer.from_str(learned)

    @cached_property
    def _names(self) -> tuple[str, ...]:
        return in_order(self._rows.labels) if "dataset.label_column" in self.columns else ()

    @cached_property
    def _rows(self) -> Rows:
        """Raises ValueError, with the line, for an empty cell and for a file that is not there."""
        if not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "does not exist"
            raise ValueError(f"dataset.path {self.path} {what}; it must be a .csv or .tsv file")
        found = Rows([], [], [])
        for line, values in Table(self.path, self.columns).rows():
            cells = {key: value.strip() for key, value in zip(self.columns, values, strict=True)}
            if empty := [key for key, value in cells.items() if not value]:
                raise ValueError(
                    f"{self.path}, line {line}: the cell of {empty[0]} is empty; fill it in, or remove the row"
                )
            file = self.folder / cells["dataset.file_column"]
            if not file.is_file():
                raise ValueError(
                    f"{self.path}, line {line}: {file} is not an existing file; set dataset.folder to the folder that "
                    "the paths of the table start from, or dataset.file_column to the column of the paths"
                )
            found.files.append(file)
            found.captions.append(cells["dataset.caption_column"])
            found.labels.append(cells.get("dataset.label_column", ""))
        if not found.files:
            raise ValueError(f"dataset.path {self.path} has no rows")
        return found
