"""`ssl-run`, or `python -m ssl_runner`: pretrain and evaluate. Nothing heavy is imported before Hydra has composed."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig

from ssl_runner.commands.refusals import hydra_main

if TYPE_CHECKING:
    from ssl_runner.composing import Loader


def task(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from ssl_runner.config import typed, with_names

    hydra = HydraConfig.get()
    plain = with_names(cfg, hydra.runtime.choices)
    config = typed(plain)
    from ssl_runner.commands.run import run

    run(config, plain, list(hydra.overrides.task))


def several(loader: "Loader", name: str, hydra: list[str], overrides: list[str]) -> None:
    from ssl_runner.commands.sweep import sweep

    sweep(loader, name, hydra, overrides)


def main() -> None:
    """Entry point of `ssl-run`."""
    hydra_main(task, "config", several)


if __name__ == "__main__":
    main()
