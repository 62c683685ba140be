"""Random command lines: each ends in a valid check or in a refusal in words, and none writes outside its folder."""

from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any, cast, get_type_hints

import numpy as np
import pytest
import yaml
from bounded import bounded, listing
from hydra.errors import HydraException
from hypothesis import HealthCheck, given, seed, settings
from hypothesis import strategies as st
from PIL import Image

from ssl_runner.__main__ import main
from ssl_runner.commands.cli import explain
from ssl_runner.commands.run import run
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.paths import options
from ssl_runner.config.request import RunRequest
from ssl_runner.config.signatures import locate
from ssl_runner.interfaces import Paired

AXES = (
    "dataset", "objective", "backbone", "evaluation", "optimizer", "schedule", "logger", "trainer", "experiment",
)  # fmt: skip
OPTIONS = {axis: list(options(axis)) for axis in AXES}


@cache
def target(axis: str, option: str) -> type[Any]:
    return locate(yaml.safe_load(options(axis)[option].read_text())["_target_"])


@cache
def hints(cls: type[Any]) -> dict[str, Any]:
    return get_type_hints(cls.__init__)


@cache
def gives(dataset: str) -> type[Any]:
    """The kind of spec that a dataset offers."""
    return get_type_hints(target("dataset", dataset).spec.fget)["return"]


def fitting() -> list[tuple[str, str, str]]:
    """Every dataset with every objective and backbone that go together, by their annotations."""
    found = []
    for objective in OPTIONS["objective"]:
        task = target("objective", objective)
        for backbone in OPTIONS["backbone"]:
            cls = target("backbone", backbone)
            if not issubclass(cls, hints(task)["encoder"]):
                continue
            reads = hints(cls)["spec"], hints(task)["spec"]
            for dataset in OPTIONS["dataset"]:
                if task.reads_pairs and not issubclass(target("dataset", dataset), Paired):
                    continue
                if all(issubclass(gives(dataset), each) for each in reads):
                    found.append((dataset, objective, backbone))
    return found


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder to work in, with a little data of each kind; what lies beside it must stay as it is."""
    around = tmp_path_factory.mktemp("around")
    (around / "precious.txt").write_text("stays")
    folder = around / "work"
    (folder / "texts").mkdir(parents=True)
    (folder / "texts" / "one.txt").write_text("A cat sees a dog. The dog likes a song.\n\nThe moon rises.\n" * 40)
    rows = "".join(f"the cat sees {n},the dog likes {n}\n" for n in range(50))
    (folder / "pairs.csv").write_text(f"first,second\n{rows}")
    random = np.random.default_rng(0)
    for kind in ("cats", "dogs"):
        (folder / "images" / kind).mkdir(parents=True)
        for n in range(4):
            Image.fromarray(random.integers(0, 256, (20, 20, 3), dtype=np.uint8)).save(
                folder / "images" / kind / f"{n}.png"
            )
    listed = "".join(f"images/{kind}/{n}.png,{kind}\n" for kind in ("cats", "dogs") for n in range(4))
    (folder / "images.csv").write_text(f"file,label\n{listed}")
    pixels, label = random.integers(0, 256, (20, 16, 16), dtype=np.uint8), np.arange(20) % 2
    np.savez(folder / "arrays.npz", x_train=pixels, x_test=pixels, y_train=label, y_test=label)
    return folder


NEEDED = {  # what a dataset needs, of what lies in `place`
    "arrays": ["dataset.path=arrays.npz"],
    "huggingface": ["dataset.path=images.parquet"],
    "huggingface_text": ["dataset.path=texts.parquet"],
    "image_folder": ["dataset.path=images", "dataset.size=16"],
    "image_table": ["dataset.path=images.csv", "dataset.size=16"],
    "text_file": ["dataset.path=texts/one.txt"],
    "text_folder": ["dataset.path=texts", "dataset.labels=none"],
    "text_pairs": ["dataset.path=pairs.csv", "dataset.columns=[first,second]"],
    "text_table": ["dataset.path=pairs.csv", "dataset.text_column=first"],
    "torchvision": ["dataset.name=FakeData", "dataset.size=16"],
    "video_folder": ["dataset.path=videos"],
    "webdataset": ["dataset.train=a.tar", "dataset.val=b.tar", "dataset.test=c.tar"],
}

WORDS = st.sampled_from([
    "", "''", '""', "null", "none", "true", "false", "yes", "auto", "???", "nan", "inf", "-inf", ".nan", "-.inf", "NaN",
    "0", "-0", "1", "2", "3", "-1", "0.5", "1.5", "1e-300", "1e308", "-1e308", "1e400", "00", "0x10", "1_000", "2e3",
    "2147483648", "-2147483649", "9223372036854775808", "1000000", "100000000000000000000000000",
    "../../escape", "/etc/passwd", "/dev/null/x", "/dev/zero", "~/x", "..", ".", "/", "a/../../b", "C:\\x", "x" * 300,
    "${seed}", "${nope}", "${oc.env:HOME}", "${oc.env:NO_SUCH_VARIABLE}", "${oc.env:NO_SUCH_VARIABLE,5}", "${", "$",
    "}",
    "${objective}", "${dataset.path}", "${hydra:runtime.cwd}", "${oc.decode:'[1'}", "${oc.select:nope,1}", "${a:b}",
    "${oc.dict.keys:objective}", "${batch_size", "${${seed}}", "${.lr}", "${..seed}", "${seed}${seed}",
    "[]", "[1]", "[1,2]", "[[1],[2]]", "[1,[2,[3,[4]]]]", "[a,null,1.5]", "[0]", "[-1,-1]", "[1,2", "1,2", "a,b,",
    "{}", "{a:1}", "{a:{b:{c:[1]}}}", "{_target_:os.system,command:x}", "{1:2}",
    "{_target_:ssl_runner.training.optim.Constant}",
    "ünïcödé", "日本語", "🙂", "‮evil", "a b", "a\tb", "a\nb", "\x00", "\x1b[31m", "'", '"', "\\", "%s", "%(x)s", "{0}",
    "<script>alert(1)</script>", "a=b", "==", "#x", "@x", "&x", "*x", "!!python/object/apply:os.system [x]",
    "range(1,3)", "choice(1,2)", "interval(0,1)", "glob(*)", "sort(3,1)", "int('x')", "cast(1)", "float(1", "rm -rf x",
])  # fmt: skip
VALUES = st.one_of(
    WORDS,
    WORDS,
    st.integers(-(2**70), 2**70).map(str),
    st.integers(-3, 70).map(str),
    st.floats().map(str),
    st.floats(-2, 2, width=16).map(str),
    st.text(max_size=12),
    st.lists(st.integers(-2, 40), max_size=4).map(lambda each: str(each).replace(" ", "")),
    st.integers(1, 4).map(lambda power: "y" * 10**power),
    st.integers(1, 400).map(lambda depth: "[" * depth + "]" * depth),
)
STRANGE = st.one_of(
    st.sampled_from([
        "+typo", "++typo", "~seed", "~objective", "~dataset.nope", "+objective.nope", "++objective.nope.deep", "seed.x",
        "objective/loss", "objective/views", "objective/views@objective.views", "evaluation@_global_", "+experiment",
        "+sweep", "names", "+names.dataset", "domain", "+domain", "hydra.run.dir", "hydra.mode", "hydra/launcher",
        "a.b.c", "_target_", "backbone._target_", "objective._target_", "+logger.x._target_", "dataset@x", "",
        ".", "..", "+",
        "~", "output", "start_from", "budget", "trainer", "sweep.params", "+sweep.settings.x", "hydra.searchpath", "é",
        "a b",
        "backbone.widths[0]", "+objective.views._target_", "optimizer@backbone", "++hydra.callbacks.x", "_self_",
    ]),
    st.text(max_size=8),
)  # fmt: skip


def keys(node: Any, path: str = "") -> Iterator[str]:
    for key, value in node.items() if isinstance(node, dict) else ():
        yield f"{path}{key}"
        yield from keys(value, f"{path}{key}.")


KNOWN = sorted({key for option in ("simclr", "bert", "mae") for key in keys(compose([f"objective={option}"]))})
OWN = {  # the keys of each option's own file
    (axis, path.stem): sorted(keys(yaml.safe_load(path.read_text()) or {}))
    for axis in ("dataset", "objective", "backbone", "optimizer", "schedule")
    for path in options(axis).values()
}
FITTING = fitting()


@st.composite
def command_lines(draw: st.DrawFn) -> list[str]:
    """Options of some axes, and some overrides of anything."""
    if draw(st.integers(0, 2)):
        chosen = dict(zip(("dataset", "objective", "backbone"), draw(st.sampled_from(FITTING)), strict=True))
    else:
        chosen = {axis: draw(st.sampled_from(OPTIONS[axis])) for axis in ("dataset", "objective", "backbone")}
    more = draw(st.lists(st.sampled_from(["optimizer", "schedule", "trainer"]), max_size=2, unique=True))
    chosen |= {axis: draw(st.sampled_from(OPTIONS[axis])) for axis in more}
    if not draw(st.integers(0, 9)):
        chosen["experiment"] = draw(st.sampled_from(OPTIONS["experiment"]))
    words = [f"{axis}={option}" for axis, option in chosen.items()] + NEEDED.get(chosen["dataset"], [])
    if draw(st.booleans()):
        asked = draw(st.lists(st.sampled_from(OPTIONS["evaluation"]), max_size=3, unique=True))
        words.append(f"evaluation=[{','.join(asked)}]")
    logged = draw(st.sampled_from(["none", "csv", "tensorboard", "wandb", "[csv,tensorboard]"]))
    words += [
        f"unfit={draw(st.sampled_from(['skip', 'skip', 'refuse']))}",
        f"logger={logged}",
        f"control={draw(st.sampled_from(['none', 'shuffled_target']))}",
    ]
    own = [f"{axis}.{key}" for axis, option in chosen.items() for key in OWN.get((axis, option), ())]
    for _ in range(draw(st.integers(0, 2))):
        key = draw(st.one_of(st.sampled_from(own), st.sampled_from(KNOWN), STRANGE))
        sign = draw(st.sampled_from(["", "", "", "", "+", "++", "~"]))
        words.append(draw(st.sampled_from([f"{sign}{key}={draw(VALUES)}"] * 9 + [f"{sign}{key}"])))
    return [word for word in words if not word.startswith("-")]  # those are flags of Hydra's


def result(words: list[str]) -> str:
    """What the command does with it: compose, hold against the gates, say no. Raises whatever would be a traceback."""
    try:
        plain = compose(words)
        run(RunRequest.of(plain, words))
    except ConfigError as error:
        said = error.problems
    except HydraException as error:
        said = [explain(error, words, "config")]
    else:
        return "valid"
    assert said
    assert all(line.strip() for line in said)
    return "refused"


def try_all(place: Path, count: int) -> Counter[str]:
    found: Counter[str] = Counter()
    before = listing(place)

    @seed(20)
    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(command_lines())
    def each(words: list[str]) -> None:
        with bounded(place):
            found[result([*words, "check=true"])] += 1

    each()
    assert listing(place) == before
    return found


@pytest.mark.thorough
def test_some_command_lines(place: Path) -> None:
    found = try_all(place, 40)
    assert found["valid"]
    assert found["refused"]


@pytest.mark.slow
def test_command_lines(place: Path) -> None:
    found = try_all(place, 2000)
    print(dict(found))
    assert found.total() >= 2000
    assert found["valid"] >= 100


@pytest.mark.parametrize("count", [15, pytest.param(150, marks=pytest.mark.slow)])
@pytest.mark.thorough
def test_the_whole_command_ends_plainly(
    place: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str], count: int
) -> None:
    """Through `main`, as a terminal would: exit code 0 or 2, and no traceback."""

    @seed(21)
    @settings(
        max_examples=count, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck)
    )
    @given(command_lines(), st.sampled_from([[], [], [], ["-m"]]))
    def each(words: list[str], flags: list[str]) -> None:
        monkeypatch.setattr("sys.argv", ["ssl-run", *flags, *words, "check=true"])
        with bounded(place):
            try:
                main()
                code = 0
            except SystemExit as ended:
                code = cast(int, ended.code)
        said = capfd.readouterr()
        assert code in (0, 2), said.err
        assert "Traceback" not in said.err
        assert (code == 0) == ("valid: " in said.out)
        assert code == 0 or said.err.startswith("error: ")

    each()
