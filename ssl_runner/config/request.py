"""The request for one run: passed from the command line through the run, and through job files."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from omegaconf import DictConfig

from ssl_runner.config import identity
from ssl_runner.config.schema import Config, typed

AXES = ("dataset", "objective", "backbone")
CONTENTS = "contents"  # the key of the fingerprints of files; configs of older versions lack it


@dataclass(frozen=True)
class RunRequest:
    """A run's config and its origin. `assembly.places` adds fingerprints of files, and finds older runs."""

    config: Config
    plain: Mapping[str, Any]  # the same, composed and resolved, as config.yaml keeps it
    overrides: tuple[str, ...] = ()  # of the command line, that compose it
    label: str = ""  # what tells it apart from the others of its sweep: "ratio=0.75 s0"
    sweep: str = ""  # the sweep's name; "": it is part of none
    older: Path | None = None  # where an older version began it, if one did; it goes on there

    @classmethod
    def of(
        cls, plain: Mapping[str, Any], overrides: Sequence[str] = (), label: str = "", sweep: str = ""
    ) -> "RunRequest":
        """Of a composed config. Raises ConfigError where `schema.typed` does."""
        return cls(typed(plain), plain, tuple(overrides), label, sweep)

    @classmethod
    def composed(cls, cfg: DictConfig) -> "RunRequest":
        """Of the config that Hydra has composed last. Raises ConfigError."""
        from hydra.core.hydra_config import HydraConfig

        from ssl_runner.config.compose import with_names

        hydra = HydraConfig.get()
        return cls.of(with_names(cfg, hydra.runtime.choices), list(hydra.overrides.task))

    @cached_property
    def identity(self) -> str:
        """A hash of all settings and data that can change the result: ten hexadecimal digits."""
        return identity.identity(self.plain)

    @cached_property
    def setting(self) -> str:
        """The identity that the run would have with seed 0: equal for the seeds of a setting."""
        return identity.identity({**self.plain, "seed": 0})

    @property
    def own_folder(self) -> Path:
        """The folder that the identity names."""
        return identity.folder_named(self.config, self.identity)

    @property
    def folder(self) -> Path:
        """The run's folder."""
        return self.own_folder if self.older is None else self.older

    @property
    def described(self) -> str:
        """The options of its main axes, as the command line says them."""
        return described(self.config.names, self.config.control)

    @property
    def name(self) -> str:
        """What loggers call the run."""
        names, control = self.config.names, identity.control_suffix(self.config)
        return self.label or f"{names.get('objective')}-{names.get('dataset')}{control}-s{self.config.seed}"


def described(names: Mapping[str, Any], control: str) -> str:
    """The options of the main axes, as the command line says them: "dataset=mnist objective=mae backbone=vit_micro"."""
    return " ".join(f"{axis}={names.get(axis, '?')}" for axis in AXES) + f" control={control}" * (control != "none")
