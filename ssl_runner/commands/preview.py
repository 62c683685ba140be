"""`ssl-preview objective=... dataset=...`: a picture of what `split` makes of a batch, before any training."""

from pathlib import Path

from omegaconf import DictConfig

from ssl_runner.commands.refusals import hydra_main
from ssl_runner.config import ConfigError, typed, with_names


def task(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    config = typed(with_names(cfg, HydraConfig.get().runtime.choices))

    import torch

    from ssl_runner import build
    from ssl_runner.drawing import spread, task_pictures
    from ssl_runner.reporting.plots import save_figure

    source, spec = build.validate(config)
    try:
        examples = source.load()["val"]
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    model = build.objective(config, spec)
    torch.manual_seed(config.seed)
    pictures = task_pictures(model, spread(examples, spec, 8, torch.device("cpu")), predict=False)
    names = config.names
    name = f"{names['objective']}-{names['dataset']}"
    path = save_figure(Path(config.output) / "previews", name, pictures, f"{names['objective']} on {names['dataset']}")
    print(f"{path}: {pictures.note}")


def main() -> None:
    """Entry point of `ssl-preview`."""
    hydra_main(task, "config")


if __name__ == "__main__":
    main()
