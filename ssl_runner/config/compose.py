"""Compose a config as the command line does, and resolve it to a plain dict."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import MissingMandatoryValue, OmegaConfBaseException

from ssl_runner.config.errors import ConfigError
from ssl_runner.config.secrets import secrets_in


def with_names(cfg: DictConfig, choices: Mapping[str, Any]) -> dict[str, Any]:
    """The composed config as a plain, resolved dict, with the chosen option of each axis as `names`."""
    names = {axis: option for axis, option in choices.items() if "hydra" not in axis and isinstance(option, str)}
    own = OmegaConf.masked_copy(cfg, [str(key) for key in cfg if key != "hydra"])
    try:
        plain: Any = OmegaConf.to_container(own, resolve=True, throw_on_missing=True)
    except OmegaConfBaseException as error:
        key = getattr(error, "full_key", None) or "?"
        missing = isinstance(error, MissingMandatoryValue)
        raise ConfigError(
            [f"{key}: it must be set: {key}=..." if missing else f"{key}: {str(error).splitlines()[0]}"]
        ) from error
    if secret := secrets_in(plain):
        raise ConfigError(secret)  # by itself: other messages repeat values
    return {"evaluation": {}, "logger": {}} | plain | {"names": names}  # an empty choice leaves no key


def compose(overrides: Sequence[str] = (), name: str = "config") -> dict[str, Any]:
    """Compose as the command line does, for programs and tests. Raises Hydra's own exceptions for its gate."""
    cfg = composed(overrides, name)
    return with_names(cfg, cfg.hydra.runtime.choices)


def composed(overrides: Sequence[str], name: str) -> DictConfig:
    """A config as Hydra composes it, its node `hydra` included; inside a task of Hydra's, from that task's folders."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.types import RunMode

    from ssl_runner.config.loader import Loader

    hydra = GlobalHydra.instance()
    loader = hydra.config_loader() if hydra.is_initialized() else Loader()
    if isinstance(loader, Loader):
        overrides = loader.words_now(name, overrides)[0]
    with composing():
        return loader.load_configuration(name, list(overrides), RunMode.RUN)


@contextmanager
def composing() -> Iterator[None]:
    """Pass Hydra's own exceptions on; turn all others that it raises for invalid input into a ConfigError."""
    from hydra.errors import HydraException

    try:
        yield
    except (HydraException, ConfigError, BrokenPipeError):  # the last: of --cfg, whose output is no longer read
        raise
    except Exception as error:  # of many kinds, AssertionError and RecursionError among them
        why = (str(error).splitlines() or [""])[0] or type(error).__name__
        raise ConfigError(
            [f"the command line or config cannot be parsed: {why}; write key=value, each argument in quotes"]
        ) from error


def version_base() -> str | None:
    """Hydra 1.3 warns without it, 1.4 warns with it."""
    import hydra

    return "1.3" if hydra.__version__.startswith("1.3") else None
