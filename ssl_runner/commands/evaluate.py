"""`ssl-evaluate run=<folder>`: evaluate a finished run again, with other evaluators or on other data."""

import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from omegaconf import DictConfig, OmegaConf, open_dict

from ssl_runner.commands.answers import about_run, begin
from ssl_runner.commands.cli import Answer, hydra_main
from ssl_runner.commands.help import Command
from ssl_runner.config.compose import compose, composed, with_names
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.names import current
from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.config.request import CONTENTS, RunRequest
from ssl_runner.config.schema import Config, typed
from ssl_runner.results.metrics import DataRef
from ssl_runner.results.result import Result
from ssl_runner.runtime.garbage import begin_collection
from ssl_runner.runtime.locks import locked
from ssl_runner.runtime.terminal import Terminal, write_line

COMMAND = Command(
    "ssl-evaluate",
    "evaluate",
    "Evaluate the encoder of a finished run again, with other evaluations or on other data.",
    (
        (
            "ssl-evaluate run=outputs/mnist_5k-simclr-convnet/s0-1a2b3c4d5e",
            "all evaluations that fit, on the run's own data",
        ),
        (
            "ssl-evaluate run=outputs/mnist_5k-simclr-convnet/s0-1a2b3c4d5e dataset=fashion_mnist evaluation=[knn]",
            "transfer: the frozen encoder on another labeled dataset",
        ),
        (
            "ssl-evaluate backbone=resnet18 dataset=cifar10",
            "an encoder that no run has trained, by the same protocol: short for ssl-run objective=none ...",
        ),
    ),
)

if TYPE_CHECKING:  # it imports torch
    from ssl_runner.interfaces import TextEncoder, TextSpec


def task(cfg: DictConfig) -> Answer:
    from hydra.core.hydra_config import HydraConfig

    begin(f"ssl-evaluate: run={cfg.run}")
    about = HydraConfig.get()
    keep_own_settings(cfg, about.runtime.choices.get("dataset"), about.overrides.task)
    return about_run(again(with_names(cfg, about.runtime.choices)))


def keep_own_settings(cfg: DictConfig, dataset: str | None, overrides: Sequence[str]) -> None:
    """Where `dataset` names the run's own, set it as the run had it, and then as `overrides` say.

    Raises ConfigError.
    """
    if dataset is None:
        return
    _, plain = finished_run(cfg.run)
    if dataset != plain["names"]["dataset"]:
        return
    from hydra.core.override_parser.overrides_parser import OverridesParser

    with open_dict(cfg):
        cfg.dataset = plain["dataset"]
    for override in OverridesParser.create().parse_overrides(list(overrides)):
        axis, _, key = override.key_or_group.partition(".")
        if axis != "dataset" or not key:
            continue
        if override.is_delete():
            raise ConfigError([f"{override.input_line}: a setting of the dataset cannot be removed; set a value"])
        OmegaConf.update(cfg, override.key_or_group, override.value(), merge=True, force_add=True)


def again(asked: dict[str, Any]) -> Path:
    """Evaluate the encoder of a finished run, and add the metrics to its result and report; returns its folder."""
    folder, plain = finished_run(asked["run"])
    with locked(folder):
        evaluate_again(folder, plain, asked)
    return folder


def evaluate_again(folder: Path, plain: dict[str, Any], asked: dict[str, Any]) -> None:
    """The work of `again`, in a folder that is locked. `plain`: the run's config."""
    config, on = merge(plain, asked, folder)

    from ssl_runner.assembly import check, construct, export, load
    from ssl_runner.assembly.places import finished
    from ssl_runner.commands.run import JUDGED, report, show
    from ssl_runner.interfaces import TextEncoder, TextSpec
    from ssl_runner.results.result import INITIAL, PRETRAINED, RANDOM_START, write_result
    from ssl_runner.runtime.devices import device_of

    result = finished(folder)
    if result is None:
        raise ConfigError([f"run: {str(folder)!r} contains no finished run; the same ssl-run command resumes it"])
    source, spec = construct.source(config)
    try:
        encoder = load.exported_encoder(folder)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    # The encoder is in the run's folder: of what it began with, no file is needed any more.
    node = export.about_encoder(export.encoder_folder(folder))["backbone"]
    config = replace(config, backbone=node, start_from=None, extend=None)
    own = typed({**plain, "backbone": node, "start_from": None, "extend": None})
    evaluators = check.evaluations(config, spec).evaluators
    if isinstance(spec, TextSpec):
        known = cast(TextSpec, export.exported_spec(folder))
        check_length(spec, known, cast(TextEncoder, encoder))
        spec = replace(spec, vocabulary=known.vocabulary)  # until it is read, its vocabulary is what was set
    check.check_layers(config, encoder, spec)
    device_of(config.trainer.accelerator)
    check.check_encoder(evaluators, encoder, spec)

    # What computes is imported after the refusals: Lightning takes seconds.
    from ssl_runner.commands.evaluations import bare, evaluate
    from ssl_runner.commands.waiting import waiting
    from ssl_runner.reporting.older import evaluations_now

    console = Terminal()
    with waiting(console):
        data = load.load_data(config, source)
    begin_collection()
    check.check_vocabulary(folder, data.spec)
    on = by_contents(on, plain, check.contents(config, source, data.spec))
    if on.own:
        on = told(on, result, data.fingerprint(), console)
    subjects: dict[str, Any] = {PRETRAINED: encoder}
    if RANDOM_START in config.controls:
        subjects[RANDOM_START] = construct.untrained(own, export.exported_spec(folder), encoder)
    if INITIAL in config.controls and (begun := construct.initial(typed(plain), export.exported_spec(folder))):
        subjects[INITIAL] = begun
    subjects |= bare(config, data)
    model = None
    checkpoint = folder / "checkpoints" / "last.ckpt"
    if on.own and checkpoint.is_file():
        model = construct.objective(own, data.spec)
        load.read_checkpoint(checkpoint, model)
    on = replace(on, fingerprint=data.fingerprint(JUDGED))
    found, failures = evaluate(config, subjects, model, data, folder, console, on, result.cost.precision)
    new = {(each.owner, each.subject) for each in found}
    before = zip(result.results, evaluations_now(result), strict=True)  # as they were written, for figures name them
    kept = [each for each, now in before if (now.owner, now.subject) not in new]
    result = replace(result, results=(*kept, *found))
    write_result(folder, result)
    report(folder)
    show(console, folder, result)
    if failures:
        raise ConfigError(failures, folder)


def check_length(spec: "TextSpec", known: "TextSpec", encoder: "TextEncoder") -> None:
    """Raise ConfigError where texts are longer than those that an encoder with positions was pretrained on."""
    if encoder.reach is not None and spec.length > known.length:
        raise ConfigError(
            [
                f"dataset.length is {spec.length}, and this encoder was pretrained on no positions beyond "
                f"{known.length} tokens: set dataset.length={known.length} or less"
            ]
        )


def by_contents(on: DataRef, plain: Mapping[str, Any], now: Mapping[str, str]) -> DataRef:
    """The same data, with what files hold in place of where they lie: moved, a run's own data are its own.

    `plain`: the run's config; `now`: what `check.contents` says of the data.
    """
    known = plain.get(CONTENTS) or {}
    settings: dict[str, Any] = {}
    for key, value in on.settings.items():
        found = now.get(f"dataset.{key}")
        if found is None or found != known.get(f"dataset.{key}"):
            settings[key] = value if found is None else found
    own = on.own or (not settings and on.dataset == plain["names"]["dataset"])
    return replace(on, own=own, settings=settings)


def told(on: DataRef, result: Result, found: str, console: Terminal) -> DataRef:
    """The run's own data, unless they are not as it read them (`found` is their fingerprint now), which is said."""
    read = result.data.get("fingerprint")
    if read in (None, found):
        return on
    write_line(
        console,
        f"warning: the data differ from those of the run (fingerprint {found}, in the run {read}): the new results "
        "are kept apart from the earlier ones",
        style="yellow",
    )
    return replace(on, own=False, settings={CONTENTS: found})


def finished_run(run: str | None) -> tuple[Path, dict[str, Any]]:
    """A run's folder and its config. Raises ConfigError where there is none."""
    folder = Path(str(run))
    path = folder / "config.yaml"
    if run is None or not path.is_file():
        where = "is not set" if run is None else f"is {run}, which has no config.yaml"
        raise ConfigError([f"run {where}; set it to the folder of a finished run, as ssl-run prints it"])
    try:
        plain = read_yaml(path.read_text(encoding="utf-8"))
        typed(plain)
    except ValueError as error:
        raise ConfigError([f"{str(path)!r} is damaged: {error}"]) from error
    except ConfigError as error:
        raise ConfigError([f"{str(path)!r}: {problem}" for problem in error.problems]) from error
    return folder, current(plain)


def merge(plain: dict[str, Any], asked: dict[str, Any], folder: Path) -> tuple[Config, DataRef]:
    """The run's config with what is asked of it now; and the data that are asked for, without their fingerprint.

    Of other data than the run's, what is set otherwise is said: than in the run, or, of another dataset, than in its
    file. The set for images stands for the one that suits the data. Other texts are cut in the tokens of the run in
    `folder`.
    """
    taken = {key: asked[key] for key in ("evaluation", "controls", "unfit", "trainer")}
    names = dict(plain["names"])
    on = DataRef(dataset=names["dataset"])
    if asked.get("dataset") is not None:
        names["dataset"] = asked["names"]["dataset"]
        if asked["dataset"] != plain["dataset"]:
            taken["dataset"] = asked["dataset"]
            if "tokenizer" in asked["dataset"]:
                taken["dataset"] = asked["dataset"] | {"tokenizer": str(folder)}
            own = names["dataset"] == plain["names"]["dataset"]
            known = plain["dataset"] if own else in_its_file(names["dataset"])
            settings = set_otherwise(known, taken["dataset"])
            on = DataRef(dataset=names["dataset"], own=own and not settings, settings=settings)
            taken["pretrain_examples"] = None  # of the run's own data
    domain = (asked.get("domain") or plain.get("domain") or {}).get("name", "natural")
    if asked["names"].get("evaluation") == "image":
        taken |= suited(asked, domain)
    if asked["trainer"]["devices"] != 1:
        said = f"trainer.devices is {asked['trainer']['devices']}; ssl-evaluate computes on one device: leave it out"
        raise ConfigError([said])
    if asked["seed"] is not None:
        taken["seed"] = asked["seed"]
    unknown = set(asked) - set(taken) - {"run", "seed", "names", "domain", "logger", "dataset"}
    if unknown:
        raise ConfigError([f"{key}: no such key of ssl-evaluate" for key in sorted(unknown)])
    return typed(plain | taken | {"names": names}), on


def suited(asked: Mapping[str, Any], domain: str) -> dict[str, Any]:
    """`evaluation` and `unfit` of the set for a domain, as they were asked for of the set for images.

    Raises ConfigError for a setting of an evaluation that this set does not have.
    """
    images, found = compose(["evaluation=image"], "evaluate"), compose([f"evaluation={domain}"], "evaluate")
    removed = images["evaluation"].keys() - asked["evaluation"].keys()
    chosen = {name: node for name, node in found["evaluation"].items() if name not in removed}
    changed = {name: node for name, node in asked["evaluation"].items() if node != images["evaluation"].get(name)}
    if absent := [name for name in changed if name not in found["evaluation"]]:
        raise ConfigError(
            [
                f"evaluation.{name}: it is not among those of {domain} data: choose evaluation=[{name}]"
                for name in absent
            ]
        )
    unfit = found["unfit"] if asked["unfit"] == images["unfit"] else asked["unfit"]
    return {"evaluation": chosen | changed, "unfit": unfit}


def in_its_file(dataset: str) -> dict[str, Any]:
    """The settings that a dataset's file gives it; "???" where it leaves one to the user."""
    plain: Any = OmegaConf.to_container(composed([f"dataset={dataset}"], "evaluate").dataset, resolve=True)
    return plain


def set_otherwise(known: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """The settings of data that can change a figure and are not as known.

    >>> set_otherwise({"label": "digit", "root": "a"}, {"label": "direction", "root": "b", "speeds": [1, 2]})
    {'label': 'direction', 'speeds': (1, 2)}
    """
    from ssl_runner.reporting.axes import is_setting
    from ssl_runner.results.values import flat

    before = dict(flat(known))
    return {
        key: value
        for key, value in flat(asked)
        if (key not in before or before[key] != value) and key != "tokenizer" and is_setting(f"dataset.{key}")
    }


def untrained(cfg: DictConfig) -> Answer:
    """Evaluate an encoder that no run has trained: a run of objective=none."""
    request = RunRequest.composed(cfg)
    from ssl_runner.commands.run import answered

    return answered(request)


def main() -> None:
    """Entry point of `ssl-evaluate`."""
    keys = {word.partition("=")[0] for word in sys.argv[1:]}
    if "backbone" in keys and "run" not in keys:
        sys.argv[1:] = ["objective=none", *sys.argv[1:]]
        hydra_main(untrained, COMMAND._replace(root="config"))
    else:
        hydra_main(task, COMMAND)


if __name__ == "__main__":
    main()
