"""Recipes of published figures: what their headers say, that each goes together, and twenty steps of each."""

from pathlib import Path

import libraries
import made_text
import pytest
from composed import composed

from ssl_runner.assembly import check
from ssl_runner.commands.run import run
from ssl_runner.config.paths import conf_dir, options
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.reporting.published import figures
from ssl_runner.results.result import read_result

RECIPES = [name for name in options("experiment") if Path(name).parent != Path()]
METHODS = ("simclr", "moco", "byol", "simsiam", "barlow_twins", "vicreg", "swav", "dino")
IMAGES = ["dataset=fake_images", "dataset.examples=60", "dataset.test_examples=20"]
QUICK = [
    "budget.unit=steps", "budget.amount=20", "batch_size=8", "trainer.accumulate=1", "trainer.lr_batch=null",
    "trainer.accelerator=cpu", "trainer.precision=float32", "trainer.val_batches=1", "trainer.validations=1",
    "trainer.watch_every=0", "evaluation=[]", "controls=[]", "logger=none",
]  # fmt: skip
SMALLER = {  # by backbone: sizes that cost time and change no setting of the recipe
    "resnet18": ["backbone.widening=1"],
    "vit_tiny": ["backbone.depth=2"],
    "bert_small": ["backbone.dim=48", "backbone.depth=2"],
    "gpt_small": ["backbone.dim=48", "backbone.depth=2"],
    "huggingface_text": libraries.words("huggingface_text"),
}


def test_every_method_has_both_recipes_and_its_header_says_where_from() -> None:
    wanted = {f"cifar10/{source}{method}_resnet18" for method in METHODS for source in ("", "solo_")}
    assert wanted <= set(RECIPES)
    for name in RECIPES:
        header = (conf_dir() / "experiment" / f"{name}.yaml").read_text().partition("defaults:")[0]
        for part in ("Run: ", f"experiment={name}", "Takes: ", "FLOPs", "Published: ", "Measured: ", "Differs: "):
            assert part in header, (name, part)
        if name in figures():
            assert f"{100 * figures()[name].value:.4g}" in header


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_goes_together(name: str) -> None:
    config = typed(composed([f"experiment={name}", "logger=none"]))
    libraries.needs(config.names["backbone"])
    check.validate(config)  # what check=true does


@pytest.mark.slow
@pytest.mark.parametrize("name", RECIPES)
def test_twenty_steps(name: str, tmp_path: Path) -> None:
    backbone = typed(composed([f"experiment={name}", "logger=none"])).names["backbone"]
    libraries.needs(backbone)
    data = IMAGES if name.startswith("cifar10") else made_text.overrides()
    words = [f"experiment={name}", *data, *QUICK, *SMALLER[backbone]]
    folder = run(RunRequest.of(composed(words, output=str(tmp_path)), words))
    assert read_result(folder).pretraining.steps == 20
