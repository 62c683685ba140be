"""`ssl-run`, or `python -m ssl_runner`: pretrain and evaluate. Nothing heavy is imported before Hydra has composed."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from ssl_runner.commands.cli import hydra_main
from ssl_runner.runtime.terminal import say

if TYPE_CHECKING:
    from ssl_runner.config.loader import Loader


def task(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from ssl_runner.config.compose import with_names
    from ssl_runner.config.names import older_names
    from ssl_runner.config.request import RunRequest

    hydra = HydraConfig.get()
    plain = with_names(cfg, hydra.runtime.choices)
    request = RunRequest.of(plain, list(hydra.overrides.task))
    for older, now in older_names(OmegaConf.to_container(cfg, resolve=False)):
        say(f"note: {older} is called {now} now; the older name works until 1.0")
    from ssl_runner.commands.run import run

    run(request)


def several(loader: "Loader", name: str, hydra: list[str], overrides: list[str]) -> None:
    from ssl_runner.commands.sweep import sweep

    sweep(loader, name, hydra, overrides)


def main() -> None:
    """Entry point of `ssl-run`."""
    hydra_main(task, "config", several)


if __name__ == "__main__":
    main()
