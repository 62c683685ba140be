"""Results of schema 1 as those of schema 2: the one place where names of metrics and evaluators are taken apart.

In schema 1 a metric was a name and a number. Its condition stood after an "@", "val_" before the name meant the split,
" on " in an evaluator's name other data, and terms, choices and measurements were one mapping.
"""

import re
from collections.abc import Iterator, Mapping
from typing import Any

from ssl_runner.results.address import ON, Address
from ssl_runner.results.metrics import Better, Unit

SHARES = frozenset(
    {"accuracy", "macro_f1", "f1", "precision", "recall", "exact_match", "j", "f", "j_and_f", "majority", "coverage",
     "explained_variance", "unknown", "chance"}
)  # fmt: skip
UNITS = {
    Unit.SHARE: SHARES,
    Unit.NATS: frozenset({"elbo", "importance_weighted", "kl", "seam_nats", "bound", "mutual_information"}),
    Unit.BITS: frozenset({"bits_per_character"}),
    Unit.DB: frozenset({"psnr_pooled", "psnr_pooled_copy"}),
    Unit.CORRELATION: frozenset({"spearman", "pearson", "spearman_all", "matthews"}),
}
LOWER = frozenset({"loss", "mse", "perplexity", "perplexity_word", "bits_per_character"})
HIGHER = SHARES - {"majority", "coverage", "explained_variance", "unknown", "chance"} | {
    "nmi", "ari", "psnr_pooled", "ssim", "spearman", "pearson", "spearman_all", "elbo", "importance_weighted",
}  # fmt: skip
MEASURED = frozenset(  # of the run, the encoder, the data, the subset drawn; how a control answers
    {"seed", "width", "indices", "left out", "layer weights", "cut", "control", "train", "examples", "clusters",
     "split", "neighbors", "labels", "val labels", "chosen on", "covered", "at the grid's edge"}
)  # fmt: skip
CHOSEN = frozenset({"learning_rate", "weight_decay"})
PROBES = frozenset(  # that chose these; fine-tuning was told them
    {"linear probe", "linear probe of words", "linear probe on few labels", "linear probe of every block"}
)
TASK = {  # the settings of the objective that numbers depend on; None: all
    "pretext": None,
    "masked_words": None,
    "likelihood": frozenset({"_target_", "likelihood", "deviation"}),
    "mutual_information": frozenset({"views"}),
}
CONDITION = {"word_similarity": "file", "analogies": "section"}  # what stood after "@"
POOLED = {"psnr": "psnr_pooled", "psnr_copy": "psnr_pooled_copy"}  # what was one error of all frames or images
NUMBERED = {"prediction": "frame", "mutual_information": "candidates"}  # what stood after the last "_"


def upgraded(plain: Mapping[str, Any]) -> dict[str, Any]:
    """`result.json` of schema 1, as read, in the form of schema 2. What is not as it should be is left as it is: the
    reader of schema 2 refuses it."""
    results = plain.get("results", [])
    if not isinstance(results, list):
        return dict(plain)
    return {**plain, "results": [_evaluation(each, plain) for each in results]}


def _mapping(value: Any) -> Mapping[str, Any]:
    return value if isinstance(value, Mapping) else {}


def _evaluation(found: Any, result: Mapping[str, Any]) -> Any:
    if not isinstance(found, Mapping) or not isinstance(found.get("metrics"), Mapping):
        return found
    place = address(str(found.get("evaluator")), "")
    evaluator = place.evaluator
    recorded = _mapping(found.get("protocol"))
    subsets = _mapping(recorded.get("subsets"))
    probe = recorded.get("evaluator") in PROBES
    terms, chosen, measured = _sorted(recorded, probe)
    terms |= _task(evaluator, result)
    metrics = []
    for name, value in found["metrics"].items():
        metric = _metric(name, value, found)
        condition = next((each for each in subsets if name.endswith(f"@{each}")), "")
        if isinstance(subsets.get(condition), Mapping):
            own, picked, seen = _sorted(subsets[condition], probe)
            metric["terms"] = own
            chosen |= {condition: picked} if picked else {}
            measured |= {condition: seen} if seen else {}
        metrics.append(metric)
    if isinstance(recorded.get("layers"), Mapping):  # of schema 1's `layers`: all that was chosen for each block
        chosen["layers"] = terms.pop("layers")
    fingerprint = measured.pop("fingerprint", None) or terms.pop("fingerprint", None)
    precision = str(_mapping(result.get("cost")).get("precision", ""))
    return {
        "evaluator": evaluator,
        "subject": found.get("subject"),
        "metrics": metrics,
        "on": _data(place.apart, fingerprint, result),
        "protocol": {"terms": terms, "chosen": chosen, "measured": measured},
        "precision": {"pretraining": precision, "evaluation": precision},
        "seconds": found.get("seconds"),
    }


def address(evaluator: str, metric: str) -> Address:
    """What a column of schema 1 was called by.

    >>> str(address("few_label on moving_digits label=speed", "val_accuracy@1%"))
    'few_label.accuracy[labels=0.01,split=val]{on=moving_digits,label=speed}'
    """
    evaluator, _, elsewhere = evaluator.partition(" on ")
    base, at, written = metric.partition("@")
    condition = dict(_condition(evaluator, written)) if at else {}
    if base.startswith("val_"):
        base, condition = base.removeprefix("val_"), {**condition, "split": "val"}
    if evaluator in NUMBERED and (numbered := re.fullmatch(r"(.+)_(\d+)", base)):
        base, condition = numbered[1], {**condition, NUMBERED[evaluator]: int(numbered[2])}
    if evaluator in ("prediction", "reconstruction"):
        base = POOLED.get(base, base)
    dataset, *settings = elsewhere.split(" ")
    apart = {ON: dataset, **dict(setting.partition("=")[::2] for setting in settings)} if elsewhere else {}
    return Address(evaluator, base, condition, apart)


def _metric(name: str, value: Any, found: Mapping[str, Any]) -> dict[str, Any]:
    own, headline = (address(str(found.get("evaluator")), each) for each in (name, str(found.get("headline"))))
    condition = dict(own.condition)
    split = condition.pop("split", "test")
    first = own.metric == headline.metric and split == "test" and condition.keys() == headline.condition.keys()
    if first:
        said = found.get("higher_is_better")
        better = {True: Better.HIGHER, False: Better.LOWER, None: Better.NEITHER}.get(said, said)
    else:
        better = Better.LOWER if own.metric in LOWER else Better.HIGHER if own.metric in HIGHER else Better.NEITHER
    return {
        "name": own.metric,
        "value": value,
        "unit": next((unit for unit, names in UNITS.items() if own.metric in names), _unit(own.metric)),
        "better": better,
        "headline": first,
        "split": split,
        "condition": condition,
    }


def _unit(name: str) -> Unit:
    return Unit.SHARE if "accuracy" in name else Unit.PLAIN


def _condition(evaluator: str, written: str) -> Iterator[tuple[str, str | int | float]]:
    if share := re.fullmatch(r"([\d.]+)%", written):
        yield "labels", float(share[1]) / 100
    elif each := re.fullmatch(r"(\d+) per class", written):
        yield "per_class", int(each[1])
    elif re.fullmatch(r"-\d+", written):
        yield "layer", int(written)
    else:
        yield CONDITION.get(evaluator, "of"), written


def _sorted(recorded: Mapping[str, Any], probe: bool) -> tuple[dict[str, Any], dict[str, Any], dict[str, Any]]:
    """Terms, choices, measurements."""
    chosen = CHOSEN if probe else frozenset()
    terms = {key: value for key, value in recorded.items() if key not in MEASURED | chosen | {"subsets", "evaluator"}}
    if "evaluator" in recorded:
        terms = {"method": recorded["evaluator"], **terms}
    return (
        terms,
        {key: recorded[key] for key in recorded if key in chosen},
        {key: recorded[key] for key in recorded if key in MEASURED},
    )


def _task(evaluator: str, result: Mapping[str, Any]) -> dict[str, Any]:
    if evaluator not in TASK:
        return {}
    objective = _mapping(_mapping(result.get("config")).get("objective"))
    chosen = TASK[evaluator]
    return {f"objective.{key}": value for key, value in objective.items() if chosen is None or key in chosen}


def _data(elsewhere: Mapping[str, Any], fingerprint: Any, result: Mapping[str, Any]) -> dict[str, Any]:
    """The data: the run's own, or what the evaluator's name said."""
    if not elsewhere:
        data, name = _mapping(result.get("data")), _mapping(result.get("name"))
        return {"dataset": str(name.get("dataset", "")), "own": True, "fingerprint": str(data.get("fingerprint", ""))}
    settings = {key: value for key, value in elsewhere.items() if key != ON}
    return {"dataset": elsewhere[ON], "own": False, "fingerprint": str(fingerprint or ""), "settings": settings}
