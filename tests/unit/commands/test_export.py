"""ssl-export, as a user runs it: what it leaves, what it refuses, and the code of its model card."""

import re
import subprocess
import sys
from pathlib import Path

import libraries
import made_text
import numpy as np
import pytest
import torch
from small_runs import SMALL, do
from undrawn import undrawn

from ssl_runner.assembly import programs
from ssl_runner.assembly.load import load_encoder
from ssl_runner.commands.export import export
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.request import RunRequest
from ssl_runner.interfaces import TextSpec

# What every process of a reader begins with: this project cannot be imported.
WITHOUT = """
import sys
class Refuse:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "ssl_runner":
            raise ImportError(name)
sys.meta_path.insert(0, Refuse())
"""


def ask(**words: object) -> Path:
    line = [f"{key}={value}" for key, value in words.items()]
    return export(compose(line, "export"))


def follow(card: Path, more: str = "") -> str:
    """Run the code of a model card in its folder, isolated; what it printed."""
    (code,) = re.findall(r"```python\n(.*?)```", card.read_text(encoding="utf-8"), re.DOTALL)
    words = [sys.executable, "-I", "-c", f"{WITHOUT}{code}{more}"]
    done = subprocess.run(words, cwd=card.parent, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def trained(output: Path, *words: str) -> Path:
    """The folder of a run of these words alone, `small_runs.do` those of a small one."""
    with undrawn():
        return run(RunRequest.of(compose(list(words)) | {"output": str(output)}))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return do(tmp_path_factory.mktemp("runs"), "evaluation=[knn]", "controls=[random_start]")


@pytest.mark.parametrize(("format", "file"), [("onnx", "model.onnx"), ("torch_export", "model.pt2")])
def test_the_card_shows_how_to_load_it_without_this_project(format: str, file: str, folder: Path) -> None:
    if format == "onnx":
        pytest.importorskip("onnxscript")
        pytest.importorskip("onnxruntime")
    written = ask(run=folder, format=format)
    assert written == folder / "export" / format
    assert {each.name for each in written.iterdir()} == {file, "README.md"}
    saved = "\nnp.save('out.npy', np.asarray(pooled)); np.save('in.npy', images)"
    assert "(2, 8)" in follow(written / "README.md", saved).replace("[", "(").replace("]", ")")
    images, pooled = np.load(written / "in.npy"), np.load(written / "out.npy")
    expected = load_encoder(folder)(torch.from_numpy(images)).pooled
    torch.testing.assert_close(torch.from_numpy(pooled), expected, rtol=1e-5, atol=1e-5)
    for name in ("in.npy", "out.npy"):
        (written / name).unlink()


@pytest.mark.thorough
def test_text_is_read_with_its_tokenizer(tmp_path: Path) -> None:
    words = [word for word in SMALL if not word.startswith(("backbone", "dataset", "objective"))]
    text = [*made_text.overrides(), "objective=bert", "backbone=bert_tiny", "batch_size=4", "budget.amount=2"]
    written = ask(run=trained(tmp_path, *text, *words), format="torch_export")
    assert {each.name for each in written.iterdir()} == {"model.pt2", "tokenizer.json", "README.md"}
    assert "128" in follow(written / "README.md")


@pytest.mark.thorough
def test_torchvision_reads_a_resnet(tmp_path: Path) -> None:
    words = [word for word in SMALL if not word.startswith("backbone")]
    more = ["dataset.height=32", "dataset.width=32", "backbone=resnet18", "backbone.stem=large", "budget.amount=2"]
    written = ask(run=trained(tmp_path, *words, *more), format="torchvision", output=tmp_path / "out")
    assert {each.name for each in written.iterdir()} == {"model.safetensors", "config.json", "README.md"}
    assert "512" in follow(written / "README.md")


def _small(backbone: str, **settings: object) -> list[str]:
    """A network of a library, small, with its own stem."""
    stem = [] if backbone == "timm_vit" or backbone == "huggingface_vit" else ["backbone.stem=large"]
    small = libraries.SMALLER[backbone] | settings
    return [
        f"backbone={backbone}",
        *stem,
        *(f"backbone.{key}={libraries.as_word(value)}" for key, value in small.items()),
    ]


@pytest.mark.parametrize(
    ("format", "words", "files", "said"),
    [
        ("timm", _small("timm"), {"config.json"}, ".mean((2, 3))"),
        ("timm", _small("timm", name="test_convnext", settings=None), {"config.json"}, "`head.norm.weight`"),
        ("timm", _small("timm_vit"), {"config.json"}, "[:, model.num_prefix_tokens :].mean(1)"),
        ("timm", _small("timm_vit", pool="class"), {"config.json"}, "[:, 0]  # the class token"),
        ("huggingface", _small("huggingface"), {"config.json", "preprocessor_config.json"}, ".mean((2, 3))"),
        (
            "huggingface",
            _small("huggingface_vit"),
            {"config.json", "preprocessor_config.json"},
            "`pooler.dense.weight`",
        ),
        pytest.param(
            "torchvision",
            _small("torchvision", name="shufflenet_v2_x0_5"),
            {"config.json"},
            "(num_classes=1024)\n",
            marks=pytest.mark.slow,
        ),
        (
            "torchvision",
            _small("torchvision", name="mobilenet_v3_small", settings={"width_mult": 0.5}),
            {"config.json"},
            "mobilenet_v3_small(width_mult=0.5).features\n",
        ),
    ],
)
@pytest.mark.sampled(1)
def test_a_library_reads_its_networks_of_images(
    format: str, words: list[str], files: set[str], said: str, tmp_path: Path
) -> None:
    libraries.needs(words[0].removeprefix("backbone="))
    small = [word for word in SMALL if not word.startswith("backbone")]
    run_folder = trained(tmp_path, *small, "dataset.height=32", "dataset.width=32", "budget.amount=2", *words)
    written = ask(run=run_folder, format=format)
    assert {each.name for each in written.iterdir()} == {"model.safetensors", "README.md", *files}
    assert said in (written / "README.md").read_text()
    follow(written / "README.md", "\nnp.save('out.npy', pooled.numpy()); np.save('in.npy', images)")
    expected = load_encoder(run_folder)(torch.from_numpy(np.load(written / "in.npy"))).pooled
    found = torch.from_numpy(np.load(written / "out.npy"))
    torch.testing.assert_close(found, expected, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("objective", "backbone"), [("bert", "huggingface_text"), ("language_model", "huggingface_causal")]
)
@pytest.mark.sampled(1)
def test_transformers_reads_its_networks_of_texts(objective: str, backbone: str, tmp_path: Path) -> None:
    libraries.needs(backbone)
    small = [word for word in SMALL if not word.startswith(("backbone", "dataset", "objective"))]
    data = [*made_text.overrides(), f"objective={objective}", "batch_size=4", "budget.amount=2"]
    run_folder = trained(tmp_path, *small, *data, f"backbone={backbone}", *libraries.words(backbone))
    written = ask(run=run_folder, format="huggingface")
    own = {"tokenizer.json", "tokenizer_config.json"}
    assert {each.name for each in written.iterdir()} == {"model.safetensors", "config.json", "README.md", *own}
    ids = "\nimport numpy as np; np.savez('out.npz', pooled=pooled, ids=given['input_ids'])"
    follow(written / "README.md", ids)
    found = np.load(written / "out.npz")
    encoder = load_encoder(run_folder)
    texts = ["A text to encode.", "Another text."]
    torch.testing.assert_close(torch.from_numpy(found["pooled"]), encoder(texts).pooled, rtol=1e-5, atol=1e-5)
    ordinary = [encoder.tokenizer.encode(text, add_special_tokens=False).ids for text in texts]
    assert isinstance(encoder.spec, TextSpec)
    special = encoder.spec.special
    assert [[each for each in row if each != special.pad] for row in found["ids"].tolist()] == [
        [special.cls, *row, special.sep] for row in ordinary
    ]


@pytest.mark.thorough
def test_what_differs_is_not_kept(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "TOLERANCE", -1.0)
    monkeypatch.setattr(programs, "ROUNDINGS", -1)
    with pytest.raises(ConfigError, match="nothing is kept"):
        ask(run=folder, format="torch_export", output=tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.thorough
def test_what_was_there_stays_where_nothing_replaces_it(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "model.pt2").write_text("older")
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(ConfigError, match="set format=onnx"):
        ask(run=folder, format="torchvision", output=tmp_path)
    assert (tmp_path / "model.pt2").read_text() == "older"
    ask(run=folder, format="torch_export", output=tmp_path)
    assert (tmp_path / "model.pt2").read_bytes()[:2] == b"PK"
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_a_format_that_there_is_not_is_refused(folder: Path) -> None:
    with pytest.raises(ConfigError, match="format is keras; it must be one of onnx, torch_export, torchvision, timm"):
        ask(run=folder, format="keras")


def test_a_run_that_there_is_not_is_refused(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config.yaml; set it to the folder of a finished run"):
        ask(run=tmp_path)
    (tmp_path / "config.yaml").write_text((folder / "config.yaml").read_text())
    with pytest.raises(ConfigError, match="contains no finished run"):
        ask(run=tmp_path)


def test_refusals_are_lines_without_a_traceback(tmp_path: Path) -> None:
    for words, problem in (
        (["format=keras"], "error: run is not set; set it to the folder of a finished run"),
        (["fromat=onnx"], "error: fromat: no such key; did you mean format?"),
        ([f"run={tmp_path}"], "which has no config.yaml"),
    ):
        line = [sys.executable, "-m", "ssl_runner.commands.export", *words]
        done = subprocess.run(line, capture_output=True, text=True, check=False)
        assert done.returncode == 2
        assert problem in done.stderr
        assert "Traceback" not in done.stderr


def test_refusals_come_before_torch(tmp_path: Path) -> None:
    code = f"""
import sys
sys.argv = ["ssl-export", "run={tmp_path}"]
from ssl_runner.commands import export
try:
    export.main()
except SystemExit as end:
    assert end.code == 2
assert not {{"torch", "onnx", "onnxruntime", "jinja2"}} & set(sys.modules)
"""
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_page_on_export_shows_the_code_of_a_card() -> None:
    """Its commands are tried by the tests above; the formats it names are those that there are."""
    page = (conf_dir().parent / "docs" / "export.md").read_text(encoding="utf-8")
    for format in ("onnx", "torch_export", "torchvision", "timm", "huggingface"):
        assert f"`{format}`" in page
