"""A restricted reader of config files: no YAML bombs, no files outside of the folder, no execution of code."""

import os
import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, cast

from hydra._internal.core_plugins.file_config_source import FileConfigSource
from hydra._internal.core_plugins.importlib_resources_config_source import ImportlibResourcesConfigSource
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.object_type import ObjectType
from hydra.core.plugins import Plugins
from hydra.plugins.config_source import ConfigResult
from hydra.types import RunMode
from omegaconf import OmegaConf

from ssl_runner.config.errors import ConfigError
from ssl_runner.config.names import RENAMED
from ssl_runner.config.paths import FLOORS, PARTS, conf_dir, conf_dirs
from ssl_runner.config.plain_yaml import check_text

CONFIG_SETS = ("mode",)  # of hydra.*: presets of conf/sweep/ say that they are several runs
MODES = (None, *(mode.name for mode in RunMode), *RunMode)
MOST_BYTES = 2**20  # of a config file; the largest of conf/ has 5,000
_parsed: dict[str, tuple[tuple[int, int], bytes]] = {}  # address -> time of change and size; the pickled ConfigResult


def register() -> None:
    """Make `Files` Hydra's reader of all config files, and `Packaged` that of its own."""
    Plugins.instance()  # which registers Hydra's own readers
    SourcesRegistry.instance().types |= {Files.scheme(): Files, Packaged.scheme(): Packaged}


def parsed_once(address: str, state: tuple[int, int], parse: Callable[[], ConfigResult]) -> ConfigResult:
    """What `parse` gives, by a copy of what it gave before in this process if `state` is the same.

    Parsing is a third of the time of composing a config. Hydra changes what it is given, so each caller gets a copy; by
    pickle, which is six times as fast as deepcopy.
    """
    known = _parsed.get(address)
    if known is None or known[0] != state:
        known = _parsed[address] = state, pickle.dumps(parse())
    return cast(ConfigResult, pickle.loads(known[1]))


class Packaged(ImportlibResourcesConfigSource):
    """Hydra's reader of configs in Python packages, which parses each of Hydra's own once."""

    def load_config(self, config_path: str) -> ConfigResult:
        if self.path != "hydra.conf":
            return super().load_config(config_path)
        read = super().load_config
        return parsed_once(f"pkg://{self.path}/{config_path}", (0, 0), lambda: read(config_path))


class Files(FileConfigSource):
    """Hydra's reader of config files, restricted: no YAML bombs, no files outside of the folder. Files that are not
    part of conf/ may set only `CONFIG_SETS` of `hydra`, since Hydra acts on some of it before a config is composed.

    An option of a group that has `FLOORS` lies on one of them, and is named without it: evaluation=linear. The options
    of a group of `PARTS` are those of another one, besides files of its own.
    """

    def load_config(self, config_path: str) -> ConfigResult:
        """A file of conf/, or of a plugin's, is parsed once, unless it changes."""
        file = Path(self.path, self._normalize_file_name(self._on_floor(config_path)))
        if not file.is_file() or Path(self.path).resolve() not in conf_dirs().values():
            return self._load(config_path)
        stat = file.stat()
        return parsed_once(str(file), (stat.st_mtime_ns, stat.st_size), lambda: self._load(config_path))

    def _load(self, config_path: str) -> ConfigResult:
        if part := self._part(config_path):
            return part
        name = self._normalize_file_name(self._on_floor(config_path))
        inside = os.path.normpath(name)
        if os.path.isabs(inside) or inside.startswith(".."):
            raise ConfigError([f"{config_path!r} is outside of the config folder {self.path!r}"])
        file = Path(self.path, name)
        if not file.is_file():
            return super().load_config(config_path)  # which says so
        try:
            if file.stat().st_size > MOST_BYTES:
                raise ValueError(f"it has {file.stat().st_size:,} bytes; the limit for a config is {MOST_BYTES:,}")
            check_text(file.read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError([f"{str(file)!r} cannot be read: {error}"]) from error
        result = super().load_config(self._on_floor(config_path))
        if Path(self.path).resolve() != conf_dir() and OmegaConf.is_dict(result.config):
            node = OmegaConf.to_container(result.config, resolve=False).get("hydra")  # type: ignore[union-attr]
            if keys := not_to_be_set({} if node is None else node):
                raise ConfigError([refusal(keys, f"{str(file)!r}: ")])
        return result

    def _part(self, config_path: str) -> ConfigResult | None:
        """An option of a group of `PARTS` that has no file: the option of that name of the other group, as a part.

        objective/parts=[rotation] is objective@objective.parts.rotation=rotation, and a weight of 1.
        """
        group, _, name = config_path.removesuffix(".yaml").rpartition("/")
        whole = PARTS.get(group)
        if whole is None or super().is_config(config_path) or not super().is_config(f"{whole}/{name}"):
            return None
        config = {"defaults": [{f"/{whole}@parts.{name}": name}, "_self_"], "weights": {name: 1.0}}
        return ConfigResult(
            provider=self.provider, path=self.full_path(), config=OmegaConf.create(config), header={"package": whole}
        )

    def is_config(self, config_path: str) -> bool:
        return super().is_config(self._on_floor(config_path)) or self._part(config_path) is not None

    def is_group(self, config_path: str) -> bool:
        group, _, folder = config_path.rpartition("/")
        return folder not in FLOORS.get(group, ()) and super().is_group(config_path)

    def list(self, config_path: str, results_filter: ObjectType | None) -> list[str]:
        found = super().list(config_path, results_filter)
        floors = FLOORS.get(config_path, ())
        on_floors = [
            name
            for floor in floors
            if Path(self.path, config_path, floor).is_dir()
            for name in super(Files, self).list(f"{config_path}/{floor}", results_filter)
        ]
        parts = super().list(PARTS[config_path], ObjectType.CONFIG) if config_path in PARTS else []
        return sorted(
            {*(name for name in found if name not in floors or results_filter != ObjectType.GROUP), *on_floors, *parts}
        )

    def _on_floor(self, config_path: str) -> str:
        """`config_path` with the floor that its file lies on, where it lies on one."""
        config_path = RENAMED.get(config_path, config_path)  # an option may have been renamed
        group, _, option = config_path.rpartition("/")
        if super().is_config(config_path):
            return config_path
        places = [f"{group}/{floor}/{option}" for floor in FLOORS.get(group, ())]
        return next((place for place in places if super(Files, self).is_config(place)), config_path)


def not_to_be_set(node: Any) -> list[str]:
    """The keys of `hydra` that a config sets without being allowed to. `node`: its node `hydra`, as in the file."""
    if not isinstance(node, Mapping):
        return ["hydra"]
    keys = [key for name, value in node.items() if name not in CONFIG_SETS for key in _keys(value, f"hydra.{name}")]
    return keys if node.get("mode") in MODES else ["hydra.mode", *keys]


def _keys(node: Any, path: str) -> Iterator[str]:
    if isinstance(node, Mapping) and node:
        for key, value in node.items():
            yield from _keys(value, f"{path}.{key}")
    else:
        yield path


def refusal(keys: Sequence[str], file: str = "") -> str:
    """`hydra.mode` is among the keys where it is not written out: what it holds may be different the next time."""
    return (
        f"{file}{', '.join(keys)}: a config may not set this, since Hydra could execute code through it; "
        "the only key of hydra.* it may set is mode, to RUN or MULTIRUN"
    )
