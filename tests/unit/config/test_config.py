"""Composition, the gates, identity."""

from itertools import zip_longest
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pytest
import yaml

from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import identity
from ssl_runner.config.paths import conf_dir, options
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.config.signatures import locate, mismatch


def problems(*overrides: str) -> list[str]:
    with pytest.raises(ConfigError) as error:
        typed(compose(overrides))
    return error.value.problems


def test_the_default_is_valid() -> None:
    config = typed(compose())
    assert config.names["objective"] == "simclr"
    assert config.names["domain"] == "digits"
    assert config.objective["views"]["flip"] == 0.0


@pytest.mark.parametrize(
    ("overrides", "flip"),
    [
        (["dataset=cifar10"], 0.5),
        (["dataset=cifar10", "objective/views=digits"], 0.0),
        (["objective/views=natural"], 0.5),
        (["domain=natural"], 0.5),
    ],
)
def test_views_follow_the_dataset_unless_they_are_chosen(overrides: list[str], flip: float) -> None:
    assert compose(overrides)["objective"]["views"]["flip"] == flip


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("+backbone.widhts=[3]", "backbone.widhts: no such parameter; did you mean widths?"),
        ("+typo=1", "typo: no such key; it has: "),
        ("+budget.unti=steps", "budget.unti: no such key; did you mean unit?"),
        ("objective.loss.temperature=hot", "objective.loss.temperature: 'hot' is a str; it must be a number"),
        ("seed=1.5", "seed: 1.5 is a float; it must be a whole number"),
        ("budget.unit=days", "budget.unit: 'days' is a str; it must be one of epochs, steps, samples, minutes"),
        ("backbone.widths=[3,four]", "backbone.widths: [3, 'four'] is a list; it must be a list, each a whole number"),
        (
            "controls=[random]",
            "controls: ['random'] is a list; it must be a list, each one of random_start, initial, pixels",
        ),
        ("objective.views.crop_scale=[0.1]", "objective.views.crop_scale: [0.1] is a list; it must be a list of 2: "),
        ("batch_size=0", "batch_size is 0; it must be 1 or more"),
        ("budget.amount=0", "budget.amount is 0; it must be above 0"),
        ("budget.amount=1.5", "budget.amount is 1.5; with budget.unit=epochs it must be a whole number"),
        ("control=shuffled", "control: 'shuffled' is a str; it must be one of none, shuffled_target"),
        ("trainer.clip_norm=-1", "trainer.clip_norm is -1; it must be above 0"),
        ("~optimizer.lr", "it must"),
        ("objective.views=null", "objective.views: None is a NoneType; it must be a config of a Views"),
        ("backbone._target_=os.system", "backbone._target_: 'os.system' is not allowed"),
        ("backbone._target_=ssl_runner.backbones.convnet.math", "is not a class of"),
        ("backbone._target_=ssl_runner.nowhere.X", "cannot be imported"),
        ("output=/dev/null/x", "output: '/dev/null/x' cannot be a folder, '/dev/null' is a file"),
        ("dataset=arrays", "dataset.path: it must be set: dataset.path=..."),
    ],
)
@pytest.mark.sampled(8)
def test_a_wrong_value_is_refused_in_words(override: str, said: str) -> None:
    if override == "~optimizer.lr":  # torch's own default steps in: no problem, and no message
        assert "lr" not in typed(compose([override])).optimizer
        return
    assert any(said in problem for problem in problems(override)), problems(override)


def test_all_problems_are_said_at_once() -> None:
    assert len(problems("seed=x", "+backbone.dept=1", "batch_size=big")) == 3


def test_a_missing_parameter_is_named() -> None:
    assert problems("~backbone.widths") == ["backbone.widths: missing; set it to a list, each a whole number"]


def test_nothing_is_stopped_unwatched() -> None:
    assert problems("trainer.watch_every=0", "trainer.early_stop=collapse") == [
        "trainer.watch_every is 0 (no checks for collapse); with trainer.early_stop=collapse it must be 1 or more"
    ]


def test_one_example_has_no_other_to_shuffle_with() -> None:
    assert problems("control=shuffled_target", "batch_size=1") == [
        "batch_size is 1; with control=shuffled_target it must be 2 or more"
    ]


def test_an_empty_choice_is_nothing() -> None:
    config = typed(compose(["evaluation=[]", "logger=none"]))
    assert config.evaluation == config.logger == {}


def test_evaluations_combine() -> None:
    assert list(compose(["evaluation=[linear,knn]", "evaluation.knn.k=5"])["evaluation"]) == ["linear", "knn"]
    assert compose(["evaluation=[linear]"])["unfit"] == "refuse"
    assert compose()["unfit"] == "skip"


@pytest.mark.parametrize(
    ("value", "annotation", "fits"),
    [
        (1, float, True), (True, float, False), (True, int, False), (1, bool, False), (None, int | None, True),
        ("a", int | None, False), ([1, 2], list[int], True), ([1, 2], tuple[float, float], True),
        ([1], tuple[float, float], False), ("x", Literal["x"], True), (1, Literal["1"], False),
        (True, Literal[1], False), ({}, dict[str, Any], True), (object(), Any, True),
    ],
)  # fmt: skip
def test_types(value: object, annotation: Any, fits: bool) -> None:
    assert (mismatch(value, annotation) is None) == fits


def test_locate_gives_classes_of_the_allowlist_only() -> None:
    import torch

    assert locate("torch.optim.SGD") is torch.optim.SGD
    for target in (
        "builtins.eval",
        "ssl_runner.config.signatures.locate",
        "ssl_runner.config.signatures.Path",
        "torch.hub.load",
        "",
    ):
        with pytest.raises(ConfigError, match="_target_"):
            locate(target)


def test_identity_changes_with_every_leaf_but_those_declared() -> None:
    base = identity(compose())
    assert base == identity(compose())
    for same in (
        "output=elsewhere",
        "resume=never",
        "logger=csv",
        "trainer.devices=2",
        "trainer.log_every_n_steps=5",
        "trainer.watch_every=5",
        "trainer.early_stop=collapse",
    ):
        assert identity(compose([same])) == base, same
    for other in (
        "seed=1", "batch_size=128", "budget.amount=31", "objective.loss.temperature=0.3", "backbone.widths=[8]",
        "evaluation.knn.k=3", "trainer.precision=float32", "dataset.split_seed=1", "controls=[pixels]",
        "control=shuffled_target",
    ):  # fmt: skip
        assert identity(compose([other])) != base, other


def required(axis: str, path: Path) -> list[str]:
    """Overrides for the keys of a YAML that have no default."""
    node = f"{axis}.{path.stem}" if axis in ("evaluation", "logger") else axis
    settings = yaml.safe_load(path.read_text()) or {}
    return [f"{node}.{key}=x" for key, value in settings.items() if value == "???"]


@pytest.mark.thorough
def test_every_config_file_is_reached_by_some_test() -> None:
    """A YAML that composes nothing is dead: every option of every axis composes into a typed config.

    An option of each axis is composed at a time, whether or not they go together: that is asked later.
    """
    axes = ("dataset", "backbone", "objective", "optimizer", "schedule", "trainer", "evaluation", "logger")
    files = {axis: list(options(axis).values()) for axis in axes}
    count = sum(map(len, files.values()))
    for chosen in zip_longest(*files.values()):
        given = [(axis, path) for axis, path in zip(files, chosen, strict=True) if path is not None]
        words = [f"{axis}={path.stem}" for axis, path in given]
        # Of one domain: an objective with settings for its views (dino) takes no dataset of another kind.
        typed(compose(["domain=natural", *words, *(key for option in given for key in required(*option))]))
    for path in sorted((conf_dir() / "backbone" / "image").glob("*.yaml")):
        typed(compose(["dataset=moving_digits", "backbone=per_frame", f"backbone/image={path.stem}"]))
        count += 1
    owner = {  # the others: simclr
        "inference": ["objective=gaussian_mixture"],
        "output": ["objective=skip_gram", "dataset=wiki_sample", "backbone=word_vectors"],
        "parts": ["objective=sum"],
        "posterior": ["objective=vae"],
    }
    for path in sorted((conf_dir() / "objective").glob("*/*.yaml")):
        group = path.parent.name
        typed(compose([*owner.get(group, []), f"objective/{group}={path.stem}"]))
        count += 1
    for name in options("experiment"):
        typed(compose([f"experiment={name}"]))
        count += 1
    whole = len(list(conf_dir().rglob("*.yaml")))
    for path in sorted((conf_dir() / "sweep").glob("*.yaml")):
        typed(compose([f"sweep={path.stem}"]))
        count += 1
    roots_and_domains = 3 + len(list((conf_dir() / "domain").glob("*.yaml")))
    assert count + roots_and_domains == whole


@pytest.mark.parametrize(
    "word",
    [
        "evaluation.knn.temperature=nan", "optimizer.lr=inf", "optimizer.weight_decay=inf", "trainer.clip_norm=nan",
        "objective.loss.temperature=-inf", "budget.amount=1e400", "evaluation.linear.grid.learning_rates=[1.0,nan]",
        "optimizer.betas=[0.9,nan]", "sweep.params={objective.ratio:[0.1,inf]}", "sweep.settings={a:{b:nan}}",
        "seed=9223372036854775808", "optimizer.lr=100000000000000000000", "sweep.settings={a:-100000000000000000000}",
    ],
)  # fmt: skip
@pytest.mark.sampled(5)
def test_every_number_is_finite_and_of_64_bits(word: str) -> None:
    """Whatever the parameter is annotated with; the message names the key."""
    key = word.partition("=")[0]
    with pytest.raises(ConfigError, match=r"finite number|whole number of at most 64 bits") as said:
        typed(compose(["evaluation=[knn,linear]", word]))
    assert all(problem.startswith(key) for problem in said.value.problems)
    typed(compose(["evaluation=[knn,linear]", "seed=9223372036854775807", "optimizer.lr=1e-300"]))


def test_a_check_refuses_what_the_run_would_refuse(tmp_path: Path) -> None:
    """Where nothing has to be read for that."""
    from ssl_runner.commands.run import run

    np.savez(tmp_path / "a.npz", x_train=np.zeros((30, 8, 8), np.uint8), x_test=np.zeros((9, 8, 8), np.uint8))
    words = ["check=true", "logger=none", "evaluation=[]", "controls=[]", f"output={tmp_path / 'out'}"]
    for more, said in (
        (["resume=must"], "no checkpoint to resume from"),
        (["dataset=fake_images", "dataset.examples=40", "batch_size=64"], "batch_size is 64; it must be at most 36"),
        (["dataset=arrays", f"dataset.path={tmp_path / 'a.npz'}", "batch_size=28"], "batch_size is 28; .* at most 27"),
        (["batch_size=4000"], "at most 3600"),
    ):
        plain = compose([*words, *more])
        with pytest.raises(ConfigError, match=said):
            run(RunRequest.of(plain))
    assert not (tmp_path / "out").exists()
