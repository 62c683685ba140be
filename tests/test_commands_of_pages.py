"""The commands of README.md and of the pages of docs/ that people wrote: each is read out of its page and run.

Those of docs/scripting.md are run by test_scripting_page.py, those of docs/lectures.md composed by
test_lectures_page.py, those of generated pages by test_studies.py.
"""

import re
import shlex
import sys
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import NamedTuple

import made_boxes
import made_text
import numpy as np
import pytest
from PIL import Image
from small_runs import do
from undrawn import undrawn

from ssl_runner import __main__ as run
from ssl_runner.commands import compare, evaluate, export, preview, runs
from ssl_runner.config.compose import compose
from ssl_runner.config.paths import options

ROOT = Path(__file__).parents[1]
PAGES = (
    "README.md", "docs/design.md", "docs/export.md", "docs/extending.md", "docs/howto.md", "docs/options.md",
    "docs/performance.md", "docs/python.md", "docs/reliability.md", "docs/scaling.md", "docs/sweeps.md",
    "docs/wandb.md",
)  # fmt: skip
TOOLS: Mapping[str, Callable[[], object]] = {
    "ssl-run": run.main,
    "ssl-evaluate": evaluate.main,
    "ssl-export": export.main,
    "ssl-preview": preview.main,
    "ssl-compare": compare.main,
    "ssl-runs": runs.main,
}
ROOTS = {"ssl-run": "config", "ssl-preview": "config", "ssl-evaluate": "evaluate", "ssl-export": "export"}
FORM = re.compile(  # says what a command looks like, and is none
    r" \.\.\.|=\.\.\.|key=|\b(NAME|PATHS|FOLDER|RUN \.\.\.)|--help$|--explain|^ssl-\S+( -m| check=true)*$|"
    r"^ssl-runs (list|show|delete|archive)$|^ssl-export format"
)
ELSEWHERE: Mapping[str, str] = {  # part of a command that is composed and not run here -> why
    "--plugin": "tests/test_plugins.py runs it",
    "user/name": "reads a hub",
    "dataset.path=saved": "tests/unit/data/images/test_huggingface_images.py reads such a folder",
    "dataset=torchvision": "downloads",
    "dataset=fashion_mnist": "downloads",
    "dataset=cifar10": "downloads",
    "experiment=cifar10/": "downloads",
    "dataset=mnist": "downloads, or reads a folder of its own",
    "trainer.devices=": "needs as many devices",
    "sweep.engine=": "needs a cluster",
    "/data/": "a place of others",
    "backbone=timm": "needs a library",
    "backbone=huggingface": "needs a library",
    "dataset=webdataset": "tests/unit/data/images/test_web_shards.py reads shards",
    "dataset=video_folder": "tests/unit/data/video reads films",
    "evaluation=[prompting] evaluation.prompting.path": "tests/unit/evaluation/text/test_prompting.py asks so",
    "minimal_pairs": "tests/unit/evaluation/text/test_minimal_pairs.py asks so",
    "dataset=features": "tests/unit/data/vectors/test_features.py reads such a file",
    "dataset=codes": "tests/unit/data/text/test_codes.py reads so",
    "yes=true": "tests/test_does_it_pay.py runs such a sweep",
    "format=codes": "tests/unit/data/text/test_codes.py writes such a file",
    "evaluation=[attention]": "tests/unit/evaluation/text/test_attention.py draws so",
    "objective.ratio>=0.5": "tests/unit/commands/test_compare.py asks so",
    "word_translation": "tests/unit/evaluation/text/test_word_translation.py maps so",
    "dataset=coco": "tests/unit/data/images/test_coco.py reads such a folder",
    "optuna": "tests/unit/sweeps/test_search.py searches so",
    "logger=[wandb": "tests/unit/loggers logs so",
    "logger=wandb": "likewise",
    "domain=bands": "tests/unit/data/images/test_arrays.py reads bands",
    "dataset.bits=16": "tests/unit/data/images/test_image_folder.py reads 16 bits",
    "detection": "tests/unit/evaluation/images/test_detection.py trains detectors",
}  # fmt: skip
SHORT = ("logger=csv", "budget.unit=steps", "budget.amount=1", "trainer.validations=0", "trainer.watch_every=0")
FAKE = (
    "dataset=fake_images", "dataset.examples=80", "dataset.test_examples=20", "dataset.channels=1", "dataset.height=28",
    "dataset.width=28", "domain=digits",
)  # fmt: skip
FINISHED = ("objective=simclr", *FAKE, "backbone.widths=[32,64,128]", "batch_size=8", "budget.amount=1")


class Command(NamedTuple):
    page: str
    line: str

    @property
    def words(self) -> list[str]:
        """Without what a shell does, and comments."""
        return shlex.split(self.line, comments=True)


def commands(page: str) -> Iterator[Command]:
    """Those of blocks of code, and those of running text."""
    text = (ROOT / page).read_text(encoding="utf-8")
    tools = "|".join(TOOLS)
    block = re.compile(r"(?ms)^ *```(?:sh|bash)?\n(.*?)^ *```$")
    lines = [line.strip() for found in block.findall(text) for line in re.sub(r"\\\n\s*", "", found).splitlines()]
    lines += [" ".join(found.split()) for found in re.findall(rf"`((?:{tools}) [^`]+)`", block.sub("", text))]
    for line in dict.fromkeys(lines):
        if re.match(rf"(?:{tools}) ", line) and not FORM.search(re.sub(r"s0-\.\.\.|outputs/\.\.\.", "", line)):
            yield Command(page, line)


COMMANDS = [command for page in PAGES for command in commands(page)]


def test_the_commands_are_found_and_their_options_there() -> None:
    """Every group that a command chooses from has the option; nothing is composed."""
    assert len(COMMANDS) > 100
    lines = [command.line for command in COMMANDS]
    assert all(any(part in line for line in lines) for part in ELSEWHERE)
    known = {axis: options(axis) for axis in ("dataset", "objective", "backbone", "evaluation", "sweep", "experiment")}
    for command in COMMANDS:
        if "--plugin" in command.line:
            continue
        for axis, _, value in (word.partition("=") for word in command.words):
            chosen = value.strip("[]").split(",") if axis in known else []
            assert set(chosen) <= {*known.get(axis, ()), "text_pairs"}, f"{command.page}: {command.line}"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the pages name, a few of each, and `outputs` with a run for those that they name."""
    folder = tmp_path_factory.mktemp("place")
    draw = np.random.default_rng(0)

    def images(n: int, side: int = 28) -> np.ndarray:
        return draw.integers(0, 256, (n, side, side, 3), dtype=np.uint8)

    for name in ("photos", "drawings", "scans"):
        for kind in ("cat", "dog"):
            (folder / name / kind).mkdir(parents=True)
            for number, pixels in enumerate(images(30)):
                Image.fromarray(pixels).save(folder / name / kind / f"{number:02}.png")
    paths = [f"scans/{kind}/{number:02}.png" for kind in ("cat", "dog") for number in range(30)]
    for name, extra in (("photos.csv", ""), ("scans.csv", ",patient,split")):
        rows = [
            f"{path},{path.split('/')[1]}" + (f",p{i % 20},{('train', 'val', 'test')[i % 20 % 3]}" if extra else "")
            for i, path in enumerate(paths)
        ]
        (folder / name).write_text("\n".join([f"file,label{extra}", *rows]) + "\n")
    sizes = {"train": 300, "test": 40}  # a batch is of 256
    arrays = {f"x_{part}": images(n) for part, n in sizes.items()}
    arrays |= {f"y_{part}": np.arange(n) % 2 for part, n in sizes.items()}
    np.savez(folder / "images.npz", **arrays)
    boxes = {f"boxes_{part}": np.tile(np.float32([0.1, 0.2, 0.6, 0.7]), (n, 1)) for part, n in sizes.items()}
    np.savez(folder / "boxes.npz", **arrays, **boxes)
    made_boxes.write_voc(folder / "cells", made_boxes.PARTS)
    lines = made_text.text(60).replace("\n\n", "\n").splitlines()
    (folder / "reviews.csv").write_text("\n".join(["text,label", *(f'"{a}",{i % 2}' for i, a in enumerate(lines))]))
    (folder / "captions.csv").write_text(
        "\n".join(["file,caption", *(f'{path},"{line}"' for path, line in zip(paths, lines, strict=False))])
    )
    (folder / "pairs.tsv").write_text(
        "\n".join(["sent0\tsent1", *(f"{a}\t{b}" for a, b in zip(lines[::2], lines[1::2], strict=False))])
    )
    for name in ("german.txt", "english.txt"):
        (folder / name).write_text(made_text.text(60))
    return folder


@pytest.fixture(scope="module")
def finished(place: Path) -> Path:
    return do(place / "outputs", *FINISHED)


def called(tool: str, words: list[str], capfd: pytest.CaptureFixture[str]) -> str:
    """What a command prints; it must succeed."""
    with pytest.MonkeyPatch.context() as patched, undrawn():
        patched.setattr(sys, "argv", [tool, *words])
        try:
            code = TOOLS[tool]() or 0
        except SystemExit as end:
            code = end.code or 0
    out, err = capfd.readouterr()
    assert not code, err or out
    return out


def without_placeholders(command: Command, finished: Path) -> list[str]:
    """The words of a command, less its tool, with the finished run for those that pages leave open."""
    found = []
    for word in command.words[1:]:
        key, sign, value = word.partition("=")
        open_run = value == "RUN" or value.startswith("outputs/")
        found.append(f"{key}{sign}'{finished}'" if open_run and sign else word)
    return found


@pytest.mark.slow
@pytest.mark.parametrize("command", COMMANDS, ids=[f"{c.page}: {c.line}"[:110] for c in COMMANDS])
def test_a_command_does_what_its_page_says(
    command: Command,
    place: Path,
    finished: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """Composed alone where `ELSEWHERE` says why; else checked as it stands, and run, short, where it is a run."""
    tool, *_ = command.words
    monkeypatch.chdir(place)
    words = without_placeholders(command, finished)
    several = "-m" in words or any(word.startswith("sweep=") for word in words)
    if any(part in command.line for part in ELSEWHERE):
        if tool in ROOTS and "--plugin" not in words:
            composable = [re.sub(r"=([^\[\]{}()'\",]+),.*", r"=\1", word) for word in words if word != "-m"]
            untrained = tool == "ssl-evaluate" and any(word.startswith("backbone=") for word in words)
            compose([word for word in composable if "(" not in word], "config" if untrained else ROOTS[tool])
    elif tool == "ssl-run":
        called(tool, [*words, "check=true", "logger=csv", f"output={tmp_path}"], capfd)
        if not several:
            called(tool, short(words, tmp_path), capfd)
            assert list(tmp_path.rglob("result.json"))
    elif tool == "ssl-preview" or tool == "ssl-export":
        called(tool, [*words, f"output={tmp_path}"], capfd)
    else:
        called(tool, words, capfd)


def short(words: list[str], output: Path) -> list[str]:
    """A run of one step, on few made images where the command names no data; evaluated as it says, or not at all."""
    keys = {word.partition("=")[0] for word in words}
    more = [f"output={output}", "resume=auto"]
    if "extend" in keys:  # all but the budget is as in the run that it extends
        return [*(word for word in words if not word.startswith("budget.")), "logger=csv", "budget.amount=2", *more]
    more += [word for word in SHORT if word.partition("=")[0] not in keys or word.startswith("budget.")]
    if not keys & {"dataset", "experiment", "batch_size"}:
        more += FAKE
    if "batch_size" not in keys:
        more.append("batch_size=8")
    if "evaluation" not in keys:
        more += ["evaluation=[]", "controls=[]"]
    for name, evaluation in compose(words)["evaluation"].items():
        for key, value in (("epochs", 1), ("least_steps", 2)):
            if f"evaluation.{name}.recipe.{key}" not in keys and key in evaluation.get("recipe", {}):
                more.append(f"evaluation.{name}.recipe.{key}={value}")
    return [*(word for word in words if not word.startswith(("budget.", "output=", "resume=", "logger"))), *more]
