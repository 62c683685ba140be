"""The commands as functions: what they return, what they refuse, and that the process stays as it was."""

import gc
import json
import logging
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hydra import compose, initialize_config_dir, version
from hydra._internal.sources_registry import SourcesRegistry
from hydra.core.global_hydra import GlobalHydra
from hydra.core.hydra_config import HydraConfig
from hydra.core.plugins import Plugins
from omegaconf.basecontainer import BaseContainer
from small_runs import SMALL, in_batch
from undrawn import undrawn

import ssl_runner
from ssl_runner.commands.python import quoted
from ssl_runner.commands.run_files import check_runs
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.files import Files, Packaged
from ssl_runner.config.loader import parsed
from ssl_runner.reporting.inventory import entries
from ssl_runner.results.result import read_result, write_result
from ssl_runner.runtime.locks import locked

WORDS = [*[word for word in SMALL if word != "evaluation=[]"], "evaluation=[knn]", "trainer.watch_every=0"]


@pytest.fixture(autouse=True)
def at_a_terminal() -> Iterator[None]:
    """A shell's background jobs, and what they start, ignore Ctrl-C."""
    usual = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, usual)


@pytest.fixture(autouse=True)
def _undrawn() -> Iterator[None]:
    with undrawn():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> ssl_runner.Run:
    """A finished run; not to be changed."""
    with undrawn():
        return ssl_runner.run(*WORDS, f"output={tmp_path_factory.mktemp('out')}", quiet=True)


def state() -> dict[str, Any]:
    """What a notebook may rely on, as far as it can be compared."""
    hydra = GlobalHydra.instance()
    Plugins.instance()  # registers Hydra's readers once in a process
    return {
        "torch": torch.get_rng_state().tolist(),
        "python": random.getstate(),
        "numpy": [str(part) for part in np.random.get_state()],
        "gradients": torch.is_grad_enabled(),
        "type": torch.get_default_dtype(),
        "device": torch.get_default_device(),
        "threads": torch.get_num_threads(),
        "deterministic": torch.get_deterministic_debug_mode(),
        "environment": dict(os.environ),
        "signals": [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1)],
        "garbage": (gc.isenabled(), gc.get_freeze_count() > 0),  # of how many changes as objects end
        "filters": list(warnings.filters),
        "excepthook": sys.excepthook,
        "format": warnings.formatwarning,
        "level": logging.getLogger("pytorch_lightning").level,
        "folder": os.getcwd(),
        "streams": (sys.stdout, sys.stderr),
        "hydra": (hydra.hydra, HydraConfig.instance().cfg, version.VersionBase.instance().version_base),
        "readers": dict(SourcesRegistry.instance().types),
        "resolvers": dict(BaseContainer._resolvers),
    }


def test_all_names_are_listed_and_none_imports_torch() -> None:
    code = (
        "import sys, ssl_runner\n"
        "assert set(ssl_runner.__all__) <= set(dir(ssl_runner))\n"
        "for name in set(ssl_runner.__all__) - {'load_encoder', 'load_tokenizer'}: getattr(ssl_runner, name)\n"
        "print({'torch', 'hydra', 'pandas', 'IPython', 'matplotlib'} & set(sys.modules))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "set()", done.stderr
    assert sorted(ssl_runner.__all__) == ssl_runner.__all__
    with pytest.raises(AttributeError, match="no attribute 'runs'"):
        ssl_runner.runs  # type: ignore[attr-defined]  # noqa: B018


@pytest.mark.thorough
def test_a_run_is_that_of_the_command(whole: ssl_runner.Run, tmp_path: Path) -> None:
    words = [sys.executable, "-m", "ssl_runner", *WORDS, f"output={tmp_path}", "--json"]
    done = subprocess.run(words, capture_output=True, text=True, timeout=300)
    found = ssl_runner.load_run(json.loads(done.stdout)["folder"])
    assert found.folder.name == whole.folder.name
    assert found.metrics == whole.metrics
    weights = [(run.folder / "encoder" / "encoder.safetensors").read_bytes() for run in (found, whole)]
    assert weights[0] == weights[1]


def test_what_a_run_holds(whole: ssl_runner.Run) -> None:
    run = ssl_runner.load_run(str(whole.folder))
    assert run.result.pretraining.steps == 8
    assert run.config["batch_size"] == 32
    assert {"knn.accuracy", "knn.accuracy[split=val]"} <= set(run.metrics)
    assert all(address.startswith("knn.") for address in run.metrics)
    assert (run.folder / "predictions" / "knn-pretrained.csv").is_file()
    assert run.metrics_of("random_start") == {}
    assert not run.encoder.training
    features, labels = run.features("test")
    assert features.shape == (20, 8)
    with torch.inference_mode():
        images = run._data.spec.to_input(run._data.examples("test").data)
        assert torch.allclose(run.encoder(images).pooled, features, atol=1e-5)
    assert labels.shape == (20,)
    assert not run.features("test", layer="-2").data.equal(features)
    assert "rotation of convnet on fake_images, seed 0" in repr(run)
    check_runs([whole.folder])  # ssl-runs knows all that it wrote


def test_what_its_objective_answers(whole: ssl_runner.Run) -> None:
    asked = whole.predictions(5)
    assert asked.x.shape == (5, 3, 8, 8)
    assert asked.y.shape == asked.predicted.shape == (5,)
    again = whole.predictions(5)
    assert torch.equal(asked.y, again.y)
    assert torch.equal(asked.predicted, again.predicted)


def test_an_objective_that_predicts_nothing_gives_none(tmp_path: Path) -> None:
    run = ssl_runner.run(*WORDS, "objective=simclr", "evaluation=[]", f"output={tmp_path}", quiet=True)
    assert run.predictions() is None
    assert run.metrics == {}


def test_a_finished_run_is_not_done_again(whole: ssl_runner.Run, capsys: pytest.CaptureFixture[str]) -> None:
    before = (whole.folder / "result.json").stat().st_mtime_ns
    again = ssl_runner.run(*WORDS, f"output={whole.folder.parents[1]}")
    assert again.folder == whole.folder
    assert "finished before" in capsys.readouterr().out
    ssl_runner.run(*WORDS, f"output={whole.folder.parents[1]}", quiet=True)
    assert capsys.readouterr().out == ""
    assert (whole.folder / "result.json").stat().st_mtime_ns == before


def test_evaluating_again(whole: ssl_runner.Run, tmp_path: Path) -> None:
    folder = tmp_path / "it's, a {folder}=\\"
    shutil.copytree(whole.folder, folder)
    run = ssl_runner.evaluate(ssl_runner.load_run(folder), "evaluation=[geometry]", quiet=True)
    assert run.folder == folder
    assert {"knn.accuracy", "geometry.effective_rank"} <= set(run.metrics)


def test_a_preview_is_a_picture(tmp_path: Path) -> None:
    picture = ssl_runner.preview(*WORDS, f"output={tmp_path}")
    assert picture._repr_png_()[:4] == b"\x89PNG"
    assert picture.path.parent == tmp_path / "previews"
    assert repr(picture).startswith(str(picture.path))


@pytest.mark.thorough
def test_a_sweep_gives_its_runs_and_says_which_failed(whole: ssl_runner.Run, tmp_path: Path) -> None:
    pytest.importorskip("pandas")
    output = shutil.copytree(whole.folder.parents[1], tmp_path / "out")
    ssl_runner.check(*WORDS, "seed=1", f"output={output}")
    assert len(list(output.glob("*/s*"))) == 1
    swept = ssl_runner.sweep(*WORDS, "seed=0,1", "sweep.jobs=1", f"output={output}", quiet=True)
    assert [run.result.seed for run in swept.runs] == [0, 1]
    assert not swept.failed
    assert list(swept.compare()["seeds"]) == [2]
    (folder,) = (run.folder for run in swept.runs if run.result.seed == 1)
    (folder / "result.json").unlink()
    (folder / "checkpoints" / "last.ckpt").write_bytes(b"damaged")
    again = ssl_runner.sweep(*WORDS, "seed=0,1", "sweep.jobs=1", f"output={output}", quiet=True)
    assert [run.result.seed for run in again.runs] == [0]
    assert "is damaged" in again.failed["s1"]


def test_a_comparison_is_a_table(whole: ssl_runner.Run, tmp_path: Path) -> None:
    pandas = pytest.importorskip("pandas")
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "result.json").write_text("{")
    for seed in (0, 1):
        result = read_result(whole.folder)
        object.__setattr__(result, "seed", seed)
        object.__setattr__(result, "config", {**result.config, "seed": seed})
        write_result(tmp_path / f"s{seed}", result)
    table = ssl_runner.compare(tmp_path)
    assert isinstance(table, pandas.DataFrame)
    assert list(table.columns) == ["seeds"] + [
        f"knn.accuracy{part}" for part in ("", " low", " high", " at random start")
    ]
    assert table["seeds"].tolist() == [2]
    assert table["knn.accuracy"].tolist() == [whole.metrics["knn.accuracy"]]
    (problem,) = table.attrs["problems"]
    assert "broken" in problem
    assert len(ssl_runner.compare(tmp_path, runs=True)) == 2
    assert ssl_runner.compare(tmp_path, seeds=[1])["seeds"].tolist() == [1]
    assert "knn.accuracy[split=val]" in ssl_runner.compare(tmp_path, all=True).columns
    assert ssl_runner.compare(whole)["seeds"].tolist() == [1]


def test_without_pandas_a_comparison_says_what_to_install(
    whole: ssl_runner.Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "pandas", None)
    with pytest.raises(ConfigError, match=r"pip install 'ssl-runner\[notebook\]'"):
        ssl_runner.compare(whole)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["objective=rotatoin"], "objective=rotatoin: no such option; did you mean rotation?"),
        (["objective.x=1"], "objective.x: no such key"),
        (["batch_size=0"], "batch_size is 0"),
        (["seed=0,1"], "seed=0,1 are several values: add -m"),
        (["sweep=seeds"], "call ssl_runner.sweep with them"),
        (["check=true"], "check=true runs nothing: call ssl_runner.check"),
        (["objective=mae"], "objective=mae needs a patch encoder"),
        (["seed=[1"], "write key=value"),
        (["resume=must"], "has no checkpoint to resume from"),
        (["trainer.accelerator=tpu"], "trainer.accelerator"),
    ],
)
@pytest.mark.sampled(4)
def test_a_refusal_is_that_of_the_command(words: list[str], said: str, tmp_path: Path) -> None:
    before = state()
    with pytest.raises(ConfigError) as refused:
        ssl_runner.run(*WORDS, f"output={tmp_path}", *words, quiet=True)
    assert said in str(refused.value)
    assert not list(tmp_path.iterdir())
    assert state() == before


def test_other_refusals(tmp_path: Path, whole: ssl_runner.Run) -> None:
    with pytest.raises(ConfigError, match="does not exist"):
        ssl_runner.load_run(tmp_path)
    with pytest.raises(ConfigError, match="has no config"):
        ssl_runner.evaluate(tmp_path, quiet=True)
    with pytest.raises(ConfigError, match="set layer to pooled"):
        whole.features(layer="-9")
    with pytest.raises(ConfigError, match="--config-dir"):
        ssl_runner.run(*WORDS, config_dir=tmp_path / "nowhere")
    with pytest.raises(ConfigError, match="no finished run in"):
        ssl_runner.compare(tmp_path)
    with pytest.raises(ConfigError, match="--where: 'x' is not a condition"):
        ssl_runner.compare(whole, where=["x"])
    with pytest.raises(ConfigError, match="objective=nope: no such option"):
        ssl_runner.sweep("objective=nope", "seed=0,1", quiet=True)
    for function in (ssl_runner.run, ssl_runner.sweep):
        with pytest.raises(ConfigError, match="--cfg: an override is key=value"):
            function("--cfg", "job")
    with locked(whole.folder), pytest.raises(ConfigError, match="is in use"):
        ssl_runner.run(*WORDS, "resume=never", f"output={whole.folder.parents[1]}", quiet=True)


def test_a_secret_is_refused_and_not_repeated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_API_KEY", "0123456789abcdef0123456789abcdef01234567")
    for function in (ssl_runner.run, ssl_runner.sweep):
        with pytest.raises(ConfigError) as refused:
            function("logger.wandb.project=0123456789abcdef0123456789abcdef01234567")
        assert "0123456789" not in str(refused.value)


def test_a_config_of_ones_own(tmp_path: Path) -> None:
    (tmp_path / "conf" / "objective").mkdir(parents=True)
    (tmp_path / "conf" / "objective" / "mine.yaml").write_text("defaults: [rotation]\n")
    ssl_runner.check(*WORDS, "objective=mine", config_dir=tmp_path / "conf")
    with pytest.raises(ConfigError, match="objective=mine: no such option"):
        ssl_runner.check(*WORDS, "objective=mine")


def test_the_process_is_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever a notebook has set, the run is the same, and the notebook's settings stay."""
    monkeypatch.setattr(warnings, "filters", warnings.filters)
    plain = ssl_runner.run(*WORDS, f"output={tmp_path / 'plain'}", quiet=True)
    torch.manual_seed(7)
    torch.set_default_dtype(torch.float64)
    torch.set_default_device("meta")
    torch.set_grad_enabled(False)
    gc.disable()
    before = state()
    try:
        run = ssl_runner.run(*WORDS, f"output={tmp_path / 'odd'}", quiet=True)
        features, _ = run.features()
        run.predictions()
        ssl_runner.preview(*WORDS, f"output={tmp_path}")
        after = state()
        assert features.dtype == torch.float32
    finally:
        gc.enable()
        torch.set_grad_enabled(True)
        torch.set_default_device(None)
        torch.set_default_dtype(torch.float32)
    assert after == before
    assert run.metrics == plain.metrics
    assert [(each.folder / "encoder" / "encoder.safetensors").read_bytes() for each in (run, plain)].count(
        (plain.folder / "encoder" / "encoder.safetensors").read_bytes()
    ) == 2


def test_a_program_that_uses_hydra_goes_on_with_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its config may set what ours may not, before, around and after."""
    Plugins.instance()
    registry = SourcesRegistry.instance()
    theirs = {
        scheme: found.__base__ if found in (Files, Packaged) else found for scheme, found in registry.types.items()
    }
    monkeypatch.setattr(registry, "types", theirs)  # as in a process in which nothing of ours has composed
    (tmp_path / "program.yaml").write_text("hydra: {job: {name: theirs}}\nmine: ${now:%Y}\nseed: 3\n")
    with initialize_config_dir(str(tmp_path), version_base="1.2"):
        before = state()
        assert compose("program").mine
        ssl_runner.check(*WORDS)
        with pytest.raises(ConfigError):
            ssl_runner.check("objective=nope")
        assert state() == before
        assert compose("program", return_hydra_config=True).hydra.job.name == "theirs"


@pytest.mark.thorough
def test_inside_of_hydra_main(tmp_path: Path) -> None:
    (tmp_path / "conf").mkdir()
    (tmp_path / "conf" / "program.yaml").write_text("objective: rotation\nhydra: {run: {dir: theirs}}\n")
    (tmp_path / "program.py").write_text(
        "import hydra, ssl_runner\nfrom hydra.core.hydra_config import HydraConfig\n"
        "@hydra.main(config_path='conf', config_name='program', version_base=None)\n"
        "def main(cfg):\n"
        f"    ssl_runner.check('objective=' + cfg.objective, *{WORDS!r})\n"
        "    try:\n        ssl_runner.check('objective=nope')\n"
        "    except ssl_runner.ConfigError as error:\n        print(error)\n"
        "    print(HydraConfig.get().job.name, hydra.compose('program').objective)\n"
        "main()\n"
    )
    done = subprocess.run(
        [sys.executable, "program.py"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        env=os.environ | {"PYTHONPATH": ":".join(sys.path)},
    )
    assert done.returncode == 0, done.stderr
    assert "objective=nope: no such option" in done.stdout
    assert done.stdout.splitlines()[-1] == "program rotation"
    assert (tmp_path / "theirs").is_dir()


def test_ctrl_c_saves_and_the_same_call_resumes(whole: ssl_runner.Run, tmp_path: Path) -> None:
    before = state()
    with in_batch(5, lambda _: signal.raise_signal(signal.SIGINT)), pytest.raises(KeyboardInterrupt, match="step 5"):
        ssl_runner.run(*WORDS, f"output={tmp_path}", quiet=True)
    assert state() == before
    again = ssl_runner.run(*WORDS, f"output={tmp_path}", quiet=True)
    assert again.metrics == whole.metrics


@pytest.mark.thorough
def test_ctrl_c_of_a_sweep_has_its_runs_save(tmp_path: Path) -> None:
    slow = [*WORDS, "seed=0,1", "sweep.jobs=1", "budget.amount=1000000", "trainer.log_every_n_steps=1"]
    (tmp_path / "program.py").write_text(
        "import ssl_runner\n"
        f"try:\n    ssl_runner.sweep(*{slow!r})\n"
        "except KeyboardInterrupt as stop:\n    print('stopped:', stop)\n"
    )
    command, environment = [sys.executable, "program.py"], os.environ | {"PYTHONPATH": ":".join(sys.path)}
    with subprocess.Popen(command, cwd=tmp_path, env=environment, stdout=-1, stderr=-1, text=True) as process:
        end = time.monotonic() + 300
        while not any(path.read_text().count("\n") > 2 for path in tmp_path.rglob("metrics.csv")):
            assert time.monotonic() < end, "no run began"
            time.sleep(0.05)
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=300)
    assert process.returncode == 0, err
    assert "2 runs remain; the same command resumes them" in out.splitlines()[-1]
    assert len(list(tmp_path.rglob("last.ckpt"))) == 1


def test_sigterm_saves_and_goes_on_to_the_process(tmp_path: Path) -> None:
    heard = []
    before = signal.signal(signal.SIGTERM, lambda number, frame: heard.append(number))
    try:
        with (
            in_batch(5, lambda _: signal.raise_signal(signal.SIGTERM)),
            pytest.raises(KeyboardInterrupt, match="step 5"),
        ):
            ssl_runner.run(*WORDS, f"output={tmp_path}", quiet=True)
    finally:
        signal.signal(signal.SIGTERM, before)
    assert heard == [signal.SIGTERM]
    assert list(tmp_path.rglob("last.ckpt"))


def test_a_failed_run_says_why_until_it_goes_on(tmp_path: Path) -> None:
    words = [*WORDS, "evaluation=[]", "objective=autoencoder", f"output={tmp_path}"]
    bad = "optimizer.lr=1e30", "schedule=constant"
    with pytest.raises(ConfigError, match="the loss is") as failed:
        ssl_runner.run(*words, *bad, quiet=True)
    (found,) = entries([tmp_path], [])
    assert (found.status, found.why) == ("failed", str(failed.value))
    assert (found.objective, found.seed) == ("autoencoder", 0)
    with in_batch(1, lambda _: signal.raise_signal(signal.SIGINT)), pytest.raises(KeyboardInterrupt):
        ssl_runner.run(*words, *bad, "resume=never", quiet=True)
    (found,) = entries([tmp_path], [])
    assert (found.status, found.why) == ("unfinished", "")


def test_from_threads_one_call_is_at_work_at_a_time(whole: ssl_runner.Run, tmp_path: Path) -> None:
    found: dict[int, ssl_runner.Run] = {}

    def work(seed: int) -> None:
        found[seed] = ssl_runner.run(*WORDS, f"seed={seed}", f"output={tmp_path}", quiet=True)

    threads = [threading.Thread(target=work, args=(seed,)) for seed in (0, 1)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found[0].metrics == whole.metrics
    assert found[1].result.seed == 1


@pytest.mark.parametrize("value", ["a b", 'a"b', "a\\", 'a\\"b\\\\', "a,b={c}[d]", "${seed}", "a'b", "ü:*"])
def test_a_quoted_value_is_read_back(value: str) -> None:
    from omegaconf import OmegaConf

    (override,) = parsed([f"run={quoted(value)}"])
    assert OmegaConf.create({"run": override.value(), "seed": 3}).run == value
