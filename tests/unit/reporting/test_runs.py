import json
from dataclasses import replace
from pathlib import Path

import pytest
from made_runs import made_config, made_run

from ssl_runner.reporting.comparison import compare
from ssl_runner.reporting.runs import find_runs, where
from ssl_runner.results.result import write_result


@pytest.fixture
def outputs(tmp_path: Path) -> Path:
    """Two good runs, one broken, one half-written, one stopped, and a hidden copy."""
    folder = tmp_path / "outputs"
    good = made_run("a").result
    write_result(folder / "deep" / "mae", good)
    write_result(folder / "simclr", good)
    write_result(folder / "stopped", replace(good, status="stopped"))
    write_result(folder / ".cache" / "old", good)
    (folder / "broken").mkdir()
    (folder / "broken" / "result.json").write_text('{"schema": 1, "iden')
    (folder / "half").mkdir()
    (folder / "half" / "metrics.csv").write_text("step\n")
    (folder / "deep" / "mae" / "encoder").mkdir()
    (folder / "deep" / "mae" / "encoder" / "metrics.csv").write_text("")
    return folder


def names(*paths: Path) -> list[str]:
    return [run.name for run in find_runs(list(paths))[0]]


def test_good_runs_are_found_and_all_others_named(outputs: Path) -> None:
    runs, problems = find_runs([outputs])
    assert [run.name for run in runs] == ["deep/mae", "simclr"]
    broken, half, stopped = problems
    assert broken.startswith(f"{outputs / 'broken' / 'result.json'} is not a complete JSON file")
    assert half == f"{outputs / 'half'} has no result.json: the run did not finish, or is still running"
    assert stopped == f"{outputs / 'stopped'}: the run ended as 'stopped'"


def test_a_run_is_found_once_and_by_its_file_too(outputs: Path) -> None:
    assert names(outputs / "simclr", outputs / "simclr" / "result.json", outputs) == ["simclr", "deep/mae"]
    assert find_runs([outputs / "simclr"])[1] == []
    assert names(outputs / "simclr") == ["simclr"]


def test_patterns_are_expanded(outputs: Path) -> None:
    assert names(outputs / "*mcl*") == ["simclr"]
    assert names(outputs / "**" / "ma?") == ["mae"]
    assert names(Path(f"{outputs}/[ds]*/")) == ["deep/mae", "simclr"]
    assert find_runs([outputs / "x*"]) == ([], [f"{outputs / 'x*'} does not exist"])


def test_a_folder_with_a_pattern_in_its_name(tmp_path: Path) -> None:
    write_result(tmp_path / "ratio=[1]" / "a", made_run("a").result)
    assert names(tmp_path / "ratio=[1]") == ["a"]


def test_a_sweep_names_its_runs(outputs: Path) -> None:
    sweep = outputs / "sweeps" / "ratios"
    sweep.mkdir(parents=True)
    (sweep / "sweep.yaml").write_text("runs: [deep/mae, half, gone]\n")
    runs, problems = find_runs([sweep])
    assert [run.folder.resolve() for run in runs] == [outputs / "deep" / "mae"]
    assert [problem.partition(" has no")[0] for problem in problems] == [
        str(outputs / "half"),
        str(outputs / "gone"),
    ]
    assert names(sweep / "sweep.yaml") == names(outputs / "sweeps") == names(outputs / "sweeps" / "*") == ["mae"]
    assert names(outputs) == ["deep/mae", "simclr"]


@pytest.mark.parametrize("written", ["runs: {", "[a, b]", "jobs: 3", "runs: 3", "runs: [1]"])
def test_a_broken_sweep_is_named(tmp_path: Path, written: str) -> None:
    folder = tmp_path / "sweeps" / "s"
    folder.mkdir(parents=True)
    (folder / "sweep.yaml").write_text(written)
    runs, (problem,) = find_runs([folder])
    assert runs == []
    assert problem.startswith(f"{folder / 'sweep.yaml'} cannot be read (")
    assert problem.endswith("it must list its folders under runs:")


@pytest.mark.parametrize(
    ("conditions", "kept"),
    [
        ([], "abcd"),
        (["objective=mae"], "abc"),
        (["objective!=mae"], "d"),
        (["objective.ratio>=0.5"], "bc"),
        (["ratio > 0.5", "ratio<0.8"], "c"),
        (["ratio<=0.5"], "ab"),
        (["ratio=0.50"], "b"),
        (["ratio!=0.5"], "acd"),
        (["ratio=null"], "d"),
        (["projector=[128,64]"], "d"),
        (["loss=info_nce"], "d"),
        (["seed=1"], "b"),
        (["flip=0.0"], "d"),
        (["objective=none"], ""),
    ],
)
def test_conditions(conditions: list[str], kept: str) -> None:
    runs = [
        made_run("a", made_config(objective__ratio=0.25)),
        made_run("b", made_config(objective__ratio=0.5, seed=1)),
        made_run("c", made_config()),
        made_run("d", made_config("simclr")),
    ]
    assert "".join(run.name for run in where(runs, conditions)) == kept


def test_of_two_keys_the_one_in_which_runs_differ() -> None:
    runs = [made_run(str(depth), made_config(objective__depth=1, backbone__depth=depth)) for depth in (2, 3)]
    assert where(runs, ["depth=3"]) == runs[1:]


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ("objective", "'objective' is not a condition; write key=value, or use != < > <= >= in place of ="),
        ("objective.rato=1", "'objective.rato' is no key of these runs' configs; did you mean: objective.ratio"),
        ("_target_=x", "'_target_' is more than one key of these runs' configs; choose one of: logger.csv._target_"),
        ("ratio>high", "'ratio>high' compares with 'high'; > needs a number"),
    ],
)
def test_a_condition_that_cannot_be_met_is_refused(condition: str, message: str) -> None:
    with pytest.raises(ValueError, match=message.replace("[", r"\[")):
        where([made_run("a")], [condition])


def test_a_thousand_runs(tmp_path: Path) -> None:
    """10 ratios, 20 batch sizes, 5 seeds, all read back and put together."""
    plain = json.loads(write_result(tmp_path, made_run("r").result).read_text())
    (tmp_path / "result.json").unlink()
    for place in range(1000):
        ratio, size, seed = place % 10, place // 10 % 20, place // 200
        plain |= {"config": made_config(objective__ratio=ratio / 10, batch_size=size, seed=seed), "seed": seed}
        plain["results"][0]["metrics"][0]["value"] = 0.5 + ratio / 100 + seed / 1000
        (tmp_path / str(place)).mkdir()
        (tmp_path / str(place) / "result.json").write_text(json.dumps(plain))
    comparison = compare(find_runs([tmp_path])[0])
    assert [axis.key for axis in comparison.axes] == ["batch_size", "objective.ratio"]
    assert len(comparison.settings) == len(comparison.cells) == 200
    found = comparison.cells["batch_size=7 ratio=0.9", "linear.accuracy"]
    assert found.values == pytest.approx({seed: 0.59 + seed / 1000 for seed in range(5)})
    assert {label for (label, _), cell in comparison.cells.items() if cell.tied} == {
        f"batch_size={size} ratio=0.9" for size in range(20)
    }
