"""Runs made by hand for the tests of comparisons: no training, only what a result says."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ssl_runner.reporting.results import Cost, Evaluation, Name, Result, Run

OBJECTIVES: dict[str, dict[str, Any]] = {
    "mae": {"_target_": "MAE", "ratio": 0.75},
    "rotation": {"_target_": "Rotation"},
    "simclr": {
        "views": {"_target_": "Views", "flip": 0.5},
        "loss": {"_target_": "InfoNCE", "temperature": 0.2},
        "_target_": "SimCLR",
        "projector": [128, 64],
    },
}
DOMAINS = {"mnist": "digits", "cifar": "natural"}
Metrics = Mapping[str, Mapping[str, Mapping[str, float]]]  # evaluator -> subject -> metric -> value


def made_config(objective: str = "mae", dataset: str = "mnist", seed: int = 0, **changed: Any) -> dict[str, Any]:
    """A small config. `changed`: dotted keys with __ for the dot, and options of groups under `names`."""
    domain = DOMAINS[dataset]
    names = {"dataset": dataset, "domain": domain, "objective": objective, "backbone": "vit", "logger": "csv"}
    if objective == "simclr":
        names |= {"objective/loss": "info_nce", "objective/views": domain}
    config = {
        "seed": seed,
        "batch_size": 256,
        "logger": {"csv": {"_target_": "Csv"}},
        "output": "outputs",
        "dataset": {"_target_": "Source", "name": dataset, "root": "data", "val_fraction": 0.1},
        "domain": {"name": domain},
        "objective": {**OBJECTIVES[objective]},
        "backbone": {"_target_": "ViT", "depth": 4},
        "names": names | changed.pop("names", {}),
    }
    if objective == "simclr" and domain == "digits":
        config["objective"]["views"] = {"_target_": "Views", "flip": 0.0}
    for key, value in changed.items():
        *above, last = key.split("__")
        node = config
        for part in above:
            node[part] = {**node[part]}
            node = node[part]
        node[last] = value
    return config


def made_run(
    name: str,
    config: dict[str, Any] | None = None,
    metrics: Metrics | None = None,
    *,
    protocol: Mapping[str, Mapping[str, Any]] | None = None,
    higher_is_better: bool | None = True,
    **more: Any,
) -> Run:
    """A run in folder out/`name`. `metrics` of linear by default; `protocol` by evaluator; `more`: of Result."""
    config = made_config() if config is None else config
    metrics = {"linear": {"pretrained": {"accuracy": 0.9}}} if metrics is None else metrics
    found = [
        Evaluation(
            evaluator=evaluator,
            subject=subject,
            metrics=dict(values),
            headline=next(iter(values)),
            higher_is_better=higher_is_better,
            protocol=dict((protocol or {}).get(evaluator, {"layer": "pooled"})),
        )
        for evaluator, subjects in metrics.items()
        for subject, values in subjects.items()
    ]
    names = config.get("names", {"dataset": "mnist", "objective": "mae", "backbone": "vit"})
    result = Result(
        **{
            "identity": f"id-{name}",
            "name": Name(**{axis: names[axis] for axis in ("dataset", "objective", "backbone")}),
            "seed": config.get("seed", 0),
            "status": "done",
            "command": "ssl-run",
            "started": "2026-11-23T15:41:07",
            "results": tuple(found),
            "cost": Cost(seconds=100.0, device="cpu"),
            "config": config,
            **more,
        }
    )
    return Run(name, Path("out") / name, result)


def seeds(accuracies: list[float], control: list[float] | None = None, **config: Any) -> list[Run]:
    """A run a seed of one setting, told by its linear accuracy, and its random start's."""
    runs = []
    for seed, accuracy in enumerate(accuracies):
        subjects = {"pretrained": {"accuracy": accuracy}}
        if control is not None:
            subjects["random_start"] = {"accuracy": control[seed]}
        made = made_config(**config, seed=seed)
        name = "-".join(map(str, [*config.values(), seed])).replace("/", "_")
        runs.append(made_run(name, made, {"linear": subjects}))
    return runs
