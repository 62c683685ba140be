"""`ssl-run`, or `python -m ssl_runner`: pretrain and evaluate. Nothing heavy is imported before Hydra has composed."""

import sys

from omegaconf import DictConfig, OmegaConf

from ssl_runner.commands.refusals import hydra_main


def task(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from ssl_runner.config import typed, with_names
    from ssl_runner.names import older_names

    hydra = HydraConfig.get()
    plain = with_names(cfg, hydra.runtime.choices)
    config = typed(plain)
    for older, now in older_names(OmegaConf.to_container(cfg, resolve=False)):
        print(f"note: {older} is called {now} now; the older name works until 1.0", file=sys.stderr)
    from ssl_runner.commands.run import run

    run(config, plain, list(hydra.overrides.task))


def main() -> None:
    """Entry point of `ssl-run`."""
    hydra_main(task, "config")


if __name__ == "__main__":
    main()
