"""What SECURITY.md promises: each test is named there."""

import io
import json
import os
import pickle
import re
import subprocess
import sys
import tarfile
import zipfile
from collections.abc import Callable
from html.parser import HTMLParser
from itertools import pairwise
from pathlib import Path
from typing import Any

import hydra_schema
import numpy as np
import pytest
import torch
import yaml
from hydra.errors import HydraException
from hydra.types import RunMode
from omegaconf import OmegaConf
from PIL import Image

from ssl_runner import load_encoder
from ssl_runner.__main__ import main
from ssl_runner.assembly import construct, load
from ssl_runner.commands import compare, evaluate, preview
from ssl_runner.commands.evaluate import finished_run
from ssl_runner.commands.job import work
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import run_folder
from ssl_runner.config.loader import Loader
from ssl_runner.config.plain_yaml import read_yaml
from ssl_runner.config.request import RunRequest
from ssl_runner.config.schema import typed
from ssl_runner.config.secrets import secrets_in, without_secrets
from ssl_runner.data.any import archives
from ssl_runner.data.any.archives import unpack
from ssl_runner.data.images.arrays import Arrays
from ssl_runner.data.images.decode import Decoding, decode_bytes
from ssl_runner.data.images.known_images import KnownImages
from ssl_runner.data.video.known_videos import hmdb51, kinetics, ucf101
from ssl_runner.loggers.wandb_run import shows_examples
from ssl_runner.reporting.runs import find_runs
from ssl_runner.runtime.job_file import write_job
from ssl_runner.sweeps.engines.settings import check_settings

ROOT = Path(__file__).parents[1]

SMALL = [
    "dataset=fake_images", "dataset.examples=40", "dataset.test_examples=20", "dataset.height=8", "dataset.width=8",
    "backbone.widths=[4,8]", "batch_size=8", "budget.unit=steps", "budget.amount=2", "evaluation=[knn]", "controls=[]",
    "trainer.accelerator=cpu", "trainer.validations=0", "trainer.watch_every=0", "objective=rotation",
]  # fmt: skip
EVIL = "<script>alert(1)<"  # without a slash: it has to be a folder's name


ARRAYS: dict[str, Any] = {
    "range": None, "clip": False, "channel_axis": None, "test_fraction": 0.5, "val_fraction": 0.5, "split_seed": 0,
}  # fmt: skip


def plain(output: Path, *overrides: str) -> dict[str, Any]:
    return compose([*SMALL, "logger=csv", f"output={output}", *overrides])


def do(output: Path, *overrides: str) -> Path:
    words = plain(output, *overrides)
    return run(RunRequest.of(words, list(overrides)))


def refused(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """What `ssl-run` says; it must refuse."""
    monkeypatch.setattr("sys.argv", ["ssl-run", *argv])
    with pytest.raises(SystemExit) as ended:
        main()
    assert ended.value.code == 2
    return capsys.readouterr().err


class Boom:
    """What a pickle runs as it is read."""

    def __init__(self, proof: Path) -> None:
        self.proof = proof

    def __reduce__(self) -> tuple[Callable[..., Any], tuple[Any, ...]]:
        return os.mkdir, (str(self.proof),)


# -------------------------------------------------------------------------------------------------------------- pickles


def test_a_malicious_checkpoint_runs_nothing(tmp_path: Path) -> None:
    proof, words = tmp_path / "proof", plain(tmp_path)
    checkpoint = run_folder(typed(words), words) / "checkpoints" / "last.ckpt"
    checkpoint.parent.mkdir(parents=True)
    for write in (torch.save, lambda content, path: path.write_bytes(pickle.dumps(content, protocol=2))):
        for content in (Boom(proof), {"state_dict": Boom(proof), "global_step": 1, "budget": {"batches": 1}}):
            write(content, checkpoint)
            with pytest.raises(ConfigError, match="damaged"):
                do(tmp_path)
            with pytest.raises(ConfigError, match=r"last\.ckpt"):
                load.read_checkpoint(checkpoint, torch.nn.Identity())  # type: ignore[arg-type]
    assert not proof.exists()
    pickle.loads(pickle.dumps(Boom(proof)))
    assert proof.exists()  # it would have


def test_a_malicious_encoder_runs_nothing(tmp_path: Path) -> None:
    folder, proof = do(tmp_path / "out") / "encoder", tmp_path / "proof"
    weights, about = folder / "encoder.safetensors", folder / "config.yaml"
    whole, content = weights.read_bytes(), yaml.safe_load(about.read_text())
    for changed in (pickle.dumps(Boom(proof)), b"\x80\x04."):
        weights.write_bytes(changed)
        with pytest.raises((ValueError, ConfigError), match=r"encoder\.safetensors"):
            load_encoder(folder)
    weights.write_bytes(whole)
    command = {"_target_": "os.mkdir", "path": str(proof)}
    for node in (
        {**content, "backbone": command},
        {**content, "backbone": content["backbone"] | {"widths": command}},
        {**content, "backbone": {"_target_": "ssl_runner.backbones.per_frame.PerFrame", "image": command}},
        {
            **content,
            "backbone": {"_target_": "ssl_runner.sweeps.engines.local._Spawned", "command": ["true"], "log": "x"},
        },
        {**content, "spec": command},
    ):
        about.write_text(yaml.safe_dump(node))
        with pytest.raises(ValueError, match=r"config\.yaml"):
            load_encoder(folder)
    about.write_text(f"!!python/object/apply:os.mkdir ['{proof}']")
    with pytest.raises(ValueError, match=r"config\.yaml"):
        load_encoder(folder)
    assert not proof.exists()


def test_pickles_in_data_are_not_read(tmp_path: Path) -> None:
    proof = tmp_path / "proof"
    pixels, evil = np.zeros((4, 8, 8), np.uint8), np.array([Boom(proof)] * 4, dtype=object)
    for arrays in ({"x_train": evil, "x_test": pixels}, {"x_train": pixels, "x_test": pixels, "label_names": evil}):
        np.savez(tmp_path / "evil.npz", **arrays)
        with pytest.raises(ValueError, match=r"evil\.npz"):
            Arrays(path=str(tmp_path / "evil.npz"), **ARRAYS).load()
    batches = tmp_path / "cifar-10-batches-py"
    batches.mkdir()
    for name in (*(f"data_batch_{n}" for n in range(1, 6)), "test_batch", "batches.meta"):
        (batches / name).write_bytes(pickle.dumps(Boom(proof)))
    with pytest.raises(ValueError, match="damaged"):
        KnownImages(name="cifar10", root=str(tmp_path), download=False, val_fraction=0.5, split_seed=0).load()
    assert not proof.exists()


def test_yaml_tags_run_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    proof = tmp_path / "proof"
    evil = f"runs: !!python/object/apply:os.mkdir ['{proof}']"
    for name in ("config.yaml", "job.yaml", "sweep.yaml"):
        (tmp_path / name).write_text(evil)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        finished_run(str(tmp_path))
    assert work(tmp_path / "job.yaml") == 2
    assert "job.yaml" in capsys.readouterr().err
    assert any("sweep.yaml" in problem for problem in find_runs([tmp_path])[1])
    assert not proof.exists()


# -------------------------------------------------------------------------------------------------------------- configs


@pytest.mark.parametrize(
    ("place", "target"),
    [
        *(
            (place, "os.mkdir")
            for place in (
                "objective", "objective.views", "backbone", "backbone.widths", "optimizer", "schedule", "dataset",
                "dataset.height", "evaluation.evil", "evaluation.knn.layer", "logger.evil", "logger.csv.context",
                "trainer", "trainer.compile", "budget", "sweep.settings", "domain", "start_from",
            )
        ),
        ("backbone", "ssl_runner.assembly.export.os.mkdir"), ("backbone", "ssl_runner.sweeps.engines.local._Spawned"),
        ("backbone", "ssl_runner.objectives.mae.MAE"), ("schedule", "torch.optim.SGD"),
        ("optimizer", "torch.optim.os.mkdir"), ("logger.evil", "ssl_runner.commands.job.Path"),
        ("objective", "ssl_runner.config.compose.compose"), ("backbone", "ssl_runner.\0"),
    ],
)  # fmt: skip
@pytest.mark.sampled(8)
def test_a_target_is_on_the_allowlist_and_where_it_belongs(tmp_path: Path, place: str, target: str) -> None:
    proof, words = tmp_path / "proof", plain(tmp_path)
    *above, last = place.split(".")
    node = words
    for key in above:
        node = node[key]
    node[last] = {"_target_": target, "path": str(proof), "command": ["mkdir", str(proof)]}
    if place in ("sweep.settings", "domain"):  # plain mappings, of which no object is made
        run(RunRequest.of(words | {"check": True}))
    else:
        with pytest.raises(ConfigError, match=place.split(".")[0]):
            run(RunRequest.of(words | {"check": True}))
    assert not proof.exists()
    with pytest.raises(ConfigError, match="_target_"):
        construct.construct({"_target_": "os.mkdir", "path": str(proof)})


def test_a_job_s_config_goes_through_the_same_gates(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = plain(tmp_path / "out")
    proof = tmp_path / "proof"
    bad = words | {"objective": {"_target_": "os.mkdir", "path": str(proof)}}
    request = RunRequest(typed(words), bad, (), "a", "s")
    write_job(tmp_path / "job.yaml", request)
    assert work(tmp_path / "job.yaml") == 2
    assert "not allowed" in capsys.readouterr().err
    assert not proof.exists()


HANDLER = {"()": "os.mkdir", "path": "PROOF"}
B = "hydra._internal.core_plugins.basic_sweeper.BasicSweeper"


def elsewhere(folder: Path, text: str, name: str = "experiment/evil") -> list[str]:
    """The words that use a config from elsewhere."""
    file = folder / "configs" / f"{name}.yaml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text.replace("PROOF", str(folder / "proof")))
    return ["--config-dir", str(folder / "configs"), f"{name.replace('/', '=')}"]


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ({"callbacks": {"x": {"_target_": "os.mkdir", "path": "PROOF"}}}, "hydra.callbacks"),
        ({"job_logging": {"version": 1, "root": {}, "formatters": {"a": HANDLER}}}, "hydra.job_logging"),
        ({"hydra_logging": {"version": 1, "root": {}, "formatters": {"a": HANDLER}}}, "hydra.hydra_logging"),
        ({"job": {"env_set": {"PYTHONPATH": "PROOF"}}}, "hydra.job.env_set"),
        ({"sweeper": {"_target_": "os.mkdir"}}, "hydra.sweeper"),
        ({"launcher": {"_target_": "os.mkdir"}}, "hydra.launcher"),
        ({"mode": "MULTIRUN", "sweeper": {"_target_": B, "params": {"+hydra.job.env_set.X": "1"}}}, "hydra.sweeper"),
        ({"output_subdir": "PROOF", "run": {"dir": "PROOF"}, "job": {"chdir": True}}, "hydra.run.dir"),
        ({"overrides": {"task": ["sweep.settings.setup=[touch PROOF]"]}}, "hydra.overrides.task"),
        ({"mode": "${oc.env:WANDB_API_KEY}"}, "hydra.mode"),
        ({"brand_new": 1}, "hydra.brand_new"),
        (["mode"], "hydra"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("environment")
def test_hydra_does_nothing_at_the_word_of_a_config(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    content: dict[str, Any],
    said: str,
) -> None:
    """A folder of configs from elsewhere, as an experiment; whatever is asked: logs were set up for --help, too."""
    monkeypatch.chdir(tmp_path)
    words = elsewhere(tmp_path, f"# @package _global_\n{yaml.safe_dump({'hydra': content})}")
    for flags in ([], ["-m"], ["--help"], ["--cfg", "job"], ["--info", "config"]):
        heard = refused(monkeypatch, capsys, *flags, *words, "check=true", f"output={tmp_path}")
        assert f"evil.yaml': {said}" in heard or f", {said}" in heard
        assert KEY not in heard
    assert [path.name for path in tmp_path.iterdir()] == ["configs"]


def test_every_key_of_hydra_but_its_mode_is_refused(tmp_path: Path) -> None:
    """Those of a later version too: the schema is walked. By the node, and by a header, of which Hydra makes one."""
    keys = hydra_schema.keys()
    assert {"searchpath", "job.env_set", "run.dir", "sweeper", "overrides.task", "runtime.choices"} <= keys.keys()
    node = OmegaConf.create()
    for key, hint in keys.items():
        OmegaConf.update(node, key, hydra_schema.other_value(hint))
    for package in ("_global_", "hydra"):
        by_hydra: set[str] = set()
        while True:
            left = OmegaConf.masked_copy(node, [str(key) for key in node if key not in by_hydra])
            text = OmegaConf.to_yaml({"hydra": left} if package == "_global_" else left)
            words = elsewhere(tmp_path, f"# @package {package}\n{text}")
            try:
                Loader(words[1]).load_configuration("config", [words[2]], RunMode.RUN)
            except HydraException as error:  # of what it heeds in a primary config alone, as `searchpath`
                named = re.search(r"hydra\.(\w+)", str(error))
                assert named
                assert named[1] not in by_hydra
                by_hydra.add(named[1])
            except ConfigError as error:
                problem = error.problems[0]
                break
        for key in keys:
            assert f"hydra.{key}" in problem or key in by_hydra, (key, package)


def test_a_primary_config_from_elsewhere_adds_no_place_of_configs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """`pkg://` imports a package as Hydra looks for configs, before it composes any."""
    words = elsewhere(tmp_path, "defaults: [config, _self_]\nhydra: {searchpath: ['pkg://antigravity']}", "mine")
    said = refused(monkeypatch, capsys, *words[:2], "--config-name", "mine", "check=true")
    assert "hydra.searchpath" in said
    words = elsewhere(tmp_path, "# @package _global_\nhydra: {mode: MULTIRUN}\nsweep: {params: {KEY: [pkg://this]}}")
    for key in ("hydra.searchpath", "hydra.job.chdir", "+hydra.searchpath", "hydra/launcher"):
        file = tmp_path / "configs" / "experiment" / "evil.yaml"
        file.write_text(file.read_text().replace("KEY", key))
        assert "hydra" in refused(monkeypatch, capsys, *words, f"output={tmp_path}")
        file.write_text(file.read_text().replace(key, "KEY"))
    assert "antigravity" not in sys.modules


def test_a_config_reads_no_file_outside_of_its_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "private.yaml").write_text("# @package _global_\nnote: private\n")
    words = elsewhere(tmp_path, "# @package _global_\ndefaults: [/../private]\n")
    said = refused(monkeypatch, capsys, *words, "check=true")
    assert "outside" in said or "Parent traversal" in said  # as Hydra 1.4 has it


def test_of_hydra_the_command_line_sets_its_mode_and_places_of_configs(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    elsewhere(tmp_path, "# @package _global_\nseed: 77\n", "experiment/mine")
    cfg = Loader().load_configuration(
        "config",
        [f"hydra.searchpath=[file://{tmp_path / 'configs'}]", "experiment=mine", "hydra.mode=RUN"],
        RunMode.RUN,
    )
    assert cfg.seed == 77
    for word in (
        "hydra.run.dir=x",
        "+hydra.job.env_set.X=1",
        "hydra/launcher=basic",
        "~hydra.launcher",
        "hydra={a:1}",
        "+hydra.callbacks.x._target_=os.mkdir",
        "hydra.sweeper.params={seed:1}",
        "experiment@hydra.job=mine",
    ):
        assert "hydra" in refused(monkeypatch, capsys, word, "check=true")


@pytest.mark.parametrize("command", [evaluate.main, preview.main])
def test_only_ssl_run_does_several_runs(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], command: Callable[[], None]
) -> None:
    monkeypatch.setattr("sys.argv", ["ssl", "-m", "seed=1,2"])
    with pytest.raises(SystemExit, match="2"):
        command()
    assert "several runs" in capsys.readouterr().err


@pytest.mark.parametrize(
    "settings",
    [
        {"setup": ["touch PROOF"]}, {"slurm_additional_parameters": {"wrap": "touch PROOF"}}, {"brand_new": 1},
        {"slurm_partition": "gpu\ntouch PROOF"},
    ],
    ids=lambda settings: next(iter(settings)),
)  # fmt: skip
def test_settings_of_an_engine_that_run_something_are_typed_not_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], settings: dict[str, Any]
) -> None:
    (name,) = settings
    sweep = {"engine": "submitit", "params": {"seed": [11]}, "settings": {"cluster": "local", **settings}}
    text = yaml.safe_dump({"hydra": {"mode": "MULTIRUN"}, "sweep": sweep})
    words = elsewhere(tmp_path, f"# @package _global_\n{text}")
    said = refused(monkeypatch, capsys, *words, *SMALL, "logger=csv", f"output={tmp_path / 'out'}")
    assert f"sweep.settings.{name}" in said
    as_axis = {"seed": [11], f"+sweep.settings.{name}": [settings[name]]}
    text = yaml.safe_dump({"hydra": {"mode": "MULTIRUN"}, "sweep": {"engine": "submitit", "params": as_axis}})
    elsewhere(tmp_path, f"# @package _global_\n{text}")
    refused(monkeypatch, capsys, *words, *SMALL, "logger=csv", f"output={tmp_path / 'out'}")
    assert not (tmp_path / "out").exists()


def test_settings_of_an_engine_may_be_typed() -> None:
    check_settings("submitit", {"setup": ["a", "b"], "cluster": "local"}, ["+sweep.settings.setup=[a,b]", "seed=1,2"])
    check_settings("submitit", {"setup": ["a"], "x": {"y": 1}}, ["sweep.settings={setup:[a]}", "+sweep.settings.x.y=1"])
    check_settings("ray", {"cpus": 2, "address": "auto"}, ["++sweep.settings.address=auto"])
    check_settings("submitit", {"slurm_partition": "gpu", "timeout_min": 5, "slurm_exclusive": True}, [])
    for given in ("+sweep.settings.setup=${notes}", "+sweep.settings.setup=[b]", "+sweep.settings.setup=a,b"):
        with pytest.raises(ConfigError, match=r"sweep\.settings\.setup"):
            check_settings("submitit", {"setup": ["a"]}, [given])
    for key in ("slurm_setup", "slurm_python", "teardown", "srun_args", "local_setup", "slurm_mail_user", "folder"):
        with pytest.raises(ConfigError, match=key):
            check_settings("submitit", {key: "x"}, [])
    for value in (["a"], {"a": 1}, "a\nb", "a\rb", "a\u2028b", "x" * 1000):
        with pytest.raises(ConfigError, match=r"sweep\.settings\.name"):
            check_settings("submitit", {"name": value}, [])
    for key in ("runtime_env", "address", "_system_config", "dashboard_host"):
        with pytest.raises(ConfigError, match=key):
            check_settings("ray", {key: "x"}, [])


BOMB = "a: &a [x, x, x, x, x, x, x, x, x]\n" + "".join(
    f"{new}: &{new} [{', '.join([f'*{old}'] * 9)}]\n" for old, new in pairwise("abcdefghi")
)
BOMBS = {
    "lists": BOMB,
    "merges": "a: &a {x: 1}\n"
    + "".join(f"{new}: &{new} {{<<: [{', '.join([f'*{old}'] * 9)}]}}\n" for old, new in pairwise("abcdefghi")),
    "a circle": "a: &a [*a]\n",
    "long": f"a: &a {'x' * 10**5}\nb: [{', '.join(['*a'] * 1000)}]\n",
}


@pytest.mark.parametrize("bomb", BOMBS.values(), ids=BOMBS)
def test_yaml_that_blows_up_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], bomb: str
) -> None:
    """By its aliases, wherever YAML is read; and what has aliases as people write them is."""
    for how in ("experiment/evil", "evaluation/evil"):
        said = refused(monkeypatch, capsys, *elsewhere(tmp_path, f"# @package _global_\n{bomb}", how), "check=true")
        assert "evil.yaml" in said
    for name in ("config.yaml", "job.yaml", "sweep.yaml"):
        (tmp_path / name).write_text(bomb)
    with pytest.raises(ConfigError, match=r"config\.yaml"):
        finished_run(str(tmp_path))
    assert work(tmp_path / "job.yaml") == 2
    assert any("sweep.yaml" in problem for problem in find_runs([tmp_path])[1])
    (tmp_path / "encoder.safetensors").write_bytes(b"")
    with pytest.raises(ValueError, match=r"config\.yaml"):
        load_encoder(tmp_path)
    assert read_yaml("a: &a [1, 2]\nb: [*a, *a]\nc: &c {x: 1}\nd: {<<: *c}") == {
        "a": [1, 2], "b": [[1, 2], [1, 2]], "c": {"x": 1}, "d": {"x": 1},
    }  # fmt: skip


@pytest.mark.parametrize("text", ["!!timestamp x", "!!int ''", "!!bool x", "[" * 5000, "? [1]\n: 2", "1" * 5000, "\t"])
def test_yaml_that_is_no_value_is_refused_in_a_line(text: str) -> None:
    with pytest.raises(ValueError, match=r"^[^\n]+$"):
        read_yaml(text)


def test_a_pickle_of_hydra_is_not_read_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.pickle").write_bytes(pickle.dumps(Boom(tmp_path / "proof")))
    assert "pickle" in refused(monkeypatch, capsys, "--experimental-rerun", str(tmp_path / "config.pickle"))
    assert not (tmp_path / "proof").exists()


# ------------------------------------------------------------------------------------------------- archives and names


LONG = "x" * 200  # so many together are longer than a path that the system resolves


def tar(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w:gz") as archive:
        for member, content in members:
            member.size = len(content)
            archive.addfile(member, io.BytesIO(content))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname = kind, link
    return member


@pytest.mark.parametrize(
    "members",
    [
        [info("../evil")], [info("a/../../evil")], [info("evil", tarfile.SYMTYPE, "../../etc")],
        [info("evil", tarfile.SYMTYPE, "/etc/passwd")], [info("evil", tarfile.LNKTYPE, "../precious")],
        [info("evil", tarfile.CHRTYPE)], [info("evil", tarfile.BLKTYPE)], [info("evil", tarfile.FIFOTYPE)],
        [info("here", tarfile.SYMTYPE, ".."), info("here/evil")], [info("evil", tarfile.LNKTYPE, "nothing")],
        [info("evil", tarfile.SYMTYPE, "inside")], [info("/evil")], [info("evil", tarfile.LNKTYPE, "evil")],
        [info(LONG, tarfile.SYMTYPE, "/".join([LONG] * 25)), info("evil", tarfile.SYMTYPE, f"{LONG}/..")],
    ],
    ids=lambda members: f"{members[-1].name} {members[0].linkname} {members[0].type.decode()}",
)  # fmt: skip
def test_a_tar_stays_in_its_folder(tmp_path: Path, members: list[tarfile.TarInfo]) -> None:
    (tmp_path / "precious").write_text("stays")
    root = tmp_path / "root"
    root.mkdir()
    archive = tar(tmp_path / "set.tar.gz", *((member, b"") for member in members))
    before = sorted(tmp_path.iterdir())
    with pytest.raises(ValueError, match=r"set\.tar\.gz"):
        unpack(archive, root)
    assert sorted(tmp_path.iterdir()) == before
    assert not (root / "evil").exists()
    assert (tmp_path / "precious").read_text() == "stays"


@pytest.mark.parametrize("name", ["../evil", "/evil", "a/../../evil", "C:/evil", "..\\evil"])
def test_a_zip_stays_in_its_folder(tmp_path: Path, name: str) -> None:
    root = tmp_path / "root"
    root.mkdir()
    link = zipfile.ZipInfo("link")
    link.external_attr = 0o120777 << 16  # a symbolic link
    with zipfile.ZipFile(tmp_path / "set.zip", "w") as archive:
        archive.writestr(name, "evil")
        archive.writestr(link, "/etc/passwd")
    unpack(tmp_path / "set.zip", root)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["root", "set.zip"]
    assert not Path("/evil").exists()
    assert not (root / "link").is_symlink()


def test_bombs_are_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archives, "FREE", 2**16)
    zeros = bytes(2**23)
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("zeros", zeros)
    tar(tmp_path / "bomb.tar.gz", (info("zeros"), zeros))
    tar(tmp_path / "many.tar.gz", *((info(f"{n}"), b"") for n in range(20)))
    blank = np.zeros((2**13, 32, 32), np.uint8)
    np.savez_compressed(tmp_path / "bomb.npz", x_train=blank, x_test=blank[:1])
    for name in ("bomb.zip", "bomb.tar.gz"):
        with pytest.raises(ValueError, match=rf"{name} cannot be unpacked: it unpacks from"):
            unpack(tmp_path / name, tmp_path / "root")
    with pytest.raises(ValueError, match="it unpacks from"):
        Arrays(path=str(tmp_path / "bomb.npz"), **ARRAYS).check()
    monkeypatch.setattr(archives, "MOST_MEMBERS", 10)
    with pytest.raises(ValueError, match="members"):
        unpack(tmp_path / "many.tar.gz", tmp_path / "root")


def test_lists_of_published_sets_name_no_file_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "evil.avi").write_bytes(b"")
    for name in ("ucfTrainTestlist", "testTrainMulti_7030_splits", "hmdb51_org", "annotations", "train"):
        (tmp_path / name).mkdir()
    (tmp_path / "ucfTrainTestlist" / "classInd.txt").write_text("1 ..\n")
    (tmp_path / "ucfTrainTestlist" / "trainlist01.txt").write_text("../v_.._g01_c01.avi 1\n")
    (tmp_path / "testTrainMulti_7030_splits" / "a_test_split1.txt").write_text("../../evil.avi 1\n")
    columns = "label,youtube_id,time_start,time_end\n"
    for part in ("train", "val"):
        (tmp_path / "annotations" / f"{part}.csv").write_text(f"{columns}a,../../evil,1,2\n")
    with pytest.raises(ValueError, match="not a path within"):
        ucf101(tmp_path, 1)
    with pytest.raises(ValueError, match="not a path within"):
        hmdb51(tmp_path, 1)
    assert kinetics(tmp_path, 1).train == []  # files are found by their names, not by paths


def test_names_in_a_config_are_no_paths(tmp_path: Path) -> None:
    words = plain(tmp_path / "out")
    words["names"] = {axis: "../../evil" for axis in ("dataset", "objective", "backbone")}
    folder = run_folder(typed(words), words)
    assert folder.parent.parent.resolve() == (tmp_path / "out").resolve()
    words["evaluation"] = {"../../evil": words["evaluation"]["knn"]}
    with pytest.raises(ConfigError, match="a name here may contain"):
        typed(words)


# -------------------------------------------------------------------------------------------------------------- pages


class Tags(HTMLParser):
    def __init__(self, page: Path) -> None:
        super().__init__()
        self.tags: set[str] = set()
        self.handlers: list[str] = []
        self.text = ""
        self.feed(page.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.handlers += [name for name, value in attrs if name.startswith("on") or "script:" in (value or "")]

    def handle_data(self, data: str) -> None:
        self.text += data


def test_pages_of_a_run_on_evil_names_run_no_script(tmp_path: Path) -> None:
    """Classes, overrides, a run's folder, a broken run are named as a script is. test_page.py has every field."""
    for name in (EVIL, '"><img src=x onerror=alert(1)>'):
        (tmp_path / "data" / name).mkdir(parents=True)
        for number in range(8):
            Image.new("RGB", (8, 8), (number, 0, 99)).save(tmp_path / "data" / name / f"{number}.png")
    output = tmp_path / f"{EVIL}javascript:alert(1)"
    words = [
        "dataset=image_folder", f"dataset.path={tmp_path / 'data'}", "dataset.size=8", "evaluation=[knn,projection]",
        f"dataset.cache={tmp_path / 'cache'}", "batch_size=4",
    ]  # fmt: skip
    config = compose([*SMALL[5:], *words, "logger=csv"])
    config["output"] = str(output)
    folder = run(RunRequest.of(config, [f"output={output}", EVIL]))
    (output / "broken").mkdir()
    (output / "broken" / "result.json").write_text(f'{{"schema": "{EVIL}"}}')
    assert compare.main([str(output), "--html", str(tmp_path / "all.html")]) == 0
    for page in (folder / "report.html", tmp_path / "all.html"):
        shown = Tags(page)
        assert "script" not in shown.tags
        assert not shown.handlers
        assert EVIL in shown.text


# ------------------------------------------------------------------------------------------------------------- secrets

KEY = "0123456789abcdef0123456789abcdef01234567"  # of wandb: 40 hexadecimal digits
SECRETS = {
    "WANDB_API_KEY": KEY, "HF_TOKEN": "hf_aaaabbbbccccddddeeeeffffgggghhhh",
    "DATABASE_PASSWORD": "correct horse battery", "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY",
}  # fmt: skip


@pytest.fixture
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in SECRETS.items():
        monkeypatch.setenv(name, value)


@pytest.mark.usefixtures("environment")
def test_no_secret_of_the_environment_is_written_and_no_example_sent(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Every file that a run leaves, in wandb's folder too. That one has no example, nor what is predicted of one."""
    monkeypatch.setenv("WANDB_MODE", "offline")
    words = compose([*SMALL, "logger=[wandb,tensorboard]", f"output={tmp_path}"])
    folder = run(RunRequest.of(words))
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert {"config.yaml", "result.json", "report.html", "metrics.csv", "status.json"} <= {path.name for path in files}
    assert list(tmp_path.glob("wandb/offline-run-*/*.wandb"))
    assert folder.is_dir()
    for path in files:
        content = path.read_bytes()
        for name, value in SECRETS.items():
            assert value.encode() not in content, f"{name} is in {path}"
    sent = [path.read_bytes() for path in (tmp_path / "wandb").rglob("*") if path.is_file()]
    pictures = [path for path in (folder / "figures").glob("*.png") if shows_examples(path)]
    predictions = list((folder / "predictions").iterdir())
    assert pictures
    assert predictions
    for path in [*pictures, *predictions]:
        assert not any(path.read_bytes() in each for each in sent), path


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "override",
    [
        f"logger.wandb.name={KEY}", f"logger.wandb.project=x{KEY}y", f"+logger.wandb.api_key={KEY}", f"seed={KEY}",
        "logger.wandb.name=${oc.env:WANDB_API_KEY}", "logger.wandb.tags=['${oc.env:DATABASE_PASSWORD}']",
        "'logger.wandb.name=correct horse battery'", "+notes.${oc.env:HF_TOKEN}=1",
        "dataset=webdataset dataset.train=http://me:secret@host/a.tar",
    ],
)  # fmt: skip
def test_a_secret_in_a_config_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], override: str
) -> None:
    words = [word.strip("'") for word in (re.split(" (?=dataset)", override))]
    for flags in ([], ["-m"]):
        said = refused(monkeypatch, capsys, *flags, "logger=wandb", *words, f"output={tmp_path}")
        assert not any(value in said for value in (*SECRETS.values(), "me:secret"))
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name",
    ["GITHUB_PAT", "PAT", "REGISTRY_AUTH", "NPM_OAUTH", "SLACK_WEBHOOK_URL", "DB_PWD", "A_DSN", "X_CREDS", "a_pat"],
)  # fmt: skip
def test_variables_that_are_called_like_secrets(monkeypatch: pytest.MonkeyPatch, name: str) -> None:
    monkeypatch.setenv(name, "open sesame 4711")
    assert name in secrets_in({"a": "x open sesame 4711 y"})[0]
    assert without_secrets("x open sesame 4711 y") == f"x [{name}] y"


def test_variables_that_are_not(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("PATH", "COMPAT", "AUTHOR", "OLDPWD", "PWD", "XAUTHORITY", "SSH_AUTH_SOCK", "KEYMAP"):
        monkeypatch.setenv(name, "open sesame 4711")
    assert not secrets_in({"a": "x open sesame 4711 y"})


def test_a_secret_of_digits_is_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DB_PASSWORD", "1234567890")
    assert secrets_in({"seed": 1234567890})
    assert not secrets_in({"seed": 12345678})


@pytest.mark.parametrize(
    "text",
    [
        "https://hooks.slack.com/services/T000/B000/XXXX", "https://discord.com/api/webhooks/123/abc",
        "https://example.webhook.office.com/webhookb2/abc", "https://chat.googleapis.com/v1/spaces/AAA/messages?key=a",
        "https://api.telegram.org/bot123:abc/sendMessage", "https://x.org/data.tar?X-Amz-Signature=0123456789abcdef",
        "https://x.org/data.tar?a=b&token=0123456789", "https://0123456789abcdef0123@x.org/a.git",
        "xoxb-123456789012-abcdefghijkl", "glpat-abcdefghij0123456789", "AIza" + "a" * 35, "sk-" + "a" * 40,
        "npm_" + "a" * 36, "eyJhbGciOiJIUzI1.eyJzdWIiOiIxMjM0.abc-def",
    ],
)  # fmt: skip
def test_addresses_and_keys_that_are_secrets_by_themselves(text: str) -> None:
    assert secrets_in({"a": text})


@pytest.mark.usefixtures("environment")
@pytest.mark.parametrize(
    "word",
    ["+a=${oc.env:NO_${oc.env:WANDB_API_KEY}}", "+a=${${oc.env:WANDB_API_KEY}}", "seed=${oc.env:WANDB_API_KEY}",
     "+a=${oc.decode:'[${oc.env:WANDB_API_KEY}'}", "logger=${oc.env:WANDB_API_KEY}"],
)  # fmt: skip
def test_a_message_does_not_repeat_a_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    assert KEY not in refused(monkeypatch, capsys, word, "check=true")
    key, _, value = word.lstrip("+").partition("=")
    text = f"defaults: [{{override /{key}: '{value}'}}]" if key == "logger" else yaml.safe_dump({key: value})
    words = elsewhere(tmp_path, f"# @package _global_\n{text}")
    assert KEY not in refused(monkeypatch, capsys, *words, "check=true")


def test_what_looks_like_a_secret_is_one_without_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in SECRETS:
        monkeypatch.delenv(name, raising=False)
    assert secrets_in({"logger": {"wandb": {"entity": KEY}}})[0].startswith("logger.wandb.entity looks like a secret")
    for text in (f"a={KEY}", "hf_" + "a" * 34, "ghp_" + "a" * 36, "AKIA" + "A" * 16, "s3://me:word@host/x"):
        assert secrets_in([text])
    for text in ("outputs/a1b2", KEY[:39], "https://host/a.tar", "objective.views.flip=0.5", "author@host"):
        assert not secrets_in([text])


# ------------------------------------------------------------------------------------------------------------ terminal


@pytest.mark.parametrize("output", ["a[/x]b", "[bold]a", ":smile:", "a\u202eb"])
def test_words_are_no_markup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], output: str
) -> None:
    monkeypatch.chdir(tmp_path)
    words = plain(Path("x"))
    words["output"] = output
    folder = run(RunRequest.of(words))
    said = capsys.readouterr().out
    assert output.replace("\u202e", "\ufffd") in said.replace("\n", "")
    assert str(folder).startswith(output)


EVIL_NAME = "a\x1b[2J\x07[/x]b\u202e"


def test_results_of_others_command_no_terminal(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every text of a result that is read is made evil; so is the name of its folder."""
    found = json.loads((do(tmp_path / "one") / "result.json").read_text())

    def evil(node: Any, key: str = "") -> Any:
        if isinstance(node, dict):
            return {name: evil(value, name) for name, value in node.items()}
        if isinstance(node, list):
            return [evil(each, key) for each in node]
        free = ("objective", "backbone", "command", "overrides", "sweep", "git", "device", "dataset", "started")
        return node + EVIL_NAME if isinstance(node, str) and key in free else node

    folder = tmp_path / "two" / f"x{EVIL_NAME.replace('/', '')}"
    folder.mkdir(parents=True)
    (folder / "result.json").write_text(json.dumps(evil(found)))
    (tmp_path / "two" / f"broken{EVIL_NAME.replace('/', '')}").mkdir()
    (tmp_path / "two" / f"broken{EVIL_NAME.replace('/', '')}" / "result.json").write_text('{"schema": "\\u001b[2J"}')
    for more in ([], ["--runs"], ["--markdown", "-"], ["--csv", "-"], ["--json", "-"], ["--where", EVIL_NAME]):
        compare.main([str(tmp_path / "two"), str(tmp_path / "one"), *more])
        said = capsys.readouterr()
        assert not re.search(r"[\x00-\x09\x0b-\x1f\x7f\u202e]", said.out + said.err), more
        assert "broken" in said.err


def test_warnings_command_no_terminal(tmp_path: Path) -> None:
    code = "import warnings; from ssl_runner.runtime.terminal import guard; guard(); warnings.warn('a\\x1b[2Jb')"
    code += "; raise OSError('\\x1bc')"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=ROOT).stderr
    assert "a\ufffd[2Jb" in said
    assert "OSError: \ufffdc" in said
    assert "\x1b" not in said


@pytest.mark.parametrize("word", ["seed", "output", "+objective.evil", "objective.views", "sweep.jobs", "budget"])
@pytest.mark.sampled(2)
def test_no_value_is_repeated_whole(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], word: str
) -> None:
    for value in ("y" * 20_000, f"[{'y' * 9000},y]"):
        for flags in ([], ["-m"]):
            said = refused(monkeypatch, capsys, *flags, f"{word}={value}", "check=true")
            assert len(said) < 6000


def test_pillow_opens_no_format_that_runs_a_program(tmp_path: Path) -> None:
    eps = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n(/etc/passwd) (r) file\nshowpage\n%%EOF\n"
    with pytest.raises(ValueError, match="cannot identify"):
        decode_bytes(eps, Decoding(8, 3))
    for picture in ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP", "MPO"):
        out = io.BytesIO()
        Image.new("RGB", (8, 8), (9, 9, 9)).save(out, picture)
        assert decode_bytes(out.getvalue(), Decoding(8, 3)).pixels.shape == (3, 8, 8)
