"""A user's own images, listed in a table."""

from collections.abc import Mapping
from functools import cached_property
from pathlib import Path
from typing import NamedTuple, Unpack

import torch

from ssl_runner.data.any.folders import PARTS, SPLITS
from ssl_runner.data.any.labels import in_order, say_if_alone, some
from ssl_runner.data.any.splits import grouped
from ssl_runner.data.any.tables import Column, Table
from ssl_runner.data.images.decode import decode_all
from ssl_runner.data.images.decoded import DecodedImages, Hold, ImageSettings, Listed, in_order_of_splits
from ssl_runner.interfaces import Contents, DataSource, Examples, ImageSpec, SplitName

NULL = {"dataset.label_column": "the images are unlabeled", "dataset.split_column": "splits are held out"}


class _Row(NamedTuple):
    line: int  # of the table
    file: Path
    label: str  # "" of an unlabeled image
    split: SplitName
    group: str


class _Found(NamedTuple):
    files: list[Path]
    splits: dict[SplitName, Listed]
    names: tuple[str, ...]


class ImageTable(DataSource):
    """Images of a .csv or .tsv file, one a row, with columns of their files, classes, splits and groups.

    Columns are named as in the first row, or numbered from 0 where it is a row like the others. Files are looked for in
    `folder`; null: that of the table. Classes are in numerical order if all are numbers, else in alphabetical order.
    Splits are called as folders of splits are (`folders.SPLITS`); one that no row has is held out of train. All images
    of a group (of a patient, a place, a video) are in one split: a table that states otherwise is refused, and whole
    groups are held out. Images are decoded as `ImageFolder` does.
    """

    def __init__(
        self,
        *,
        path: str,
        folder: str | None,
        file_column: int | str,
        label_column: int | str | None,
        split_column: int | str | None,
        group_column: int | str | None,
        **settings: Unpack[ImageSettings],
    ) -> None:
        self.path = Path(path).expanduser().absolute()
        if self.path.suffix.lower() not in (".csv", ".tsv"):
            raise ValueError(f"dataset.path {self.path} must be a .csv or a .tsv file")
        self.folder = self.path.parent if folder is None else Path(folder).expanduser().absolute()
        given = {"file": file_column, "label": label_column, "split": split_column, "group": group_column}
        self.columns: dict[str, Column] = {
            f"dataset.{name}_column": column for name, column in given.items() if column is not None
        }
        for key, column in self.columns.items():
            if type(column) is not type(file_column):
                raise ValueError(
                    f"{key} is {column} and dataset.file_column is {file_column}; all columns must be names, or all "
                    "numbers"
                )
        self.images = DecodedImages(settings)

    @property
    def spec(self) -> ImageSpec:
        found = self._found
        return self.images.spec({part: len(each.place) for part, each in found.splits.items()}, found.names)

    def check(self) -> None:
        say_if_alone(self._found.names, "if that carries no information, set dataset.label_column=null")

    def contents(self) -> Contents:
        files = {str(place): file for place, file in enumerate(self._found.files)}
        return {"path": {"": self.path}, "folder": files}

    def load(self) -> Mapping[SplitName, Examples]:
        found = self._found
        files, splits = in_order_of_splits(found.files, found.splits)
        return self.images.examples(
            f"{self.path} (dataset.path)",
            splits,
            lambda: decode_all(
                self.folder, files, self.images.how, cache=self.images.cache, workers=self.images.workers
            ),
        )

    @cached_property
    def _found(self) -> _Found:
        """The files with their splits and labels. Raises ValueError for everything that `load` could not use."""
        if not self.path.is_file():
            what = "is a folder" if self.path.is_dir() else "does not exist"
            raise ValueError(f"dataset.path {self.path} {what}; it must be a .csv or .tsv file")
        rows = list(self._row(line, values) for line, values in Table(self.path, self.columns).rows())
        if not rows:
            raise ValueError(f"dataset.path {self.path} has no rows")
        self._check_files(rows)
        self._check_groups(rows)
        names = self._names(rows)
        number = {name: place for place, name in enumerate(names)}
        groups = {group: place for place, group in enumerate(sorted({row.group for row in rows}))}
        of_group = torch.tensor([groups[row.group] for row in rows])
        listed: dict[SplitName, Listed] = {}
        for part in PARTS:
            places = [place for place, row in enumerate(rows) if row.split == part]
            if places:
                label = torch.tensor([number.get(rows[place].label, -1) for place in places])
                listed[part] = Listed(torch.tensor(places), label)
        splits = self.images.hold_out(listed, self._hold(of_group) if "dataset.group_column" in self.columns else None)
        return _Found([row.file for row in rows], splits, names)

    def _hold(self, of_group: torch.Tensor) -> Hold:
        return lambda listed, share: grouped(listed.label, of_group[listed.place], share, self.images.split_seed)

    def _row(self, line: int, values: list[str]) -> _Row:
        cells = {key: value.strip() for key, value in zip(self.columns, values, strict=True)}
        for key, value in cells.items():
            if not value:
                null = f", or set {key}=null: {NULL[key]}" if key in NULL else ""
                raise ValueError(f"{self.path}, line {line}: the cell of {key} is empty; fill it in{null}")
        stated = cells.get("dataset.split_column", "train")
        split = SPLITS.get(stated.lower())
        if split is None:
            raise ValueError(
                f"{self.path}, line {line}: the split is {stated!r} (dataset.split_column); splits are called "
                f"{', '.join(SPLITS)}"
            )
        file = self.folder / cells["dataset.file_column"]
        return _Row(line, file, cells.get("dataset.label_column", ""), split, cells.get("dataset.group_column", ""))

    def _names(self, rows: list[_Row]) -> tuple[str, ...]:
        """The classes of train, which all splits have. Raises ValueError for one that train does not have."""
        if "dataset.label_column" not in self.columns:
            return ()
        try:
            names = in_order(row.label for row in rows if row.split == "train")
        except ValueError as error:
            raise ValueError(f"{self.path}: {error}") from error
        known = set(names)
        for row in rows:
            if row.label not in known:
                raise ValueError(
                    f"{self.path}, line {row.line}: the label {row.label!r} of {row.split} is not in train, which has "
                    f"{some(names, 20)}"
                )
        if len(names) == len(rows) > 1:
            raise ValueError(
                f"{self.path}: every image has a label of its own (dataset.label_column): labels must name classes; "
                "set it to another column, or to null"
            )
        return names

    def _check_files(self, rows: list[_Row]) -> None:
        if "train" not in {row.split for row in rows}:
            raise ValueError(f"{self.path} has no row of the split train (dataset.split_column)")
        seen: dict[Path, int] = {}
        for row in rows:
            if (first := seen.setdefault(row.file, row.line)) != row.line:
                raise ValueError(f"{self.path}, lines {first} and {row.line} name the same file, {row.file}: keep one")
        missing = [row for row in rows if not row.file.is_file()]
        if missing:
            first = missing[0].line
            raise ValueError(
                f"{self.path}, line {first}: {missing[0].file} is not an existing file ({len(missing)} of {len(rows)} "
                "are missing); set dataset.folder to the folder that the paths of the table start from, or "
                "dataset.file_column to the column of the paths"
            )

    def _check_groups(self, rows: list[_Row]) -> None:
        if "dataset.group_column" not in self.columns:
            return
        seen: dict[str, _Row] = {}
        for row in rows:
            first = seen.setdefault(row.group, row)
            if first.split != row.split:
                raise ValueError(
                    f"{self.path}: the group {row.group!r} (dataset.group_column) is in {first.split} (line "
                    f"{first.line}) and in {row.split} (line {row.line}): put it in one split, or set "
                    "dataset.split_column=null, so that whole groups are held out"
                )
