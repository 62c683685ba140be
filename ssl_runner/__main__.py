"""`ssl-run`, or `python -m ssl_runner`: pretrain and evaluate. Nothing heavy is imported before Hydra has composed."""

from omegaconf import DictConfig

from ssl_runner.commands.refusals import hydra_main


def task(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    from ssl_runner.config import typed, with_names

    hydra = HydraConfig.get()
    plain = with_names(cfg, hydra.runtime.choices)
    config = typed(plain)
    from ssl_runner.commands.run import run

    run(config, plain, list(hydra.overrides.task))


def main() -> None:
    """Entry point of `ssl-run`."""
    hydra_main(task, "config")


if __name__ == "__main__":
    main()
