"""Locations of config files, and safe file names."""

import re
from collections.abc import Iterator
from pathlib import Path

from ssl_runner.config import plugins
from ssl_runner.config.errors import ConfigError

FLOORS = {"evaluation": ("any", "images", "text", "video")}  # groups whose options lie in folders by what they read
FOLDERS = ("experiment",)  # groups whose options may lie in folders, which are part of their names: cifar10/simclr
PARTS = {"objective/parts": "objective"}  # groups of named parts -> the group whose options can be one


def conf_dir() -> Path:
    """conf/ inside an installed package, or beside it in a checkout."""
    package = Path(__file__).resolve().parents[1]
    return next(folder for folder in (package / "conf", package.parent / "conf") if folder.is_dir())


def conf_dirs() -> dict[str, Path]:
    """The folders of options by package, ours first: conf/, and that of each plugin. Raises ConfigError."""
    return plugins.configs(conf_dir())


def options(group: str) -> dict[str, Path]:
    """The options of a group, plugins' included: name -> file, sorted by name."""
    folders = [conf / group for conf in conf_dirs().values()]
    places = [folder / floor for folder in folders for floor in ("", *FLOORS.get(group, ()))]
    files = {path.stem: path for place in reversed(places) for path in place.glob("*.yaml")}
    if group in FOLDERS:
        files |= {name: path for folder in folders for name, path in _below(folder)}
    return dict(sorted(files.items()))


def _below(folder: Path) -> Iterator[tuple[str, Path]]:
    """The options in folders within that of a group, named with them."""
    return ((path.relative_to(folder).with_suffix("").as_posix(), path) for path in folder.glob("*/*.yaml"))


def option_class(group: str, option: str) -> str | None:
    """The class that an option of conf/ names; None where there is no such option, or it names none."""
    file = options(group).get(option)
    found = file and re.search(r"^_target_: *(\S+)", file.read_text(encoding="utf-8"), re.MULTILINE)
    return found[1] if found else None


def groups() -> list[str]:
    """The groups of conf/ and of plugins, nested ones too: "objective/views"."""
    return sorted({group for conf in conf_dirs().values() for group in _groups(conf)} - {"."})


def _groups(conf: Path) -> set[str]:
    floors = {f"{group}/{floor}" for group, names in FLOORS.items() for floor in names}
    within = [path for group in FOLDERS for path in (conf / group).glob("*/*.yaml")]
    floors |= {path.parent.relative_to(conf).as_posix() for path in within}
    return {path.parent.relative_to(conf).as_posix() for path in conf.rglob("*.yaml")} - floors


def check_plugins() -> None:
    """Raise ConfigError where a plugin has an option that exists, or a folder that is no group."""
    first, *others = conf_dirs().items()
    known = {group: dict.fromkeys(_in(first[1], group), first[0]) for group in _groups(first[1])}
    for package, conf in others:
        for group in sorted(_groups(conf)):
            if group not in known or group == ".":
                raise ConfigError(
                    [
                        f"plugin {package}: {conf / group} is no folder of options; the groups are: "
                        + ", ".join(sorted(known.keys() - {"."}))
                    ]
                )
            for name in _in(conf, group):
                owner = known[group].setdefault(name, package)
                if owner != package:
                    raise ConfigError(
                        [f"plugin {package}: {group}={name} is an option of {owner} already; name it otherwise"]
                    )


def _in(conf: Path, group: str) -> list[str]:
    """The names of the options that a folder has of a group."""
    own = [path.stem for floor in ("", *FLOORS.get(group, ())) for path in (conf / group / floor).glob("*.yaml")]
    return own + [name for name, _ in _below(conf / group) if group in FOLDERS]


def file_name(text: str) -> str:
    """`text` as a valid name of a single file, without path separators.

    >>> file_name("../objective/loss=a b")
    '...objective.loss=a-b'
    """
    return re.sub(r"[^\w.+=,-]", "-", text.replace("/", "."))[:150]
