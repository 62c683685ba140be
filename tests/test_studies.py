"""scripts/methods.py and scripts/claims.py: the studies they read, and the pages they write."""

import itertools
import json
import shlex
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import claims
import methods
import methods_table
import numpy as np
import pictures
import pytest
import records
import yaml
from claims_tables import TABLES, Found, Record, bounds, read_record
from hydra.core.override_parser.overrides_parser import OverridesParser
from made_runs import made_config, made_metric, made_run
from marks import STARTED, Mark, open_marks, said_of, sign
from methods_table import above
from scipy import stats
from study import ROOT, STUDIES, Claim, Column, Drawn, Group, GroupClaim, StudyError, asks, read_studies, read_study

from ssl_runner.config.compose import compose
from ssl_runner.config.fit import check_fit
from ssl_runner.config.schema import typed
from ssl_runner.figures import HeatMap, Passages
from ssl_runner.reporting.plots import save_figure
from ssl_runner.reporting.statistics import Interval
from ssl_runner.results.address import read_address
from ssl_runner.results.result import PRETRAINED, RANDOM_START, write_result

GROUPS = read_studies(Group, "methods")
CLAIMS = read_studies(Claim, "claims")
DRAWN = read_studies(Drawn, "pictures")
ACCURACY = Column(title="linear", evaluator="linear", metric="accuracy", times=100)


@pytest.mark.thorough
def test_the_pages_are_what_the_records_say() -> None:
    """Whoever edits docs/methods.md or docs/claims.md by hand, or a study, and not the other, is told so."""
    assert methods.page(GROUPS) == (ROOT / "docs" / "methods.md").read_text(encoding="utf-8")
    assert claims.page(CLAIMS) == (ROOT / "docs" / "claims.md").read_text(encoding="utf-8")
    assert pictures.page(DRAWN) == (ROOT / "docs" / "pictures.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("folder", ["methods", "claims", "group_claims", "pictures"])
def test_every_study_has_its_place(folder: str) -> None:
    listed = yaml.safe_load((STUDIES / f"{folder}.yaml").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.stem for path in (STUDIES / folder).glob("*.yaml"))


def test_every_record_has_its_study() -> None:
    assert {path.name for path in methods.RECORDS.iterdir()} <= {f"{name}.jsonl" for name in GROUPS}
    assert {path.stem for path in claims.RECORDS.glob("*.json")} <= CLAIMS.keys()
    assert {path.stem for path in pictures.RECORDS.glob("*.json")} <= DRAWN.keys()


@pytest.mark.parametrize(("name", "drawn"), DRAWN.items())
def test_what_draws_composes_and_its_record_is_of_these_commands(name: str, drawn: Drawn) -> None:
    for command in drawn.commands:
        program, *words = shlex.split(command)
        if program == "ssl-run":
            typed(compose(words))
        else:
            assert program in pictures.MODULES
    if (path := pictures.RECORDS / f"{name}.json").exists():
        record = json.loads(path.read_text(encoding="utf-8"))
        assert record["commands"] == list(drawn.commands)
        assert [figure["title"] for figure in record["figures"]] == list(drawn.figures)
        assert record["numbers"].keys() == {column.title for column in drawn.columns}
        assert all((pictures.RECORDS / figure["file"]).stat().st_size for figure in record["figures"])


def test_pictures_of_the_last_run_are_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pictures, "RECORDS", tmp_path / "docs")
    drawn = Drawn(
        title="A map", about="Of words.", figures=("knn: map", "knn: said"), columns=(ACCURACY,),
        commands=("ssl-run seed=0", "ssl-export run=RUN format=codes", "ssl-run a=RUN"),
    )  # fmt: skip
    asked = pictures.commands(drawn, tmp_path)
    assert next(asked) == ["ssl-run", "seed=0", f"output={tmp_path / '1'}"]
    with pytest.raises(StudyError, match="holds 0 finished runs"):
        next(asked)
    for place in "12":
        write_result(
            tmp_path / place / "a" / "s0", made_run("a", metrics={"linear": {PRETRAINED: {"accuracy": 0.5}}}).result
        )
    first, last = (tmp_path / place / "a" / "s0" for place in "12")
    asked = pictures.commands(drawn, tmp_path)
    assert [*asked][1:] == [
        ["ssl-export", f"run={first}", "format=codes"], ["ssl-run", f"a={first}", f"output={tmp_path / '2'}"]
    ]  # fmt: skip
    figures = last / "figures"
    save_figure(figures, "map", HeatMap("ab", "cd", np.eye(2), "x", "y", note="A note."), "knn: map")
    with pytest.raises(StudyError, match="no such figures: knn: said; there are: knn: map"):
        pictures.keep("words", drawn, tmp_path)
    save_figure(figures, "said", Passages({"said": ["yes"]}, note="Words."), "knn: said")
    pictures.keep("words", drawn, tmp_path)
    assert sorted(path.name for path in (tmp_path / "docs").iterdir()) == ["words-1.png", "words-2.txt", "words.json"]
    page = pictures.page({"words": drawn, "unrecorded": drawn})
    assert page.count("## A map") == 1
    assert "* linear: 50.0\n" in page
    assert "![knn: map](pictures/words-1.png)\n\nA note." in page
    assert "yes" in page


@pytest.mark.parametrize(("name", "claim"), read_studies(GroupClaim, "group_claims").items())
def test_a_claim_of_groups_names_what_there_is(name: str, claim: GroupClaim) -> None:
    titles = [{column.title for column in GROUPS[each].columns} for each in claim.groups]
    assert set(claim.columns) <= set.union(*titles)
    assert all(claim.shown(GROUPS[each]).columns for each in claim.groups)


def test_a_claim_of_groups_shows_its_columns_once_all_its_groups_are_recorded(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    claim = GroupClaim(question="Does it?", said="It does.", groups=("mnist", "digits"), columns=("linear",))
    monkeypatch.setattr(claims, "read_studies", lambda kind, _: {"it": claim} if kind is GroupClaim else GROUPS)
    (section,) = claims.by_groups()
    assert section["command"] == "python scripts/methods.py run mnist digits"
    assert [table["group"].title for table in section["tables"]] == [GROUPS["mnist"].title, GROUPS["digits"].title]
    for table in section["tables"]:
        heads = table["table"].splitlines()[0]
        assert "| linear" in heads
        assert "k-NN" not in heads
    assert section["found"] == ""
    monkeypatch.setattr(methods, "RECORDS", tmp_path)
    shutil.copy(ROOT / "docs" / "runs" / "mnist.jsonl", tmp_path)
    assert claims.by_groups() == []


def test_marks_follow_the_columns_that_are_shown() -> None:
    marks = (
        Mark(reason="a", before="2026-01-01", columns=("linear", "k-NN")),
        Mark(reason="b", before="2026-01-01", columns=("k-NN",)),
        Mark(reason="c", before="2026-01-01"),
    )
    group = replace(GROUPS["mnist"], again=marks)
    shown = GroupClaim(question="", said="", groups=("mnist",), columns=("linear",)).shown(group)
    assert [(mark.reason, mark.columns) for mark in shown.again] == [("a", ("linear",)), ("c", ())]


@pytest.mark.parametrize("name", GROUPS)
@pytest.mark.sampled(4)
def test_runs_of_a_group_go_together(name: str) -> None:
    """Each run by itself, and each batch's overrides once."""
    group, seen = GROUPS[name], set[str]()
    for batch in group.runs:
        for place, run in enumerate(batch.of):
            if place == 0 or run not in seen:
                beside = " ".join(f"{key}=." for key in group.beside)
                check_fit(typed(compose(shlex.split(f"{group.common} {run} {batch.also} {beside}"))))
            seen.add(run)
    assert bool(group.of) != bool(seen)
    for question in group.asked_afterwards:
        assert set(group.of) <= GROUPS.keys()
        if question.data:
            assert question.data["dataset"] == compose(group.overrides()[0])["names"]["dataset"]


@pytest.mark.parametrize("name", CLAIMS)
@pytest.mark.sampled(6)
def test_sweeps_of_claims_go_together(name: str) -> None:
    words = CLAIMS[name].words()
    parsed = OverridesParser.create().parse_overrides(words)
    fixed = [word for word, override in zip(words, parsed, strict=True) if not override.is_sweep_override()]
    assert compose(fixed)["sweep"]["params"]


@pytest.mark.parametrize("name", [name for name in CLAIMS if (claims.RECORDS / f"{name}.json").exists()])
def test_a_recorded_sweep_ran_as_its_claim_says(name: str) -> None:
    assert json.loads((claims.RECORDS / f"{name}.json").read_text())["command"] == f"ssl-run {CLAIMS[name].overrides}"


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"colums": []}, "colums: no such key; choose one of: title"),
        (
            {"columns": [{"title": "a", "evaluator": "linear", "metric": "accuracy", "percent": 1}]},
            "columns[0].percent",
        ),
        ({"runs": [{"of": [""], "with": "seed=1"}]}, "runs[0].with: no such key; choose one of: of, also"),
        ({"again": [{"why": "new tokens", "reason": "", "before": "2026-11-29"}]}, "again[0].why"),
        ({"again": [{"reason": "", "before": "soon"}]}, "again[0]: before is 'soon'; a date is needed"),
        ({"again": [{"reason": ""}]}, "again[0].before is missing"),
        ({"again": "new tokens"}, "again is"),
        ({"jobs": "two"}, "jobs is"),
    ],
)
def test_what_a_study_does_not_know_is_refused(tmp_path: Path, change: dict[str, Any], said: str) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump(yaml.safe_load((STUDIES / "methods" / "main.yaml").read_text()) | change))
    with pytest.raises(StudyError) as error:
        read_study(Group, path)
    assert str(path) in str(error.value)
    assert said in str(error.value)


def test_a_number_is_named_by_its_parts() -> None:
    few = Column(title="", evaluator="few_label", metric="accuracy", condition={"labels": 0.01})
    assert asks(few, read_address("few_label.accuracy[labels=0.01]"))
    assert asks(few, read_address("few_label.accuracy[labels=0.01]{precision=bfloat16}"))
    assert not asks(few, read_address("few_label.accuracy[labels=0.1]"))
    assert not asks(few, read_address("few_label.accuracy[labels=0.01]{on=stl10}"))
    speed = Column(title="", evaluator="linear", metric="accuracy", data={"dataset": "moving_digits", "label": "speed"})
    assert asks(speed, read_address("linear.accuracy{on=moving_digits,label=speed}"))
    assert not asks(speed, read_address("linear.accuracy"))


def test_a_network_without_its_last_relu_is_another_network() -> None:
    runs = [
        made_run(
            f"last_relu={relu}",
            made_config(backbone__last_relu=relu),
            {"linear": {PRETRAINED: {"accuracy": own}, RANDOM_START: {"accuracy": start}}},
        )
        for relu, own, start in ((True, 0.9, 0.5), (False, 0.8, 0.6))
    ]
    table = methods_table.Table("a", Group(title="", about="", runs=(), columns=(ACCURACY,), jobs=1), runs).markdown()
    assert "| *random start* | vit | 50.0 |" in table
    assert "| *random start* | vit (-) | 60.0 |" in table
    assert "| mae | vit | 90.0 | (40.0) |" in table
    assert "| mae | vit (-) | 80.0 | (20.0) |" in table


def test_differences_are_those_of_a_paired_t_test() -> None:
    own, control = {0: 0.97, 1: 0.95, 2: 0.99, 7: 0.1}, {0: 0.91, 1: 0.93, 2: 0.92, 8: 0.9}
    found = stats.ttest_rel([0.97, 0.95, 0.99], [0.91, 0.93, 0.92]).confidence_interval(0.95)
    shown = f"{50 * (found.low + found.high):.1f} ± {50 * (found.high - found.low):.1f}"
    assert above(own, control, ACCURACY) == f"({shown})"  # holds 0
    assert above({0: 0.97, 1: 0.95, 2: 0.971}, {0: 0.9, 1: 0.88, 2: 0.9}, ACCURACY) == "7.0 ± 0.1"
    assert above({0: 0.97}, {0: 0.9}, ACCURACY) == "(7.0)"  # one seed shows nothing
    assert above({0: 0.97}, {1: 0.9}, ACCURACY) == ""


def mark(**about: Any) -> Mark:
    return Mark(reason="new tokens", before="2026-11-29", **about)


DINO, START = {"objective": "dino", "backbone": "convnet"}, {"subject": "random_start", "backbone": "per_frame"}


def test_a_mark_stands_where_it_says() -> None:
    whole, rows, column = mark(), mark(objective="dino"), mark(columns=("linear",))
    cell = mark(subject="random_start", backbone="per_frame", columns=("place",))
    assert [sign([whole], *at) for at in ((None, "linear"), (DINO, None), (DINO, "linear"))] == [""] * 3
    assert [sign([rows], *at) for at in ((None, "linear"), (DINO, None), (DINO, "linear"))] == ["", " †", ""]
    assert [sign([column], *at) for at in ((None, "linear"), (DINO, None), (DINO, "linear"))] == [" †", "", ""]
    assert [sign([cell], *at) for at in ((START, "place"), (START, "speed"), (DINO, "place"))] == [" †", "", ""]


def test_a_mark_goes_as_newer_runs_come() -> None:
    """It stands above the table while all runs that it is about are older, then beside those that are."""
    old, new = DINO | {STARTED: "2026-11-28T23:59:59+00:00"}, START | {STARTED: "2026-11-29T00:00:00+00:00"}
    whole, rows, column = mark(), mark(objective="dino"), mark(columns=("linear",))
    assert open_marks([whole, rows, column], {"linear": [old], "knn": [old]}) == (whole, rows, column)
    assert open_marks([whole, rows, column], {"linear": [new], "knn": [new]}) == ()
    assert open_marks([column], {"linear": [new], "knn": [old]}) == ()
    found = open_marks([whole, rows, column], {"linear": [old, new], "knn": [old]})
    assert said_of(found) == [
        "† The rows marked so, to be measured again: new tokens",
        "† *dino*, to be measured again: new tokens",
        "† *linear*, where marked, to be measured again: new tokens",
    ]
    whole, rows, column = found
    places = [(None, "linear"), (old, None), (old, "linear"), (new, None), (new, "linear")]
    assert [sign([whole], *at) for at in places] == ["", " †", "", "", ""]
    assert [sign([column], *at) for at in places] == ["", "", " †", "", ""]


def test_a_table_that_is_partly_measured_again_marks_the_rest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A seed of GloVe started a week later than all other runs; then all of GloVe; then all."""
    monkeypatch.setattr(methods, "RECORDS", tmp_path)
    kept = records.read(ROOT / "docs" / "runs" / "words.jsonl")
    recorded = max(record.started for record in kept)
    again = replace(mark(), before=recorded[:4] + "-12-31")
    group = replace(GROUPS["words"], again=(again,))

    def shown(newer: Callable[[records.Record], bool]) -> list[str]:
        dated = [r._replace(result=r.result | {"started": "2027-01-01"}) if newer(r) else r for r in kept]
        records.write(tmp_path / "words.jsonl", dated)
        page = methods.page({"words": group}).splitlines()
        return [line for line in page if line.startswith("| ") and "†" in line] + [
            line for line in page if line.startswith("†")
        ]

    assert shown(lambda record: "glove" in record.name and record.result["seed"] == 0) == [
        "† All figures of this table, to be measured again: new tokens"
    ]
    *rows, said = shown(lambda record: "glove" in record.name)
    assert {row.split(" |")[0] for row in rows} == {"| cbow †", "| skip_gram †"}
    assert said == "† The rows marked so, to be measured again: new tokens"
    *rows, said = shown(lambda record: record.name.split("-")[1] != "glove")
    assert [row.split(" |")[0] for row in rows] == ["| glove †"]
    assert shown(lambda record: True) == []


@pytest.mark.parametrize(
    ("about", "said"),
    [
        (mark(columns=("linar",)), "no such title: linar"),
        (mark(objective="dimo"), "no row of the table"),
    ],
)
def test_a_mark_of_nothing_is_refused(about: Mark, said: str) -> None:
    group = GROUPS["digits"]
    with pytest.raises(StudyError, match=said):
        methods.page({"digits": Group(**{**vars(group), "again": (about,)})})


def test_the_main_table_is_worked_by_hand() -> None:
    """Its figures, from the recorded files without any of our code."""
    _, *lines = (methods.RECORDS / "main.jsonl").read_text().splitlines()
    results = [json.loads(line)["result"] for line in lines]
    found = {
        (result["seed"], each["subject"]): each["metrics"]["accuracy"]
        for result in results
        for each in result["results"]
        if each["evaluator"] == "knn"
    }
    own, start = (np.array([found[seed, subject] for seed in (0, 1, 2)]) for subject in ("pretrained", "random_start"))

    def shown(values: np.ndarray) -> str:
        half = stats.t.ppf(0.975, 2) * values.std(ddof=1) / np.sqrt(3)
        return f"{100 * values.mean():.1f} ± {100 * half:.1f}"

    line = next(line for line in methods.page({"main": GROUPS["main"]}).splitlines() if line.startswith("| simclr"))
    assert f"| **{shown(own)}** | {shown(own - start)} |" in line


def made_sweep(folder: Path, claim: Claim) -> Path:
    """Three mask ratios of two seeds, as a sweep leaves them."""
    runs = []
    for ratio, seed in itertools.product((0.25, 0.5, 0.75), (0, 1)):
        found = {"pretrained": {"accuracy": ratio + seed / 100}, "random_start": {"accuracy": 0.1}}
        tenth = {
            subject: [made_metric(value=values["accuracy"], condition={"labels": 0.1})]
            for subject, values in found.items()
        }
        metrics = {"linear": found, "few_label_finetune": tenth}
        run = made_run(f"{ratio}-{seed}", made_config(seed=seed, objective__ratio=ratio), metrics)
        result = replace(run.result, command=f"ssl-run output={folder} objective.ratio={ratio}", sweep="mask_ratio-1")
        runs.append(str(write_result(folder / run.name, result).parent.relative_to(folder)))
    sweep = folder / "sweeps" / "mask_ratio-1"
    sweep.mkdir(parents=True)
    command = shlex.join(["ssl-run", "-m", f"output={folder}", *claim.words()])
    (sweep / "sweep.yaml").write_text(yaml.safe_dump({"command": command, "runs": runs}))
    return sweep


def test_a_sweep_is_kept_and_shown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "claims"
    folder.mkdir()
    shutil.copy(claims.RECORDS / "mask_ratio_text.json", folder)
    monkeypatch.setattr(claims, "RECORDS", folder)
    sweep = made_sweep(tmp_path / "outputs", CLAIMS["mask_ratio"])
    claims.keep("mask_ratio", sweep, CLAIMS)
    kept = ["mask_ratio-1.png", "mask_ratio-2.png", "mask_ratio.json", "mask_ratio_text-0.png", "mask_ratio_text.json"]
    assert sorted(path.name for path in folder.iterdir()) == kept
    assert str(tmp_path) not in (folder / "mask_ratio.json").read_text()
    page = claims.page(CLAIMS)
    assert "| 0.5 | 50.5 ± 6.4 | 10.0 ± 0.0 | 50.5 ± 6.4 | 10.0 ± 0.0 † |" in page
    assert "| 0.75 | 75.5 ± 6.4 = |" in page
    assert "6 runs, seeds 0, 1; 10 minutes" in page
    assert "claims/mask_ratio-2.png" in page

    other = replace(CLAIMS["mask_ratio"], overrides="sweep=mask_ratio batch_size=8")
    with pytest.raises(StudyError, match=r"claims/mask_ratio\.yaml says ssl-run sweep=mask_ratio batch_size=8"):
        claims.keep("mask_ratio", sweep, {"mask_ratio": other})
    other = replace(CLAIMS["mask_ratio"], pictures=("linear",))
    with pytest.raises(StudyError, match="no such pictures: linear; there are: Linear accuracy by ratio"):
        claims.keep("mask_ratio", sweep, {"mask_ratio": other})


def test_a_record_of_one_seed_has_no_interval_and_no_tie() -> None:
    cell = {"setting": "a", "column": "linear.accuracy", "mean": 0.5, "low": None, "high": None, "n": 1, "tied": True}
    exported = {
        "axes": [{"key": "objective", "short": "objective", "values": ["a"], "numeric": False}],
        "settings": [{"label": "a", "values": {"objective": "a"}, "runs": [{"started": "2026-11-26"}]}],
        "columns": [{"key": "linear.accuracy", "evaluator": "linear", "metric": "accuracy"}],
        "cells": [cell | {"controls": {}}],
    }
    record = read_record(CLAIMS["objectives"], exported, (ACCURACY,))
    assert record.shown("a", ACCURACY) == "50.0"
    assert record.shown("b", ACCURACY) == record.start("a", ACCURACY) == "-"
    assert bounds({"mean": 1.0, "low": 0.5, "high": 1.5, "n": 3}) == Interval(1.0, 0.5, 1.5, 3)


def test_architectures_are_compared_by_width_by_order_and_by_layer() -> None:
    """Of three tasks on a network of two stages and one of three, where the second task is not yet recorded."""
    accuracy = {  # task, network, width -> linear accuracy; of the first layer a tenth less
        ("jigsaw", "deep", 1): 0.5, ("jigsaw", "deep", 2): 0.6, ("jigsaw", "flat", 1): 0.3, ("jigsaw", "flat", 2): 0.2,
        ("rotation", "deep", 1): 0.4, ("rotation", "deep", 2): 0.3, ("rotation", "flat", 1): 0.2,
        ("rotation", "flat", 2): 0.4, ("exemplar", "deep", 1): 0.1, ("exemplar", "deep", 2): 0.2,
        ("exemplar", "flat", 1): 0.1,
    }  # fmt: skip
    first = Column(title="layer -3", evaluator="layers", metric="accuracy", condition={"layer": -3}, times=100)
    columns = (ACCURACY, first, replace(first, title="layer -2", condition={"layer": -2}))
    cells = {}
    for (task, network, width), value in accuracy.items():
        label = f"{task} {network} {width}"
        start = Interval(0.1, 0.1, 0.1, 3)
        cells[label, "linear"] = Found(Interval(value, value - 0.01, value + 0.01, 3), start, None, task == "jigsaw")
        for column in columns[1:] if network == "deep" else columns[2:]:
            cells[label, column.title] = cells[label, "linear"]._replace(own=Interval(value - 0.1, 0, 1, 3))
    values = {
        f"{task} {network} {width}": {"objective": task, "backbone": network, "backbone.widening": width}
        for task, network, width in accuracy
    }
    by_width, orders, by_layer = TABLES["architectures"](Record((), values, columns, cells, ())).split("\n\n")
    assert "| jigsaw | deep | 50.0 ± 1.0 = | 10.0 ± 0.0 | 60.0 ± 1.0 = | 10.0 ± 0.0 | +10.0 |" in by_width
    assert "| rotation | flat | 20.0 ± 1.0 | 10.0 ± 0.0 | 40.0 ± 1.0 | 10.0 ± 0.0 | +20.0 |" in by_width
    assert "| exemplar | flat | 10.0 ± 1.0 | 10.0 ± 0.0 | - | - | - |" in by_width
    assert "| deep | 1 | jigsaw, rotation, exemplar | - | 1.00 |" in orders
    assert "| flat | 2 | rotation, jigsaw | - | - |" in orders
    assert by_layer.splitlines()[0] == "| network, width 2 | task | layer 1 | layer 2 |"
    assert "| deep | jigsaw | 50.0 ± 50.0 | 50.0 ± 50.0 |" in by_layer
    assert "| flat | rotation | 30.0 ± 50.0 | - |" in by_layer
    assert "| flat | random start | 10.0 ± 0.0 | - |" in by_layer
