"""`ssl-evaluate run=<folder>`: evaluate a finished run again, with other evaluators or on other data."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import yaml
from omegaconf import DictConfig
from rich.console import Console

from ssl_runner.commands.refusals import hydra_main
from ssl_runner.config import ConfigError, typed, with_names


def task(cfg: DictConfig) -> None:
    from hydra.core.hydra_config import HydraConfig

    again(with_names(cfg, HydraConfig.get().runtime.choices))


def again(asked: dict[str, Any]) -> None:
    """Evaluate the encoder of a finished run, and add what is found to its result and report."""
    run = asked.pop("run")
    folder = Path(str(run))
    path = folder / "config.yaml"
    if run is None or not path.is_file():
        raise ConfigError(
            [f"run: no finished run in {str(folder)!r} (no config.yaml); run=outputs/.../... names one's folder"]
        )
    try:
        plain = yaml.safe_load(path.read_text())
        names = plain["names"] | {axis: asked["names"][axis] for axis in ("evaluation",) if axis in asked["names"]}
        seed = plain["seed"]
    except (yaml.YAMLError, TypeError, KeyError, UnicodeDecodeError) as error:
        raise ConfigError([f"{str(path)!r} is damaged: {error!r}"]) from error
    own = plain["names"]["dataset"]
    other = asked.get("dataset") is not None
    if other:
        names["dataset"] = asked["names"]["dataset"]
    if asked["seed"] is not None:
        seed = asked["seed"]
    taken = {key: asked[key] for key in ("evaluation", "controls", "unfit", "trainer")}
    merged = plain | taken | {"names": names, "seed": seed} | ({"dataset": asked["dataset"]} if other else {})
    config = typed(merged)
    pretrained_on = typed(plain)

    from ssl_runner import build
    from ssl_runner.commands.findings import evaluate
    from ssl_runner.commands.run import finished, fresh, show
    from ssl_runner.data.module import DataModule
    from ssl_runner.evaluation.controls import Pixels
    from ssl_runner.reporting.page import write_report
    from ssl_runner.reporting.results import PIXELS, PRETRAINED, RANDOM_START, write_result

    result = finished(folder)
    if result is None:
        raise ConfigError([f"run: {str(folder)!r} holds no finished run; the same ssl-run command goes on with it"])
    source, spec = build.source(config)
    try:
        encoder = build.load_encoder(folder)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    build.evaluations(config, spec)
    try:
        with torch.no_grad():
            encoder(spec.to_input(spec.fake(2)))
    except (ValueError, RuntimeError) as error:
        raise ConfigError(
            [f"dataset={names['dataset']} does not suit an encoder of {own}: {str(error).splitlines()[0]}"]
        ) from error

    console = Console(highlight=False)
    data = DataModule(source, batch_size=config.batch_size, seed=seed)
    try:
        data.setup()
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    subjects: dict[str, Any] = {PRETRAINED: encoder}
    if "random_start" in config.controls:
        subjects[RANDOM_START] = build.load_encoder(folder)
        start = build.objective(pretrained_on, build.source(pretrained_on)[1]).encoder
        normalisation = {k: v for k, v in encoder.state_dict().items() if k.startswith("normalise.")}
        subjects[RANDOM_START].load_state_dict(start.state_dict() | normalisation)
    if "pixels" in config.controls:
        subjects[PIXELS] = Pixels(data.spec)
    model = None
    if not other and (folder / "checkpoints" / "last.ckpt").is_file():
        model = fresh(pretrained_on, data)
        build.read_checkpoint(folder / "checkpoints" / "last.ckpt", model)
    suffix = f" on {names['dataset']}" if other else ""
    found, failures = evaluate(config, subjects, model, data, folder, console, suffix)
    new = {(each.evaluator, each.subject) for each in found}
    kept = [each for each in result.results if (each.evaluator, each.subject) not in new]
    result = replace(result, results=(*kept, *found))
    write_result(folder, result)
    write_report(folder)
    show(console, folder, result)
    if failures:
        raise ConfigError(failures)


def main() -> None:
    """Entry point of `ssl-evaluate`."""
    hydra_main(task, "evaluate")


if __name__ == "__main__":
    main()
