"""Compose the config of a command line. Hydra only composes: it runs nothing and creates no folder.

A config may come from elsewhere (--config-dir), and Hydra builds what its own node `hydra` names. So that node stays as
Hydra has it, whatever a later version puts there: a config may set `CONFIG_SETS` of it, the command line `LINE_SETS`.
"""

import logging
import re
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, cast

from hydra import version
from hydra._internal.config_loader_impl import ConfigLoaderImpl
from hydra._internal.hydra import Hydra
from hydra._internal.sources_registry import SourcesRegistry
from hydra._internal.utils import create_config_search_path
from hydra.core.config_search_path import SearchPathQuery
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import Override
from hydra.core.plugins import Plugins
from hydra.core.utils import setup_globals
from hydra.types import RunMode
from omegaconf import DictConfig, OmegaConf
from omegaconf.basecontainer import BaseContainer

from ssl_runner.config.compose import composing, version_base
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.files import CONFIG_SETS, MODES, refusal, register
from ssl_runner.config.hints import instead
from ssl_runner.config.names import NESTED_KEYS, OLDER_KEYS, TARGET, key_now, name_now
from ssl_runner.config.paths import check_plugins, conf_dirs

LINE_SETS = ("mode", "searchpath")


class Loader(ConfigLoaderImpl):
    """Hydra's composer over conf/, those of plugins, and `folder`.

    Each composed config is checked against `CONFIG_SETS`, each list of overrides against `LINE_SETS`.
    """

    def __init__(self, folder: str | None = None) -> None:
        if (base := version_base()) is not None:
            version.setbase(base)
        register()
        setup_globals()  # Hydra's resolvers
        check_plugins()
        own, *others = conf_dirs().items()
        places = create_config_search_path(str(own[1]))
        for package, conf in others:
            places.prepend(package, f"file://{conf}", SearchPathQuery(provider="schema"))
        if folder is not None:
            path = Path(folder).absolute()
            if not path.is_dir():
                raise ConfigError([f"--config-dir is {folder!r}, which does not exist; set it to a folder of configs"])
            places.prepend("command-line", f"file://{path}", SearchPathQuery(provider="schema"))
        super().__init__(places)
        self._held = False

    def load_configuration(
        self,
        config_name: str | None,
        overrides: list[str],
        run_mode: RunMode,
        from_shell: bool = True,
        validate_sweep_overrides: bool = True,
        **more: Any,
    ) -> DictConfig:
        """Raises ConfigError, and Hydra's exceptions."""
        self._held = False
        with composing():
            check_overrides(parsed(overrides))
            cfg = super().load_configuration(
                config_name, overrides, run_mode, from_shell, validate_sweep_overrides, **more
            )
        if not self._held:  # another version of Hydra composes in another way
            raise RuntimeError(
                "this version of Hydra composes configs in a way that ssl_runner cannot check; install a "
                "supported version"
            )
        return cfg

    def words_now(self, config_name: str | None, words: Sequence[str]) -> tuple[list[str], list[str]]:
        """A command line with the names that its keys have now, and what is to be said of older ones.

        A key's name depends on the class of its node: so the other words are composed first, if there is an older one.
        """
        overrides = parsed(words)
        known = OLDER_KEYS | NESTED_KEYS
        older = [known.intersection(each.key_or_group.split(".")[1:]) for each in overrides]  # none of the root
        if not any(older):
            return list(words), []
        others = [word for word, old in zip(words, older, strict=True) if not old]
        cfg = self.load_configuration(config_name, others, RunMode.MULTIRUN, validate_sweep_overrides=False)
        found, notes = [], []
        for word, override, old in zip(words, overrides, older, strict=True):
            key = override.key_or_group
            now = _key_now(cfg, key) if old else key
            found.append(word.replace(key, now, 1))
            if now != key:
                notes.append(f"{key} is called {now} now; the older name works until 1.0")
        return found, notes

    def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> DictConfig:
        """What files say, before Hydra puts the command line and what it knows itself into it."""
        cfg = super()._compose_config_from_defaults_list(defaults, repo)
        node = cast(dict[str, Any], OmegaConf.to_container(cfg.hydra, resolve=False))
        own = _untouched()
        free = {f"hydra.{key}" for key in CONFIG_SETS}
        differ = [key for key in _differences(node, own, "hydra") if key not in free]
        if node.get("mode") not in MODES:
            differ.append("hydra.mode")
        if differ:
            raise ConfigError([refusal(differ)])
        self._held = True
        return cfg


def _key_now(cfg: DictConfig, key: str) -> str:
    """What a dotted key of a config is called now."""
    node: Any = cfg
    path: list[str] = []
    for part in key.split("."):
        here = node if isinstance(node, DictConfig) else {}
        target = here.get(TARGET)
        owner = name_now(target) if isinstance(target, str) else ".".join(path)
        now = part if part in here else key_now(owner, part)
        path += now.split(".")
        node = OmegaConf.select(cfg, ".".join(path), throw_on_missing=False)
    return ".".join(path)


def parsed(overrides: Sequence[str]) -> list[Override]:
    return OverridesParser.create().parse_overrides(list(overrides))


def check_overrides(overrides: Sequence[Override]) -> None:
    """Raise ConfigError for parsed overrides of `hydra` that are not `LINE_SETS`."""
    may = ", ".join(f"hydra.{each}" for each in LINE_SETS)
    problems = [
        f"{each.key_or_group}: the only keys of hydra.* that the command line may set are {may}"
        f"{instead(each.key_or_group)}"
        for each in overrides
        if of_hydra(each) and each.key_or_group not in {f"hydra.{key}" for key in LINE_SETS}
    ]
    if problems:
        raise ConfigError(problems)


def of_hydra(override: Override) -> bool:
    """Whether an override sets a key of Hydra's node."""
    return any(re.split(r"[./@:\[]", place or "")[0] == "hydra" for place in (override.key_or_group, override.package))


_own: dict[str, Any] = {}


def _untouched() -> dict[str, Any]:
    """Hydra's node as Hydra itself composes it."""
    if not _own:

        class Untouched(ConfigLoaderImpl):
            def _compose_config_from_defaults_list(self, defaults: Any, repo: Any) -> DictConfig:
                cfg = super()._compose_config_from_defaults_list(defaults, repo)
                _own.update(cast(dict[str, Any], OmegaConf.to_container(cfg.hydra, resolve=False)))
                return cfg

        Untouched(create_config_search_path(None)).load_configuration(None, [], RunMode.RUN)
    return _own


def _differences(one: Any, other: Any, path: str) -> Iterator[str]:
    """Dotted keys whose values are unlike."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        for key in {**one, **other}:
            if key not in one or key not in other:
                yield f"{path}.{key}"
            else:
                yield from _differences(one[key], other[key], f"{path}.{key}")
    elif one != other or type(one) is not type(other):
        yield path


def compose_line(loader: Loader, name: str, overrides: Sequence[str], several: bool) -> tuple[DictConfig, bool]:
    """The config of a command line, and whether it describes several runs (`several`: --multirun was given)."""
    cfg = loader.load_configuration(name, list(overrides), RunMode.MULTIRUN, validate_sweep_overrides=False)
    if several or cfg.hydra.mode == RunMode.MULTIRUN:
        return cfg, True
    return loader.load_configuration(name, list(overrides), RunMode.RUN), False


def application(loader: Loader) -> Hydra:
    """Hydra's application object with our loader, used for printing and composing only."""
    return Hydra(Path(sys.argv[0]).name, loader)


@contextmanager
def apart() -> Iterator[None]:
    """Compose inside of a process that may use Hydra itself: Hydra's global state is as at the start of a process, and
    afterwards as it was before."""
    Plugins.instance()  # which registers Hydra's readers once in a process
    registry, hydra, config = SourcesRegistry.instance(), GlobalHydra.instance(), HydraConfig.instance()
    base = version.VersionBase.instance()
    before = registry.types.copy(), hydra.hydra, config.cfg, base.version_base
    resolvers = BaseContainer._resolvers.copy()
    hydra.hydra = config.cfg = None
    try:
        yield
    finally:
        registry.types, hydra.hydra, config.cfg, base.version_base = before
        BaseContainer._resolvers = resolvers


def show(loader: Loader, args: Any, parser: Any, name: str) -> None:
    """Print what Hydra prints of a config and of itself: --hydra-help, --cfg, --info and --shell-completion."""
    app = application(loader)
    if args.hydra_help:
        app.hydra_help(config_name=name, args_parser=parser, args=args)
    elif args.cfg:
        app.show_cfg(name, args.overrides, args.cfg, args.package, args.resolve)
    elif args.info:
        loader.load_configuration(name, args.overrides, RunMode.RUN)  # refused before Hydra sets up its logs
        logging.raiseExceptions = False  # it is logged, and logging would print a traceback a line to a closed pipe
        app.show_info(args.info, config_name=name, overrides=args.overrides)
    else:
        app.shell_completion(config_name=name, overrides=args.overrides)
