"""--help, --version and --explain, and output that nobody reads to its end."""

import contextlib
import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from ssl_runner import __main__, __version__
from ssl_runner.commands import compare, evaluate, export, preview
from ssl_runner.commands.explain import explained
from ssl_runner.commands.help import Command, help_text, rows
from ssl_runner.config.compose import compose
from ssl_runner.config.documentation import about_group, document, expanded, named, option
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import conf_dir, groups

RUN, EVALUATE, EXPORT, PREVIEW = __main__.COMMAND, evaluate.COMMAND, export.COMMAND, preview.COMMAND
COMMANDS = [RUN, EVALUATE, EXPORT, PREVIEW]
MAINS = {
    "ssl-run": __main__.main,
    "ssl-evaluate": evaluate.main,
    "ssl-export": export.main,
    "ssl-preview": preview.main,
}


def printed(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], main: Callable[[], object], *words: str
) -> str:
    monkeypatch.setattr(sys, "argv", ["command", *words])
    with contextlib.suppress(SystemExit):  # of argparse
        main()
    return capsys.readouterr().out


def one_line(text: str) -> str:
    return " ".join(text.split())


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command.name)
def test_help_says_what_the_command_does_and_documents_groups_and_keys(
    command: Command, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    text = printed(monkeypatch, capsys, MAINS[command.name], "--help")
    assert text == help_text(command) + "\n"
    lines = text.splitlines()
    assert lines[0] == f"{command.name}: {command.does}"
    assert lines[2].startswith(f"Usage: {command.name}")
    assert "Hydra" not in text
    assert len(command.examples) == 3
    assert all(f"  {line}\n" in text for line, _ in command.examples)
    root = document(conf_dir() / f"{command.root}.yaml")
    for choice in root.choices:
        assert f"  {choice.group}={choice.option}" in text
        assert about_group(choice.group)
    for key in expanded(root):
        assert key.comment or "." in key.name, f"{key.name} has no comment"
        assert f"  {key.name}" + ("" if key.value is None else f"={key.value}") in text
        assert one_line(key.comment) in one_line(text)


def test_help_of_keys_is_the_comment_of_the_yaml() -> None:
    text = one_line(help_text(RUN))
    for file, start in (("config.yaml", ""), ("trainer/default.yaml", "trainer.")):
        for found in re.finditer(r"(?m)^(\w+): +(\S+) +# (.+)$", (conf_dir() / file).read_text()):
            assert one_line(f"{start}{found[1]}={found[2]} {found[3]}") in text


@pytest.mark.parametrize("command", [RUN, PREVIEW], ids=lambda command: command.name)
def test_examples_compose(command: Command) -> None:
    for line, _ in command.examples:
        words = [word.split(",")[0] for word in line.split()[1:] if word != "-m"]
        compose(words, command.root)


@pytest.mark.parametrize("command", [EVALUATE, EXPORT], ids=lambda command: command.name)
def test_examples_on_a_run_compose(command: Command) -> None:
    for line, _ in command.examples:
        words = line.split()[1:]
        short = any(word.startswith("backbone=") for word in words)  # for a run of objective=none
        assert compose(words, "config" if short else command.root)["backbone" if short else "run"]


@pytest.mark.parametrize("name", MAINS)
def test_version_is_that_of_the_package(
    name: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    assert printed(monkeypatch, capsys, MAINS[name], "--version") == f"{name} {__version__}\n"


def test_compare_has_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    for flag in ("--help", "--version"):
        with pytest.raises(SystemExit, match="0"):
            compare.main([flag])
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == f"ssl-compare: {compare.ABOUT}"
    assert sum(line.startswith("  ssl-compare ") for line in lines) == 3
    assert lines[-1] == f"ssl-compare {__version__}"


def test_rows_are_wrapped_to_the_terminal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "70")
    text = rows([("key", "word " * 30), ("a" * 40, "behind a long name")])
    assert all(len(line) <= 70 for line in text.splitlines())
    assert text.splitlines()[-1] == " " * 34 + "behind a long name"


# ------------------------------------------------------------------------------------------------------------ explain


def test_an_option_has_head_keys_class_and_what_goes_with_it() -> None:
    text = explained("dataset=image_folder", RUN)
    assert text.startswith("dataset=image_folder\n\n" + option("dataset", "image_folder").head)
    assert "path (required)" in text
    assert "size=64" in text
    assert all(one_line(key.comment) in one_line(text) for key in option("dataset", "image_folder").keys)
    assert "Class: ssl_runner.data.images.image_folder.ImageFolder\n  Images under `path`" in text
    fits = one_line(text.partition("Goes with")[2])
    assert "resnet18" in fits
    assert "rotation" in fits
    assert "knn" in fits
    assert "bert" not in fits
    assert "video" not in fits


@pytest.mark.parametrize(
    ("what", "with_it", "not_with_it"),
    [
        ("objective=mae", ["vit_tiny", "mnist_5k", "reconstruction"], ["resnet18", "moving_digits", "samples"]),
        (
            "backbone=gpt_tiny",
            ["language_model", "wiki_sample", "perplexity"],
            ["mae", "mnist", "reconstruction", "bert"],
        ),
        ("evaluation=perplexity", ["language_model", "gpt_tiny", "ptb"], ["simclr", "mnist", "resnet18"]),
        ("objective/loss=info_nce", ["simclr", "moco"], ["byol", "mae"]),
        ("backbone/image=resnet18", ["per_frame"], ["resnet18", "convnet"]),
    ],
)
def test_what_goes_with_it_is_what_the_gate_accepts(what: str, with_it: list[str], not_with_it: list[str]) -> None:
    names = re.split(r"[,\s]+", explained(what, RUN).partition("Goes with")[2])
    assert set(with_it) <= set(names)
    assert not set(not_with_it) & set(names)


def test_nested_options_and_those_that_continue_another() -> None:
    assert "set objective.views.KEY=VALUE" in explained("objective/views=natural", RUN)
    frames = explained("objective/views=frames", RUN)
    assert "crop_scale=[1.0, 1.0]" in frames  # its own
    assert "stride=2" in frames  # of `video`
    assert "ClipViews" in frames
    assert "objective/views@objective.small_views=${domain}" in explained("objective=dino", RUN)


def test_options_on_floors_and_sets() -> None:
    assert "set evaluation.knn.KEY=VALUE" in explained("evaluation=knn", RUN)
    image = explained("evaluation=image", RUN)
    assert "Holds:\n  linear" in image
    assert "Class" not in image
    assert "Sets:\n  batch_size=128" in explained("experiment=mae_cifar10", RUN)
    assert "Nothing is logged" in explained("logger=none", RUN)


@pytest.mark.parametrize("group", groups())
def test_a_group_lists_its_options(group: str) -> None:
    text = explained(group, RUN)
    for name in named(group):
        assert re.search(rf"(?m)^(  {name}\b|{group}={name}$)", text)


@pytest.mark.parametrize("group", groups())
@pytest.mark.sampled(3)
def test_every_option_is_documented(group: str) -> None:
    assert about_group(group)
    for name in named(group):
        text = explained(f"{group}={name}", RUN)
        assert option(group, name).head, f"{group}={name} has no comment at its head"
        assert text.startswith(f"{group}={name}\n\n{option(group, name).head}")


def test_keys_of_the_root() -> None:
    assert explained("budget", RUN).splitlines()[-1].startswith("budget.amount=30")
    assert explained("budget.unit", RUN).startswith("budget.unit=epochs")
    assert explained("seed", EVALUATE).startswith("seed=null")
    assert "trainer.KEY=VALUE" in explained("trainer", RUN)
    both = explained("sweep", RUN)
    assert "sweep.trials=20" in both
    assert "mask_ratio" in both


def test_a_key_of_a_group_says_which_options_have_it() -> None:
    assert explained("trainer.precision", RUN).startswith("trainer=default")
    assert "precision=auto: " in explained("trainer.precision", RUN)
    found = explained("optimizer.lr", RUN)
    assert [name for name in ("adagrad", "adamw", "lars", "sgd") if f"optimizer={name} " in found] == [
        *named("optimizer")
    ]


@pytest.mark.parametrize(
    ("what", "said"),
    [
        ("objectve=simclr", "objectve: no such group; did you mean objective?"),
        ("objective=simcl", "objective=simcl: no such option; did you mean simclr?; objective has: arrow_of_time,"),
        ("evaluation/any=knn", "evaluation/any: no such group; did you mean evaluation?"),
        ("budgt", "budgt: no such group or key of ssl-run; did you mean budget?"),
        ("objective/vews", "objective/vews: no such group or key of ssl-run; did you mean objective/views?"),
        ("objective.rato", "objective.rato: no such group or key of ssl-run; did you mean objective.ratio?"),
        ("../secrets=x", "../secrets: no such group"),
    ],
)
def test_a_mistake_gets_the_nearest_name(what: str, said: str) -> None:
    with pytest.raises(ConfigError) as error:
        explained(what, RUN)
    assert said in error.value.problems[0]


def test_explain_is_a_flag(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert "info_nce" in printed(monkeypatch, capsys, __main__.main, "--explain", "objective/loss")
    monkeypatch.setattr(sys, "argv", ["ssl-run", "--explain", "nothing=1"])
    with pytest.raises(SystemExit, match="2"):
        __main__.main()
    assert capsys.readouterr().err.startswith("error: nothing: no such group")


# ------------------------------------------------------------------------------------------------------- as processes


def test_nothing_heavy_is_imported(tmp_path: Path) -> None:
    code = "import sys\nfrom ssl_runner.__main__ import main\n"
    code += "for words in (['--help'], ['--version'], ['--explain', 'objective'], ['--explain', 'trainer']):\n"
    code += "    sys.argv[1:] = words\n    try:\n        main()\n    except SystemExit: pass\n"
    code += "print('torch' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "False"


@pytest.mark.parametrize(
    ("command", "both"),
    [
        ("ssl_runner --help", False),
        ("ssl_runner --cfg job", False),
        ("ssl_runner --info defaults", False),
        ("ssl_runner.commands.compare --help", False),
        ("ssl_runner objective=nothing", True),  # an error, to 2>&1
    ],
)
def test_output_that_is_no_longer_read_ends_the_command_quietly(command: str, both: bool, tmp_path: Path) -> None:
    """As `| head -1` leaves a command: with a pipe that nobody reads."""
    read, write = os.pipe()
    os.close(read)
    done = subprocess.run(
        [sys.executable, "-m", *command.split()],
        cwd=tmp_path,
        stdout=write,
        stderr=write if both else subprocess.PIPE,
        text=True,
        check=False,
    )
    os.close(write)
    assert not done.stderr
    assert done.returncode in (0, 141)  # 0: argparse and logging ignore it by themselves
