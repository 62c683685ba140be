"""images/s of a GPU: ResNet-18 (SimCLR) and ViT-S (MAE), compiled or not, beside a bare PyTorch loop

In bfloat16 and channels last, as a run chooses them; images are 32 x 32 pixels, made up, in the device's memory.
"""

import argparse
from collections.abc import Callable
from functools import partial

from ssl_runner.config.compose import compose
from ssl_runner.config.schema import Config, typed

from .shared import bare_rate, loaded, print_rates, rates, trainer_rate

NETWORKS = {
    "ResNet-18, SimCLR": ["objective=simclr", "objective/views=natural", "backbone=resnet18"],
    "ViT-S, MAE": ["objective=mae", "backbone=vit_small"],
}
TINY = {"ResNet-18, SimCLR": ["backbone.widening=1"], "ViT-S, MAE": ["backbone.dim=48", "backbone.depth=1"]}


def options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--batch", type=int, default=512, help="images a step")
    parser.add_argument("--steps", type=int, default=100, help="training steps a round")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--tiny", action="store_true", help="smaller networks, to try this without a GPU")
    parser.add_argument("--no-compile", action="store_true", help="leave the compiled network out")


def measure(arguments: argparse.Namespace) -> None:
    for name, words in NETWORKS.items():
        config = _config([*words, *(TINY[name] if arguments.tiny else [])], arguments)
        data = loaded(config)
        what: dict[str, Callable[[], float]] = {
            "ssl_runner": partial(trainer_rate, config, data),
            "bare loop": partial(bare_rate, config, data),
        }
        if not arguments.no_compile:
            compiled = _config([*words, *(TINY[name] if arguments.tiny else []), "trainer.compile=true"], arguments)
            what["ssl_runner, compiled"] = partial(trainer_rate, compiled, data)
        title = f"{name}, batches of {arguments.batch}; images/s"
        print_rates(title, rates(what, arguments.rounds), "ssl_runner")


def _config(words: list[str], arguments: argparse.Namespace) -> Config:
    examples = 2 * arguments.batch
    return typed(
        compose(
            [
                "dataset=fake_images", f"dataset.examples={examples}", "dataset.test_examples=20",
                f"batch_size={arguments.batch}", "budget.unit=steps", f"budget.amount={arguments.steps}",
                "evaluation=[]", "logger=none", "controls=[]", "trainer.validations=0", "trainer.watch_every=0",
                *words,
            ]
        )
    )  # fmt: skip
