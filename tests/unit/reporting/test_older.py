"""What an older version found stands in the columns of this one, whatever was renamed, nested or added since."""

from collections.abc import Mapping
from typing import Any

import pytest
from findings import node_of
from made_runs import made_metric, made_run

from ssl_runner.commands.evaluations import task_terms, terms_of
from ssl_runner.config.compose import compose
from ssl_runner.config.names import NESTED, TARGET, added
from ssl_runner.config.paths import options
from ssl_runner.config.signatures import locate
from ssl_runner.config.terms import protocol_now
from ssl_runner.reporting.protocols import columns, numbers
from ssl_runner.results.metrics import DataRef, Protocol
from ssl_runner.results.result import Evaluation

NODES = {name: node for name in options("evaluation") if TARGET in (node := node_of(name))}
HELD = {name: NESTED[node[TARGET]] for name, node in NODES.items() if node[TARGET] in NESTED}


def older(terms: Mapping[str, Any], target: str) -> dict[str, Any]:
    """Terms as they were before there were nodes within an evaluator, without all that was added."""
    nests = NESTED[target]
    later = {f"{node}.{key}" for node, nest in nests.items() for key in added(nest.target)} | set(added(target))
    if target.endswith(("FewLabelFineTune", "SentencePairFineTune")):  # which had these themselves
        later -= {"recipe.least_steps", "texts.labels"}
    return {
        key.rpartition(".")[2] if key.partition(".")[0] in nests else key: value
        for key, value in terms.items()
        if key not in nests and key not in later
    }


@pytest.mark.parametrize("name", HELD)
def test_terms_of_before_there_were_nodes_are_those_of_now(name: str) -> None:
    target = NODES[name][TARGET]
    cls = locate(target)
    now = terms_of({**NODES[name], **added(target)}, cls.presentation) | {"method": "any", "files": "3f2a"}
    before = older(now, target)
    assert before != now
    assert protocol_now(before, target, None) == now
    assert protocol_now(now, target, None) == now


def shared(before: Evaluation, now: Evaluation, config: Mapping[str, Any], current: Mapping[str, Any]) -> bool:
    """Whether the numbers of an older result and of one of now stand in one column."""
    runs = (made_run("a", results=(before,)), made_run("b", results=(now,)))
    results = (
        run.result.__class__(**{**vars(run.result), "config": dict(known)})
        for run, known in zip(runs, (config, current), strict=True)
    )
    found = [("mnist", number) for result in results for number in numbers(result)]
    evaluators = {number.evaluator for _, number in found}
    return len(evaluators) == 1 and len(columns(found)) == 1


def evaluation(name: str, terms: Mapping[str, Any], on: DataRef | None = None) -> Evaluation:
    return Evaluation(
        evaluator=name,
        subject="pretrained",
        metrics=(made_metric(),),
        on=on or DataRef(dataset="mnist", own=False, fingerprint="1"),
        protocol=Protocol(terms={"method": "any", **terms}),
    )


@pytest.mark.parametrize("known", [True, False], ids=["of the run", "asked for later"])
def test_an_evaluator_that_moved_and_whose_keys_were_nested_and_added(known: bool) -> None:
    """Whether the config of the run names its class, or it was asked for by ssl-evaluate."""
    target = NODES["tagging"][TARGET]
    now = terms_of(NODES["tagging"], locate(target).presentation)
    before = evaluation("tagging", older(now, target))
    config = {"evaluation": {"tagging": {TARGET: "ssl_runner.evaluation.tagging.Tagging"}}} if known else {}
    assert shared(before, evaluation("tagging", now), config, {"evaluation": {"tagging": NODES["tagging"]}})
    other = evaluation("tagging", now | {"grid.steps": 3})
    assert not shared(before, other, config, {})


def test_a_key_that_was_added_parts_no_column_at_the_value_of_before() -> None:
    now = {"recipe": "Recipe", "recipe.epochs": 1, "recipe.least_steps": 1, "views": None}
    assert shared(evaluation("finetune", {"epochs": 1}), evaluation("finetune", now), {}, {})
    assert not shared(evaluation("finetune", {"epochs": 1}), evaluation("finetune", now | {"views": "Crop"}), {}, {})


def test_an_evaluator_that_is_called_otherwise_and_a_value_that_is_spelled_otherwise() -> None:
    before, now = evaluation("neighbours", {"count": 8}), evaluation("neighbors", {"count": 8})
    assert shared(
        before, now, {"evaluation": {"neighbours": {TARGET: "ssl_runner.evaluation.neighbours.Neighbours"}}}, {}
    )
    before, now = (evaluation("label_propagation", {"shown": word}) for word in ("grey", "gray"))
    assert shared(before, now, {}, {})


def test_a_task_whose_class_keys_and_values_are_called_otherwise() -> None:
    """The objective of `pretext`, with the views within it; and what `reconstruction` says was hidden."""
    node = compose(["objective=byol"])["objective"]
    target = "ssl_runner.objectives.bootstrap.Bootstrap"
    now = task_terms(node, None)
    before = {("objective.views.grey" if key == "objective.views.gray" else key): value for key, value in now.items()}
    before["objective"] = "Bootstrap"
    assert "objective.views.grey" in before
    older_config = {"objective": {**node, TARGET: target}}
    assert shared(evaluation("pretext", before), evaluation("pretext", now), older_config, {"objective": node})
    hides = [{"hides": {"pixels": "the hole", "hole": hole}} for hole in ("centre", "center")]
    known = {"objective": {TARGET: "ssl_runner.objectives.inpainting.Inpainting"}}
    older, newer = (evaluation("reconstruction", each) for each in hides)
    assert shared(older, newer, known, known)


def test_other_data_whose_settings_are_called_otherwise() -> None:
    on = [DataRef(dataset="moving_digits", own=False, settings={key: True}) for key in ("colour", "color")]
    older, newer = (evaluation("knn", {"k": 20}, each) for each in on)
    assert shared(older, newer, {}, {})


def test_an_evaluator_that_is_not_known_stays_as_it_is() -> None:
    run = made_run("a", results=(evaluation("somebodys_own", {"steps": 1, "a.b": 2}),))
    (number,) = numbers(run.result)
    assert number.terms == {"method": "any", "steps": 1, "a.b": 2}
