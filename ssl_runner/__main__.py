"""`ssl-run`, or `python -m ssl_runner`: pretrain and evaluate. Nothing heavy is imported before Hydra has composed."""

from typing import TYPE_CHECKING

from omegaconf import DictConfig, OmegaConf

from ssl_runner.commands.answers import begin
from ssl_runner.commands.cli import Answer, announce, hydra_main, request_of
from ssl_runner.commands.help import Command
from ssl_runner.runtime.terminal import say

if TYPE_CHECKING:
    from ssl_runner.config.loader import Loader


COMMAND = Command(
    "ssl-run",
    "config",
    "Pretrain an encoder without labels, evaluate it beside its controls, and write a report.",
    (
        ("ssl-run", "SimCLR on 5,000 MNIST digits that need no download, with all defaults"),
        (
            "ssl-run objective=mae backbone=vit_micro dataset=cifar10 objective.ratio=0.6",
            "another objective, backbone and dataset, and one key changed",
        ),
        (
            "ssl-run -m objective=simclr,byol seed=0,1,2",
            "a sweep of six runs; ssl-compare outputs then tabulates them",
        ),
    ),
    (("-m, --multirun", "sweep: KEY=a,b or GROUP=a,b runs every combination"),),
)


def task(cfg: DictConfig) -> Answer:
    announce(cfg, COMMAND.name)
    from ssl_runner.config.names import older_names

    request = request_of(cfg)
    for older, now in older_names(OmegaConf.to_container(cfg, resolve=False)):
        say(f"note: {older} is called {now} now; the older name works until 1.0")
    from ssl_runner.commands.run import answered

    return answered(request)


def several(loader: "Loader", name: str, hydra: list[str], overrides: list[str]) -> Answer:
    begin("ssl-run: planning the runs")
    from ssl_runner.commands.sweep import sweep

    return sweep(loader, name, hydra, overrides).answer()


def main() -> None:
    """Entry point of `ssl-run`."""
    hydra_main(task, COMMAND, several)


if __name__ == "__main__":
    main()
