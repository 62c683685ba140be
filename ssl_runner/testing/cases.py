"""Small runs that an option of a plugin is tried in: the first dataset and backbone of ours that go with it."""

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import product
from pathlib import Path
from typing import Any, NamedTuple

import torch

from ssl_runner.assembly import construct
from ssl_runner.config import paths, plugins
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import check_fit
from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.config.schema import Config, typed
from ssl_runner.data.any.tensors import as_input
from ssl_runner.interfaces import Batch, DataSource, DataSpec, Examples, Paired, SplitName, TextSpec

IMAGES = ("dataset=fake_images", "dataset.examples=60", "dataset.test_examples=30")
CLIPS = (
    "dataset=moving_digits", "dataset.frames=8", "dataset.side=16", "dataset.digit_side=8", "dataset.clips=24",
    "dataset.val_clips=8", "dataset.test_clips=8",
)  # fmt: skip
HALVES = ("dataset=halves",)
VECTORS = ("dataset=correlated_gaussians",)
BACKBONES = (
    ("backbone=convnet", "backbone.widths=[8,16]"),
    ("backbone=vit_micro", "backbone.dim=32", "backbone.depth=2", "backbone.heads=2"),
    ("backbone=mlp",),
    ("backbone=bert_tiny", "backbone.depth=2"),
    ("backbone=gpt_tiny", "backbone.depth=2"),
    ("backbone=bilstm", "backbone.width=16"),
    ("backbone=word_vectors", "backbone.width=16"),
    ("backbone=ngram",),
    ("backbone=per_frame", "backbone.image.widths=[8,16]"),
    ("backbone=vivit_micro", "backbone.dim=24", "backbone.depth=2"),
)
OBJECTIVES = (
    "objective=rotation", "objective=mae", "objective=simclr", "objective=bert", "objective=language_model",
    "objective=elmo", "objective=skip_gram", "objective=ngram", "objective=sequence_order", "objective=next_frame",
    "objective=video_mae",
)  # fmt: skip
REST = ("evaluation=[]", "logger=none", "batch_size=16")


def options(group: str) -> list[str]:
    """The options of a group that plugins have; those that compose others, and name no class, apart."""
    folders = [plugin.conf / group for plugin in plugins.enabled() if plugin.conf is not None]
    names = sorted(path.stem for folder in folders for path in folder.rglob("*.yaml") if path.parent == folder)
    return [name for name in names if group == "logger" or paths.option_class(group, name)]


@cache
def texts() -> tuple[str, ...]:
    """A corpus of made sentences."""
    folder = Path(tempfile.mkdtemp(prefix="ssl-runner-contract-"))
    lines = [f"The {a} {b} a {c} {d}.\n\n" for a in WHO for b in DOES for c in WHOM for d in WHEN]
    (folder / "text.txt").write_text("".join(lines), encoding="utf-8")
    return (
        "dataset=text_file", f"dataset.path={folder / 'text.txt'}", "dataset.documents=blank_lines",
        f"dataset.cache={folder / 'cache'}", "dataset.tokens=words", "dataset.vocabulary=40", "dataset.length=24",
        "dataset.test_fraction=0.1", "dataset.val_fraction=0.1",
    )  # fmt: skip


WHO = ("cat", "dog", "king", "bird", "man")
DOES = ("sees", "likes", "finds", "fears")
WHOM = ("mouse", "river", "house", "song")
WHEN = ("today", "at night", "in spring", "again and again")


def config_for(group: str, name: str) -> Config:
    """The config of a small run with that option. Raises ConfigError where none of ours goes with it."""
    own = (f"{group}={name}",)
    return fitting(
        [own] if group == "dataset" else [IMAGES, texts(), CLIPS, VECTORS, HALVES],
        [own] if group == "backbone" else BACKBONES,
        own if group == "objective" else OBJECTIVES,
    )


def fitting(
    datasets: Sequence[Sequence[str]],
    backbones: Sequence[Sequence[str]] = BACKBONES,
    objectives: Sequence[str] = OBJECTIVES,
) -> Config:
    """The config of the first of these, each as overrides, that go together. Raises ConfigError where none do."""
    problems: dict[str, None] = {}
    for dataset, backbone, objective in product(datasets, backbones, objectives):
        try:
            config = typed(compose([*REST, *dataset, *backbone, objective]))
            check_fit(config)
        except ConfigError as error:
            problems |= dict.fromkeys(error.problems)
        else:
            return config
    raise ConfigError(list(problems))


def made(group: str, name: str) -> Any:
    """The object of an option that composes no others."""
    return construct.construct(read_yaml(paths.options(group)[name].read_text(encoding="utf-8")))


class Loaded(NamedTuple):
    """A dataset that was read."""

    source: DataSource
    splits: Mapping[SplitName, Examples]
    spec: DataSpec
    batch: Batch  # of 16 examples, as input


def loaded(config: Config) -> Loaded:
    source, spec = construct.source(config)
    splits = source.load()
    if isinstance(spec, TextSpec):  # exact once it is read, as in a run
        spec = replace(source.spec, size=len(splits["pretrain"].label))
    data, label = (part[:16] for part in splits["train"])
    other = source.others("train")[:16] if isinstance(source, Paired) else None
    return Loaded(source, splits, spec, as_input(spec, Batch(data, label, torch.arange(len(label)), other)))
