"""A user's own files in folders: parts (train, val, test), classes, files."""

import os
from collections.abc import Iterator
from pathlib import Path

from ssl_runner.interfaces import SplitName

PARTS: tuple[SplitName, ...] = ("train", "val", "test")


class Tree:
    """Files with one of `suffixes` under `root`; what they are is called `what`: "image".

    Where the folders in `root` are train/ and perhaps val/ and test/, and no other, they are those parts. With
    `classes` each folder in a part is a class, files may lie deeper in it; else folders mean nothing. Hidden files are
    ignored.
    """

    def __init__(self, root: Path, suffixes: frozenset[str], what: str, classes: bool) -> None:
        self.root = root
        self.suffixes = suffixes
        self.what = what
        self.classes = classes

    def parts(self) -> dict[str, Path]:
        """Raises ValueError where there is no such folder."""
        if not self.root.is_dir():
            raise ValueError(f"dataset.path {self.root} is not a folder that is there; {self.expected()}")
        folders = _folders(self.root)
        if "train" in folders and set(folders) <= set(PARTS):
            return {part: self.root / part for part in PARTS if part in folders}
        return {"train": self.root}

    def class_names(self) -> tuple[str, ...]:
        """Raises ValueError where train has no classes, or another part has more."""
        parts = self.parts()
        if not self.classes:
            return ()
        names = _folders(parts["train"])
        if not names:
            flat = next(self.files(parts["train"]), None) is not None
            advice = f"{self.what}s lie flat in it: set dataset.labels=none" if flat else self.expected()
            raise ValueError(f"there are no class folders in {parts['train']} (dataset.path); {advice}")
        for part, folder in parts.items():
            if strange := sorted(set(_folders(folder)) - set(names)):
                raise ValueError(
                    f"{folder} (dataset.path) has class folders that train lacks: {', '.join(strange)} ({part})"
                )
        return tuple(names)

    def check(self) -> None:
        """Raise ValueError where there is nothing to read."""
        names = self.class_names()
        for part, folder in self.parts().items():
            # Every class needs files to train on; val and test may lack some.
            holders = [folder / name for name in names] if part == "train" and names else [folder]
            for holder in holders:
                if next(self.files(holder), None) is None:
                    raise ValueError(f"there is no {self.what} in {holder} (dataset.path); {self.expected()}")

    def labelled(self, folder: Path) -> tuple[list[Path], list[int]]:
        """The files of a part with their classes, -1 without classes; in order."""
        names = self.class_names()
        groups = [sorted(self.files(folder / name)) for name in names] or [sorted(self.files(folder))]
        first = 0 if names else -1
        return (
            [path for group in groups for path in group],
            [label for label, group in enumerate(groups, first) for _ in group],
        )

    def named(self) -> dict[str, Path]:
        """All files by their places in `root`."""
        return {path.relative_to(self.root).as_posix(): path for path in self.files(self.root)}

    def files(self, folder: Path) -> Iterator[Path]:
        """At any depth, hidden ones left out."""
        for place, folders, files in os.walk(folder, followlinks=True):
            folders[:] = [name for name in folders if not name.startswith(".")]
            for name in files:
                if not name.startswith(".") and os.path.splitext(name)[1].lower() in self.suffixes:
                    yield Path(place, name)

    def expected(self) -> str:
        return (
            f"it must hold class folders with {self.what}s ({', '.join(sorted(self.suffixes))}), or {self.what}s with "
            "dataset.labels=none"
        )


def _folders(folder: Path) -> list[str]:
    return sorted(entry.name for entry in os.scandir(folder) if entry.is_dir() and not entry.name.startswith("."))
