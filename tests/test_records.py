"""scripts/records.py: the file of a group's runs, and what a run that is measured again replaces."""

import json
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
from made_runs import made_config, made_run
from records import Record, merge, read, write
from study import StudyError

from ssl_runner.results.plain import to_plain


def made_record(name: str, *, started: str = "2026-11-26", words: tuple[str, ...] = (), **changed: Any) -> Record:
    """A run of `made_config(**changed)`, by the command of these words, or of what is changed."""
    config = made_config(**changed)
    words = words or tuple(f"{key}={value}" for key, value in changed.items())
    made = made_run(name, config, started=started, overrides=(*words, f"seed={config['seed']}")).result
    result = {key: value for key, value in to_plain(asdict(made)).items() if key != "config"}
    return Record(name, config, {"schema": 2} | result)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Three seeds; what they share stands in the first line."""
    write(tmp_path / "group.jsonl", [made_record(f"mae-s{seed}", seed=seed) for seed in (2, 0, 1)])
    return tmp_path / "group.jsonl"


def lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def test_what_is_written_is_read(file: Path) -> None:
    first, *runs = map(json.loads, lines(file))
    assert first["shared"]["batch_size"] == 256
    assert [line["config"] for line in runs] == [{"seed": 0}, {"seed": 1}, {"seed": 2}]
    assert not any("config" in line["result"] for line in runs)
    for seed, found in enumerate(read(file)):
        assert found._replace(place="") == made_record(f"mae-s{seed}", seed=seed)
        assert found.read().config == made_config(seed=seed)
    write(file, read(file)[::-1])
    assert [json.loads(line)["run"] for line in lines(file)[1:]] == ["mae-s0", "mae-s1", "mae-s2"]


def test_a_run_that_is_measured_again_changes_its_line_alone(file: Path) -> None:
    """Although its config has another key, and lacks one that all had."""
    before = lines(file)
    again = made_record("mae-s1", seed=1, started="2026-12-01", contents={"dataset.path": "1a2b"})
    del again.config["logger"]
    write(file, merge(read(file), [again]))
    changed = [place for place, (one, other) in enumerate(zip(before, lines(file), strict=True)) if one != other]
    assert changed == [2]
    assert read(file)[1]._replace(place="") == again
    assert json.loads(lines(file)[2])["without"] == ["logger"]

    rest = [made_record(f"mae-s{seed}", seed=seed, started="2026-12-01", batch_size=8) for seed in (0, 1, 2)]
    write(file, rest)  # none is left of those that shared the first line
    assert json.loads(lines(file)[0])["shared"]["batch_size"] == 8


@pytest.mark.parametrize(
    ("place", "text", "said"),
    [
        (1, '{"shared": [1]}', "line 1 has no 'shared' that is a dict"),
        (2, '{"run": "mae-s1", "config"', "line 2 is not a whole JSON object"),
        (3, "[]", "line 3 has no 'run' that is a str"),
        (3, '{"run": "mae-s1", "config": {}, "result": {"seed": 1}}', "line 3, result has no 'started' that is a str"),
        (4, None, "line 4: mae-s0 stands in .*line 2 already"),
    ],
)
def test_a_damaged_line_is_refused(file: Path, place: int, text: str | None, said: str) -> None:
    found = lines(file)
    found[place - 1] = found[1] if text is None else text
    file.write_text("\n".join(found) + "\n")
    with pytest.raises(StudyError, match=said):
        read(file)


def test_a_result_that_is_none_is_refused_with_its_line(file: Path) -> None:
    found = lines(file)
    found[2] = found[2].replace('"schema":2', '"schema":7')
    file.write_text("\n".join(found) + "\n")
    with pytest.raises(StudyError, match=r"group\.jsonl, line 3 has schema 7"):
        read(file)[1].read()


def test_a_newer_run_replaces_that_of_its_setting_and_seed() -> None:
    """Whatever its files hold and however it is judged; the others stay, and so does what is newer."""
    old = [made_record(f"old-s{seed}", seed=seed, dataset__path="a") for seed in (0, 1)]
    other = made_record("other-s0", dataset__path="a", objective__ratio=0.5)
    new = made_record("new-s0", dataset__path="b", contents={"dataset.path": "1a2b"}, started="2026-12-01")
    assert [each.name for each in merge([*old, other], [new])] == ["new-s0", "old-s1", "other-s0"]
    judged = made_record("judged-s1", seed=1, dataset__path="a", controls=["pixels"], started="2026-12-01")
    assert [each.name for each in merge(old, [judged])] == ["judged-s1", "old-s0"]
    stale = made_record("stale-s0", dataset__path="a", started="2026-11-25")
    assert merge(old, [stale]) == old


def test_a_command_that_means_something_else_replaces_all_seeds_of_what_it_meant() -> None:
    """Else a setting that no command asks for would stay beside the new one."""
    old = [made_record(f"old-s{seed}", seed=seed, words=("objective=mae", "output=a")) for seed in (0, 1)]
    other = made_record("other-s0", words=("objective=mae", "objective.ratio=0.5"), objective__ratio=0.5)
    new = made_record("new-s0", words=("output=b", "objective=mae"), objective__ratio=0.6, started="2026-12-01")
    assert [each.name for each in merge([*old, other], [new])] == ["new-s0", "other-s0"]


def test_words_have_the_names_of_now() -> None:
    config = {"dataset": {"_target_": "ssl_runner.data.moving_digits.MovingDigits", "colour": True}}
    result = {"overrides": ["dataset.colour=true", "evaluation.neighbours.k=5", "seed=1"]}
    now = ["dataset.color=true", "evaluation.neighbors.k=5", "seed=1"]
    assert Record("a", config, result).words() == now
