"""Plugins: packages of users, whose classes a config may name and whose folder conf/ adds options.

A package takes part because someone with a shell on this machine says so: it is installed with an entry point of the
group `ssl_runner.plugins`, named by --plugin, or named in the variable SSL_RUNNER_PLUGINS. Nothing that is read from a
file enables one: neither a config, a job file, nor an exported encoder. The processes that a command starts inherit the
variable.
"""

import os
import sys
from collections.abc import Iterable
from functools import lru_cache
from importlib import metadata
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec
from pathlib import Path
from typing import NamedTuple

from ssl_runner.config.errors import ConfigError

GROUP = "ssl_runner.plugins"  # of entry points
VARIABLE = "SSL_RUNNER_PLUGINS"  # names of packages, comma-separated
SEARCHED = "PYTHONPATH"  # by which processes to come find a package of the working directory


class Plugin(NamedTuple):
    """A package that takes part."""

    package: str  # as `import` names it
    folder: Path | None  # where its files lie; None: it is a single module

    @property
    def conf(self) -> Path | None:
        """Its folder of options, if it has one."""
        return self.folder / "conf" if self.folder is not None and (self.folder / "conf").is_dir() else None

    @property
    def version(self) -> str:
        """Of its distribution, else its `__version__`, else "unknown"."""
        try:
            return metadata.version(self.package)
        except metadata.PackageNotFoundError:
            names = metadata.packages_distributions().get(self.package, [])
        if names:
            return metadata.version(names[0])
        return str(getattr(sys.modules.get(self.package), "__version__", "unknown"))


def enabled() -> tuple[Plugin, ...]:
    """The packages that take part, by name. Raises ConfigError where one of them cannot be found."""
    return _enabled(os.environ.get(VARIABLE, ""))


def enable(packages: Iterable[str]) -> None:
    """Have packages take part in this process and in those that it starts.

    One that is not installed is looked for in the working directory. Raises ConfigError where one cannot be found.
    """
    named = os.environ.get(VARIABLE, "")
    asked = dict.fromkeys([*_names(named), *(name for given in packages for name in _names(given))])
    for package in asked:
        _find(package, "--plugin")
    if asked:
        os.environ[VARIABLE] = ",".join(asked)


def enable_plugin(*packages: str) -> None:
    """Have packages of yours take part in this Python process and in those that it starts, as --plugin does.

    Raises ConfigError where a package cannot be found.
    """
    enable(packages)


def words() -> list[str]:
    """The flags of a command line that has the plugins of this process, less those that are enabled by themselves."""
    return [word for name in _names(os.environ.get(VARIABLE, "")) for word in ("--plugin", name)]


def environment() -> dict[str, str]:
    """The variables by which a process on another machine finds the plugins of this one."""
    return {name: os.environ[name] for name in (VARIABLE, SEARCHED) if os.environ.get(VARIABLE) and name in os.environ}


def versions() -> dict[str, str]:
    """Package -> version, of all that take part."""
    return {plugin.package: plugin.version for plugin in enabled()}


def is_of(target: str, packages: Iterable[str]) -> bool:
    """Whether a dotted name lies in one of the packages.

    >>> is_of("my_ssl.tasks.Tilt", ["my_ssl"]), is_of("my_ssl_2.Tilt", ["my_ssl"])
    (True, False)
    """
    return any(f"{target}.".startswith(f"{package}.") for package in packages)


def missing(target: str) -> str:
    """The end of a message about a class that no config may name: how its package is enabled, if that may be meant."""
    package, _, inside = target.partition(".")
    if not inside or not package.isidentifier() or package in (*sys.stdlib_module_names, "ssl_runner", "torch"):
        return ""
    return f"; if you trust the package {package}, enable it: --plugin {package}, or {VARIABLE}={package}"


@lru_cache
def _enabled(named: str) -> tuple[Plugin, ...]:
    """`named`: the value of the variable."""
    found = {package: _find(package, VARIABLE) for package in _names(named)}
    for point in metadata.entry_points(group=GROUP):
        if point.module not in found:
            by = f"an entry point of {point.dist.name}" if point.dist is not None else "an entry point"
            found[point.module] = _find(point.module, by)
    return tuple(sorted(found.values()))


def _names(text: str) -> list[str]:
    return [name.strip() for name in text.split(",") if name.strip()]


def _find(package: str, by: str) -> Plugin:
    """A package, without importing it. Raises ConfigError."""
    parts = package.split(".")
    if not all(part.isidentifier() for part in parts):
        raise ConfigError([f"{by}: {package!r} is not the name of a Python package; name it as import does: my_ssl"])
    if parts[0] in (*sys.stdlib_module_names, "ssl_runner", "torch"):
        raise ConfigError([f"{by}: {package} is no package of yours; name the one that holds your classes"])
    spec = _spec(package, by)
    if spec is None:
        raise ConfigError(
            [f"{by}: no package {package} is installed, and none lies in the working directory ({Path.cwd()})"]
        )
    places = list(spec.submodule_search_locations or [])
    return Plugin(package, Path(places[0]) if places else None)


def _spec(package: str, by: str) -> ModuleSpec | None:
    """Where a package lies, the working directory last."""
    here = str(Path.cwd())
    try:
        found = find_spec(package)
        if found is None and PathFinder.find_spec(package, [here]) is not None:
            sys.path.append(here)
            found = find_spec(package)
    except ModuleNotFoundError:  # of the package that it lies in
        return None
    except Exception as error:  # of that package, which is imported
        raise ConfigError([f"{by}: {package} cannot be found: {type(error).__name__}: {error}"]) from error
    if found is not None and found.origin is not None and Path(found.origin).is_relative_to(here):
        searched = [each for each in os.environ.get(SEARCHED, "").split(os.pathsep) if each]
        os.environ[SEARCHED] = os.pathsep.join(dict.fromkeys([*searched, here]))
    return found


def configs(own: Path) -> dict[str, Path]:
    """The folders of options: "ssl_runner" -> `own`, and package -> conf/ of each plugin that has one."""
    return {"ssl_runner": own} | {plugin.package: plugin.conf for plugin in enabled() if plugin.conf is not None}
