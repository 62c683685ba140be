"""scripts/methods_run.py, `keep` of scripts/methods.py and scripts/corpora.py: what is missing is made, and no more."""

import shutil
import time
from collections.abc import Iterator
from contextlib import chdir
from dataclasses import replace
from pathlib import Path

import corpora
import methods
import methods_run
import numpy as np
import pytest
import records
import yaml
from made_runs import made_config, made_run
from marks import Mark
from study import Group, Question, StudyError, read_studies

from ssl_runner.config.compose import compose
from ssl_runner.config.request import RunRequest
from ssl_runner.results.metrics import DataRef
from ssl_runner.results.result import SCHEMA, write_result
from ssl_runner.runtime.locks import locked

GROUPS = read_studies(Group, "methods")
WORDS = ["dataset=fake_images", "objective=rotation", "logger=csv"]


def finish(folder: Path, config: dict[str, object]) -> None:
    folder.mkdir(parents=True)
    (folder / "config.yaml").write_text(yaml.safe_dump(config))
    write_result(folder, made_run(folder.name, made_config()).result)


def test_a_finished_run_is_known_before_a_process_is_started(tmp_path: Path) -> None:
    """By its folder, or, where an older version named that, by its config."""
    words = [f"output={tmp_path}", *WORDS]
    request = RunRequest.of(compose(words), words)
    assert methods_run.state_of(words, tmp_path) == "missing"
    with locked(request.folder):
        assert methods_run.state_of(words, tmp_path) == "busy"
    older = {**request.plain, "dataset": request.plain["dataset"] | {"_target_": "ssl_runner.data.fake.FakeImages"}}
    finish(tmp_path / "older" / "s0-0123456789", older)
    assert methods_run.state_of(words, tmp_path) == "finished"
    assert methods_run.state_of([*words, "batch_size=8"], tmp_path) == "missing"
    assert methods_run.state_of([*words, "objective.no=8"], tmp_path) == "missing"  # its process refuses it


def test_a_recorded_run_can_count_as_done(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where it is of the schema of now, and from after the last mark of its group."""
    words = [f"output={tmp_path}", *WORDS]
    request = RunRequest.of(compose(words), words)
    marks = (Mark(reason="", before="2026-11-02"), Mark(reason="", before="2026-11-01"))
    group = replace(GROUPS["digits"], again=marks)
    result = {"started": "2026-11-02T01:00:00", "schema": SCHEMA}
    for change, done in (({}, True), ({"started": "2026-11-01T23:00:00"}, False), ({"schema": SCHEMA - 1}, False)):
        record = records.Record("any", request.plain, result | change)
        monkeypatch.setattr(methods, "records_of", lambda name, record=record: [record])
        recorded = methods.measured_again("digits", group)
        assert recorded == ({request.identity} if done else set())
        assert methods_run.state_of(words, tmp_path, recorded) == ("finished" if done else "missing")


def test_the_runs_of_a_group_are_started_from_where_it_says(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    group = replace(GROUPS["digits"], runs=GROUPS["digits"].runs[:1], common="batch_size=8", seeds=(0, 1))
    states = iter(["finished", "missing", "busy", "missing"])
    monkeypatch.setattr(methods_run, "state_of", lambda words, folder, recorded: next(states))
    first, second = methods_run.missing("digits", group, tmp_path), methods_run.missing("digits", group, tmp_path)
    output = f"output={tmp_path / 'digits'}"
    words = [output, "batch_size=8", "objective=supervised", "controls=[random_start,pixels]"]
    assert list(first) == [[*words, "seed=1"]]
    assert list(second) == [None, [*words, "seed=1"]]


def test_processes_run_side_by_side(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """Each as a slot comes free; one that fails, or is left to another, is counted."""
    (tmp_path / "work.py").write_text("import os, sys; print('no'); sys.exit(int(sys.argv[1]))")
    with chdir(tmp_path):
        assert methods_run.side_by_side("work", [["0"], ["3"], None, ["0"], ["1"]], 2) == 3
        assert methods_run.side_by_side("work", [], 2) == 0
    assert capfd.readouterr().out.splitlines() == ["work 0", "work 3", "work 0", "work 1"]


def test_what_runs_is_stopped_with_what_started_it(tmp_path: Path) -> None:
    (tmp_path / "work.py").write_text(
        "import pathlib, signal, sys, time\n"
        "signal.signal(signal.SIGTERM, lambda *_: (pathlib.Path('stopped').touch(), sys.exit(143)))\n"
        "pathlib.Path('begun').touch()\n"
        "time.sleep(60)\n"
    )

    def commands() -> Iterator[list[str]]:
        yield []
        while not (tmp_path / "begun").exists():
            time.sleep(0.05)
        raise KeyboardInterrupt

    with chdir(tmp_path), pytest.raises(KeyboardInterrupt):
        methods_run.side_by_side("work", commands(), 2)
    assert (tmp_path / "stopped").exists()


def test_finished_runs_are_asked_what_they_lack(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(methods_run, "ROOT", tmp_path)
    outputs = tmp_path / "outputs"
    on = DataRef(dataset="moving_digits", own=False, settings={"label": "speed"})
    config = made_config(seed=1) | {"controls": ["random_start", "pixels"]}
    asked = made_run("asked", config, on=on).result.results
    for name, more in (("new", ()), ("asked", asked)):
        run = made_run(name, config)
        run = run._replace(result=replace(run.result, results=(*run.result.results, *more)))
        folder = write_result(outputs / "video" / "mae" / name, run.result).parent
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
    question = Question(evaluator="linear", data={"dataset": "moving_digits", "label": "speed"})
    assert list(methods_run.asked(outputs / "video", question)) == [
        [
            "run=outputs/video/mae/new",
            "dataset=moving_digits",
            "dataset.label=speed",
            "evaluation=[linear]",
            "controls=[random_start,pixels]",
        ]
    ]
    settings = ("evaluation.minimal_pairs.path=outputs/corpora/blimp",)
    own = Question(evaluator="minimal_pairs", settings=settings)
    assert sorted(methods_run.asked(outputs / "video", own)) == [
        [f"run=outputs/video/mae/{name}", "evaluation=[minimal_pairs]", *settings, "controls=[random_start,pixels]"]
        for name in ("asked", "new")
    ]
    assert list(methods_run.asked(outputs / "video", replace(own, evaluator="linear"))) == []  # they have it
    group = replace(GROUPS["bert"], start_from="video")
    with pytest.raises(StudyError, match="seed 1 needs one run of video; there are 2"):
        methods_run.started(group, [], 1, outputs)
    shutil.rmtree(outputs / "video" / "mae" / "asked")
    start = "outputs/video/mae/new"
    assert methods_run.started(group, [], 1, outputs) == [f"start_from={start}"]
    (tmp_path / start / "encoder").mkdir()
    (tmp_path / start / "encoder" / "tokenizer.json").touch()  # it reads text
    assert methods_run.started(group, [], 1, outputs) == [f"start_from={start}", f"dataset.tokenizer={start}"]
    group = replace(GROUPS["words"], beside={"evaluation.word_translation.other": "video"})
    assert methods_run.started(group, [], 1, outputs) == [f"evaluation.word_translation.other={start}"]


def test_a_run_starts_from_that_of_its_own_network(tmp_path: Path) -> None:
    for name in ("convnet", "vit_micro"):
        run = made_run(name, made_config(), overrides=(f"backbone={name}", "seed=0"))
        write_result(tmp_path / "first" / "supervised" / name, run.result)
    group = replace(GROUPS["bert"], start_from="first")
    words = ["objective=none", "backbone=vit_micro"]
    found = methods_run.started(group, words, 0, tmp_path)
    assert found == [f"start_from={tmp_path / 'first' / 'supervised' / 'vit_micro'}"]
    with pytest.raises(StudyError, match="there are 0"):
        methods_run.started(group, [*words, "backbone.dim=32"], 0, tmp_path)


def test_finished_runs_are_kept_wherever_they_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without the place of their outputs, and beside those that were kept before."""
    monkeypatch.setattr(methods, "RECORDS", tmp_path / "runs")
    outputs = tmp_path / "outputs"
    for seed in (0, 1):
        config = made_config(seed=seed) | {"output": str(outputs / "video")}
        run = made_run("new", config, command=f"ssl-run output={outputs / 'video'}", overrides=(f"seed={seed}",))
        folder = write_result(outputs / "video" / "mae" / f"s{seed}", run.result).parent
        (folder / "config.yaml").write_text(yaml.safe_dump(config))
        methods.keep("video", outputs)
        shutil.rmtree(folder)
    assert [record.name for record in records.read(tmp_path / "runs" / "video.jsonl")] == ["mae-s0", "mae-s1"]
    assert [run.result.seed for run in methods.recorded("video", GROUPS["video"])] == [0, 1]
    text = (tmp_path / "runs" / "video.jsonl").read_text()
    assert str(tmp_path) not in text
    assert "ssl-run output=outputs/methods/video" in text
    assert methods.recorded("words", GROUPS["words"]) == []
    again = replace(GROUPS["video"], of=("video", "words"))
    assert [run.result.seed for run in methods.recorded("again", again)] == [0, 1]
    lacking = replace(GROUPS["minimal_pairs"], of=("video",))
    assert methods.recorded("again", lacking) == []  # these runs were not asked for its columns


def test_a_corpus_is_made_where_it_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Articles are parted as dataset=wiki_sample parts them: 5 % for test, then 5 % of the others for val."""
    novel = tmp_path / "novel"
    novel.mkdir()
    monkeypatch.setattr(corpora, "CORPORA", tmp_path / "corpora")
    monkeypatch.setattr(corpora, "MADE", {"both": lambda folder: corpora.wiki_and_war(folder, novel)})
    monkeypatch.setattr(corpora, "articles", lambda path: [[], *([f"Article {n}.", "It ends."] for n in range(40))])
    with pytest.raises(StudyError, match=r"it lacks \['train', 'valid', 'test'\]"):
        methods_run.make_corpus("both")
    for part in ("train", "valid", "test"):
        (novel / f"{part}.txt").write_text(f"{part}, he said")
    methods_run.make_corpus("both")
    made = {part: tmp_path / "corpora" / "both" / part for part in ("train", "val", "test")}
    assert [(made[part] / "war_and_peace.txt").read_text().split(",")[0] for part in made] == ["train", "valid", "test"]
    texts = {part: (made[part] / "wiki.txt").read_text() for part in made}
    assert [texts[part].count("Article") for part in ("train", "val", "test")] == [36, 2, 2]
    assert len({line for text in texts.values() for line in text.splitlines() if line.startswith("Article")}) == 40
    assert texts["val"].startswith("Article")
    assert texts["val"].endswith("\n\nIt ends.\n")
    assert [path.name for path in (tmp_path / "corpora").iterdir()] == ["both"]
    monkeypatch.setattr(corpora, "articles", None)
    methods_run.make_corpus("both")  # is there
    methods_run.make_corpus("")


def test_halves_of_a_corpus_hold_all_of_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Training articles, and parts of 50 paragraphs of the novel, by turns."""
    monkeypatch.setattr(corpora, "articles", lambda path: [[f"Article {n}.", "It ends."] for n in range(40)])
    with pytest.raises(StudyError, match=r"in train\.txt; it does not"):
        corpora.halves(tmp_path / "halves", tmp_path)
    (tmp_path / "train.txt").write_text("\n\n".join(f"Paragraph {n}." for n in range(120)))
    corpora.halves(tmp_path / "halves", tmp_path)
    texts = [(tmp_path / "halves" / f"{name}.txt").read_text() for name in ("first", "second")]
    assert [text.count("Article") for text in texts] == [18, 18]
    assert [text.count("Paragraph") for text in texts] == [70, 50]
    lines = [line for text in texts for line in text.splitlines() if line.startswith(("Article", "Paragraph"))]
    assert len(set(lines)) == len(lines) == 156


def test_an_archive_is_unpacked_whole(tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    with pytest.raises(StudyError, match=r"unpack\.py; it does not"):
        corpora.archive("any", "inner", tmp_path / "made", archives)
    code = "import sys, pathlib; made = pathlib.Path(sys.argv[2], 'inner'); made.mkdir(); (made / 'a').write_text('b')"
    (archives / "unpack.py").write_text(code)
    corpora.archive("any", "inner", tmp_path / "made", archives)
    assert (tmp_path / "made" / "a").read_text() == "b"


def test_a_part_of_a_set_of_images_is_made_of_the_same_bytes(tmp_path: Path) -> None:
    archives = tmp_path / "archives"
    archives.mkdir()
    cut = corpora.Cut("all.npz", classes=2, train=2, test=1)
    with pytest.raises(StudyError, match=r"unpack\.py; it does not"):
        corpora.images("any", cut, tmp_path / "none", archives)
    code = """
import sys, numpy as np
y = np.array([2, 1, 0, 1, 0, 1])
x = np.arange(6, dtype=np.uint8)
np.savez(f"{sys.argv[2]}/all.npz", x_train=x, y_train=y, x_test=x + 10, y_test=y, label_names=np.array(list("abc")))
"""
    (archives / "unpack.py").write_text(code)
    for name in ("one", "two"):
        corpora.images("any", cut, tmp_path / name, archives)
        time.sleep(2.1 * (name == "one"))  # a zip's times are of two seconds
    one, two = ((tmp_path / name / "images.npz").read_bytes() for name in ("one", "two"))
    assert one == two
    with np.load(tmp_path / "one" / "images.npz") as made:
        assert {name: made[name].tolist() for name in made} == {
            "label_names": ["a", "b"], "x_train": [2, 4, 1, 3], "y_train": [0, 0, 1, 1], "x_test": [12, 11],
            "y_test": [0, 1],
        }  # fmt: skip


def test_every_corpus_of_a_group_can_be_made() -> None:
    for group in GROUPS.values():
        assert group.corpus in ("", *corpora.MADE)
        words = " ".join(word for line in group.overrides() for word in line)
        assert ("outputs/corpora/" in words) == bool(group.corpus)
        assert f"outputs/corpora/{group.corpus}" in words or not group.corpus
        for question in group.asked_afterwards:
            assert question.corpus in ("", *corpora.MADE)
            assert ("outputs/corpora/" in " ".join(question.settings)) == bool(question.corpus)
