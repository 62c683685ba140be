"""The settings in which runs differ, found from their configs."""

from collections.abc import Iterable, Mapping, Sequence
from copy import deepcopy
from typing import Any, NamedTuple

from ssl_runner.config.identity import OF_PRETRAINING, of_no_use
from ssl_runner.config.names import current
from ssl_runner.results.result import Run
from ssl_runner.results.values import flat, is_number, parse

# No settings of a run, nor what lies beneath them: what cannot change its result (config.NOT_IDENTITY), how it is
# judged (that is protocol), and the seed.
NOT_A_SETTING = (
    "names", "contents", "output", "resume", "check", "logger", "domain", "dataset.root", "dataset.cache",
    "dataset.download", "dataset.workers", "dataset.images.root", "dataset.images.download", "trainer.accelerator",
    "trainer.devices", "trainer.strategy", "trainer.log_every_n_steps", "trainer.checkpoint_minutes",
    "trainer.checkpoint_steps", "trainer.checkpoints", "trainer.skip_nonfinite", "trainer.monitor_examples",
    "trainer.watch_every", "trainer.early_stop", "trainer.chunk", "trainer.recompute",
    "sweep", "hydra", "evaluation", "controls", "unfit", "seed", "yes",
)  # fmt: skip
FIRST = ("dataset", "objective", "backbone")  # the axes that a reader looks for first


class Axis(NamedTuple):
    """A key of the config in which the runs differ: the name of an option, or a value."""

    key: str  # "objective", "objective/loss", "objective.ratio"
    short: str  # as few of its last words as tell it apart from the other axes: "ratio"
    values: tuple[Any, ...]  # in ascending order if all are numbers, else as met; None where a run has no such key
    numeric: bool  # all values but None are numbers


class Description(NamedTuple):
    """The configuration of a run, as far as it is known."""

    options: Mapping[str, str]  # by group: {"objective": "simclr", "objective/loss": "info_nce"}
    values: Mapping[str, Any]  # by dotted key, lists as tuples

    def get(self, key: str) -> Any:
        """The option of a group or the value of a key, None where there is neither."""
        return self.options[key] if key in self.options else self.values.get(key)


def describe(runs: Sequence[Run]) -> tuple[list[Description], list[str]]:
    """The config of each run. Where one has none, all are described by their names and overrides alone, so that what
    is compared is of one kind; the second list says so."""
    written = [run.result.config or _read_config(run) for run in runs]
    configs = [_by_contents(current(config)) if config else config for config in written]
    without = [str(run.folder) for run, config in zip(runs, configs, strict=True) if not config]
    if without:
        said = f"{without[0]} {f'and {len(without) - 1} more have' if len(without) > 1 else 'has'} no readable config"
        return [_by_overrides(run) for run in runs], [f"{said}: runs are distinguished only by names and overrides"]
    return [
        Description(
            _names(run) | config.get("names", {}),
            dict(flat({key: value for key, value in config.items() if key not in ("names", *of_no_use(config))})),
        )
        for run, config in zip(runs, configs, strict=True)
    ], []


def _by_contents(config: dict[str, Any]) -> dict[str, Any]:
    """A config with what files hold in place of where they lie, as far as it is known."""
    found = deepcopy(config)
    for key, contents in (config.get("contents") or {}).items():
        *path, last = key.split(".")
        node: Any = found
        for part in path:
            node = node.get(part) if isinstance(node, dict) else None
        if isinstance(node, dict) and last in node:
            node[last] = contents
    return found


def _read_config(run: Run) -> dict[str, Any]:
    """config.yaml of a run whose result does not hold it; empty where it cannot be read."""
    from ssl_runner.config.plain_yaml import read_yaml

    try:
        config = read_yaml((run.folder / "config.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return config if isinstance(config, dict) else {}


def _by_overrides(run: Run) -> Description:
    options = _names(run)
    pairs = [override.lstrip("+~").partition("=")[::2] for override in run.result.overrides]
    values = {f"{axis}._target_": option for axis, option in options.items()}  # what options bring is not known
    return Description(options, values | {key: parse(value) for key, value in pairs if key not in options})


def _names(run: Run) -> dict[str, str]:
    name = run.result.name
    return {"dataset": name.dataset, "objective": name.objective, "backbone": name.backbone}


def find_axes(runs: Sequence[Description]) -> list[Axis]:
    """The options and values in which runs differ, less those that follow from another; options first.

    * An option (objective=mae) is an axis where what it brings differs as well.
    * A key (objective.ratio) is an axis where runs with the same options around it differ in it. So the keys that one
      objective has and another has not are none.
    * An option within another (objective/loss) is an axis where runs with the same outer option differ in it; one that
      follows the data (objective/views=${domain}) where runs on the same dataset differ in it.
    * A key of pretraining is an axis where runs that pretrain differ in it.

    So runs that agree in all axes agree in every setting.
    """
    met = dict.fromkeys(key for run in runs for key in run.values)
    keys = [key for key in met if is_setting(key) and len({run.values.get(key) for run in runs}) > 1]
    groups = sorted(dict.fromkeys(group for run in runs for group in run.options), key=_first)
    axes = []
    for group in groups:
        brought = [key for key in keys if _lies_in(key, group)]
        around = [outer for outer in groups if outer != group and _lies_in(_path(group), outer)]
        if around and any(run.options.get(group, "") == run.options.get("domain") for run in runs):
            around.append("dataset")
        choices = [(run.get(group), tuple(map(run.values.get, brought))) for run in runs]
        if _differ(choices, runs, around):
            axes.append(group)
    for key in keys:
        having = [run for run in runs if key in run.values or not _is_of_pretraining(key)]
        around = [group for group in groups if _lies_in(key, group)]
        if _differ([(run.values.get(key),) for run in having], having, around):
            axes.append(key)
    return [_axis(key, axes, runs) for key in axes]


def _differ(items: Sequence[tuple[Any, ...]], runs: Sequence[Description], same: Sequence[str]) -> bool:
    """Whether items, one a run, differ in every part between runs with the same options of the groups `same`."""
    first: dict[tuple[Any, ...], tuple[Any, ...]] = {}
    for item, run in zip(items, runs, strict=True):
        known = first.setdefault(tuple(map(run.options.get, same)), item)
        if all(part != other for part, other in zip(item, known, strict=True)):
            return True
    return False


def _axis(key: str, keys: Sequence[str], runs: Sequence[Description]) -> Axis:
    met = list(dict.fromkeys(run.get(key) for run in runs))
    there = [value for value in met if value is not None]
    numeric = all(map(is_number, there))
    if numeric:
        met = sorted(there) + [None] * (None in met)
    return Axis(key, shortest(key, keys), tuple(met), numeric)


def shortest(key: str, keys: Iterable[str]) -> str:
    """As few of a key's last words as no other of the keys ends with.

    >>> shortest("objective.loss.scale", ["objective.loss.scale", "objective.views.scale", "seed"])
    'loss.scale'
    """
    others = [_path(other) for other in keys if other != key]
    words = _path(key).split(".")
    for count in range(1, len(words)):
        end = ".".join(words[-count:])
        if not any(f".{other}".endswith(f".{end}") for other in others):
            return key[-len(end) :]
    return key


def matching(word: str, keys: Iterable[str]) -> list[str]:
    """The key that `word` is, or else those that it is the last words of."""
    keys = list(keys)
    return [word] if word in keys else [key for key in keys if f".{_path(key)}".endswith(f".{_path(word)}")]


def is_setting(key: str) -> bool:
    """Whether a dotted key of the config is one that can change a run's result, the seed aside."""
    return not any(key == name or key.startswith(f"{name}.") for name in NOT_A_SETTING)


def _is_of_pretraining(key: str) -> bool:
    """Whether runs that pretrain nothing lack a key."""
    return any(f"{key}.".startswith(f"{name}.") for name in OF_PRETRAINING)


def _path(group: str) -> str:
    """Where the config holds what an option of a group brings: objective.loss of objective/loss."""
    return group.partition("@")[2] or group.replace("/", ".")


def _lies_in(key: str, group: str) -> bool:
    return key.startswith(f"{_path(group)}.")


def _first(group: str) -> int:
    return FIRST.index(group) if group in FIRST else len(FIRST)
