"""`ssl-preview objective=... dataset=...`: a picture of the x and y that `split` makes of a batch, untrained."""

import sys
from dataclasses import replace
from pathlib import Path

from omegaconf import DictConfig

from ssl_runner.commands.cli import Answer, hydra_main
from ssl_runner.commands.help import Command
from ssl_runner.config.compose import with_names
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import typed
from ssl_runner.runtime.terminal import plain as plain_text
from ssl_runner.runtime.terminal import say

COMMAND = Command(
    "ssl-preview",
    "config",
    "Draw the inputs x and targets y that an objective makes of a dataset, before any training.",
    (
        ("ssl-preview objective=rotation", "rotated digits and the angle that is to be predicted"),
        ("ssl-preview objective=simclr objective/views=natural dataset=cifar10", "two views of each image"),
        ("ssl-preview objective=bert backbone=bert_tiny dataset=wiki_sample", "masked tokens, printed as text too"),
    ),
)


def task(cfg: DictConfig) -> Answer:
    from hydra.core.hydra_config import HydraConfig

    config = typed(with_names(cfg, HydraConfig.get().runtime.choices))

    import torch

    from ssl_runner.assembly import check, construct
    from ssl_runner.data.any.tensors import Splits

    source, _ = check.validate(replace(config, batch_size=min(config.batch_size, 2)))  # a picture needs no whole batch
    try:
        data = Splits(source)
    except ValueError as error:
        raise ConfigError([str(error)]) from error

    # What draws is imported after the refusals.
    from ssl_runner.figures import Passages
    from ssl_runner.reporting.plots import passages_text, save_figure
    from ssl_runner.training.task_figures import EXAMPLES, spread, task_figure

    model = construct.objective(config, data.spec)
    torch.manual_seed(config.seed)
    figure = task_figure(model, spread(data, "val", EXAMPLES, torch.device("cpu")), data.spec, predict=False)
    names = config.names
    name = f"{names['objective']}-{names['dataset']}"
    path = save_figure(Path(config.output) / "previews", name, figure, f"{names['objective']} on {names['dataset']}")
    text = passages_text(figure) if isinstance(figure, Passages) else None
    answers = [] if isinstance(figure, Passages) else [each for row in figure.captions.values() for each in row]
    if text is not None:
        print(plain_text(text))
    if answers:
        print(plain_text(f"from left to right: {'; '.join(answers)}"))
    say(f"{path}: {figure.note}", sys.stdout)
    return {"picture": str(path), "note": figure.note, "text": text, "answers": answers}


def main() -> None:
    """Entry point of `ssl-preview`."""
    hydra_main(task, COMMAND)


if __name__ == "__main__":
    main()
