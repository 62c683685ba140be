"""Runs made by hand for the tests of comparisons: no training, only what a result says."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from ssl_runner.results.metrics import Better, DataRef, Metric, Protocol, Unit
from ssl_runner.results.result import Cost, Evaluation, Name, Result, Run

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
Found = Mapping[str, float] | Sequence[Metric]  # by name, the first the headline; or in full
Metrics = Mapping[str, Mapping[str, Found]]  # evaluator -> subject -> metrics


def made_metric(name: str = "accuracy", value: float = 0.9, **fields: Any) -> Metric:
    """A share where it is an accuracy; the headline, the more the better, unless `fields` say otherwise."""
    unit = Unit.SHARE if name == "accuracy" else Unit.PLAIN
    return Metric(**{"name": name, "value": value, "unit": unit, "better": Better.HIGHER, "headline": True, **fields})


def made_metrics(found: Found, better: Better) -> tuple[Metric, ...]:
    if not isinstance(found, Mapping):
        return tuple(found)
    return tuple(
        made_metric(name, value, better=better, headline=place == 0)
        for place, (name, value) in enumerate(found.items())
    )


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
    terms: Mapping[str, Mapping[str, Any]] | None = None,
    better: Better = Better.HIGHER,
    on: DataRef | None = None,
    **more: Any,
) -> Run:
    """A run in folder out/`name`. `metrics` of linear by default; `terms` by evaluator; `on`: its own data by default;
    `more`: of Result."""
    config = made_config() if config is None else config
    metrics = {"linear": {"pretrained": {"accuracy": 0.9}}} if metrics is None else metrics
    found = [
        Evaluation(
            evaluator=evaluator,
            subject=subject,
            metrics=made_metrics(values, better),
            on=on or DataRef(dataset=config.get("names", {}).get("dataset", "mnist")),
            protocol=Protocol(terms=(terms or {}).get(evaluator, {"layer": "pooled"})),
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
