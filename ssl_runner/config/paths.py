"""Locations of config files, and safe file names."""

import re
from pathlib import Path

FLOORS = {"evaluation": ("any", "images", "text", "video")}  # groups whose options lie in folders by what they read


def conf_dir() -> Path:
    """conf/ inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def options(group: str) -> dict[str, Path]:
    """The options of a group of conf/: name -> file, sorted by name."""
    folder = conf_dir() / group
    places = [folder, *(folder / floor for floor in FLOORS.get(group, ()))]
    files = {path.stem: path for place in places for path in place.glob("*.yaml")}
    return dict(sorted(files.items()))


def option_class(group: str, option: str) -> str | None:
    """The class that an option of conf/ names; None where there is no such option, or it names none."""
    file = options(group).get(option)
    found = file and re.search(r"^_target_: *(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def groups() -> list[str]:
    """The groups of conf/, nested ones too: "objective/views"."""
    floors = {f"{group}/{floor}" for group, names in FLOORS.items() for floor in names}
    folders = {path.parent.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml")}
    return sorted(folders - floors - {"."})


def file_name(text: str) -> str:
    """`text` as a valid name of a single file, without path separators.

    >>> file_name("../objective/loss=a b")
    '...objective.loss=a-b'
    """
    return re.sub(r"[^\w.+=,-]", "-", text.replace("/", "."))[:150]
