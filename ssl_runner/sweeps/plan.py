"""The plan of a sweep: the runs of a command line and a preset, composed, validated and labeled.

An *axis* is a key with the values it takes. Values come from the command line (`seed=0,1,2`, `objective=mae,rotation`,
`objective.ratio=range(0.1,1,0.1)`) or from `sweep.params` of a preset, which the command line overrides.
"""

import itertools
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, NamedTuple, cast

from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import IntervalSweep, Override, OverrideType
from hydra.types import RunMode
from omegaconf import OmegaConf

from ssl_runner.assembly.extension import extended, run_of, with_run
from ssl_runner.config.compose import composing, with_names
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import check_fit
from ssl_runner.config.loader import of_hydra
from ssl_runner.config.request import CONTENTS, RunRequest
from ssl_runner.config.schema import out_of_range

FITTING = "fitting"  # a preset's word for: every option of the group that goes with the rest
SEED = "seed"
REFERS = re.compile(
    r"\$\{(?!oc\.env:)"
)  # an interpolation of another key; those of the environment are the same for all


class Interval(NamedTuple):
    """A continuous axis, to be sampled."""

    low: float
    high: float
    log: bool


class Axes(NamedTuple):
    fixed: list[str]  # overrides that all runs share
    choices: dict[str, list[str]]  # key -> what may stand behind its equals sign
    intervals: dict[str, Interval]
    fitting: set[str]  # keys whose options were found: combinations that do not go together are left out


class Composer:
    """Compose many runs that differ in a few keys.

    Composing takes Hydra a tenth of a second; so it is done once for each choice of options, and plain values are set
    in a copy. A value that might be read elsewhere by interpolation is left to Hydra.
    """

    def __init__(self, loader: ConfigLoader, name: str, hydra: Sequence[str], fixed: Sequence[str]) -> None:
        self.loader = loader
        self.name = name
        self.hydra = list(hydra)
        self.fixed = list(fixed)
        self._parser = OverridesParser.create()
        self._composed: dict[tuple[str, ...], tuple[dict[str, Any], bool]] = {}
        self._options: dict[str, list[str]] = {}

    def __call__(self, overrides: Sequence[str]) -> dict[str, Any]:
        """The resolved config of the fixed overrides and these. Raises Hydra's exceptions and ConfigError."""
        words = [*self.fixed, *overrides]
        if run_of(words) is not None:
            whole = with_run(words)
            return extended(self._compose_words(whole)[0], whole)
        parsed = self._parser.parse_overrides(list(overrides))
        if own := [o.key_or_group for o in parsed if of_hydra(o)]:  # the command line's stand in `hydra`
            raise ConfigError([f"sweep.params: {key}: a config may not set this" for key in own])
        groups = tuple(line for o, line in zip(parsed, overrides, strict=True) if self.is_group(o))
        values = [o for o in parsed if not self.is_group(o)]
        if groups not in self._composed and all(o.type == OverrideType.CHANGE for o in values):
            try:
                self._composed[groups] = self._compose(groups)
            except ConfigError:  # something is missing that a value will set
                return self._compose(overrides)[0]
        base, interpolates = self._composed.get(groups, ({}, True))
        plain = deepcopy(base)
        if interpolates or not all(_set(plain, override) for override in values):
            return self._compose(overrides)[0]
        return plain

    def is_group(self, override: Override) -> bool:
        """Whether it chooses an option rather than a value."""
        return bool(self.options(override.key_or_group))

    def options(self, key: str) -> list[str]:
        """The options of a group; none where the key is no group."""
        if key not in self._options:
            self._options[key] = self.loader.get_group_options(key)
        return self._options[key]

    def _compose(self, overrides: Sequence[str]) -> tuple[dict[str, Any], bool]:
        return self._compose_words([*self.fixed, *overrides])

    def _compose_words(self, words: Sequence[str]) -> tuple[dict[str, Any], bool]:
        with composing():
            cfg = self.loader.load_configuration(self.name, [*self.hydra, *words], RunMode.RUN)
        raw = OmegaConf.to_container(OmegaConf.masked_copy(cfg, [str(k) for k in cfg if k != "hydra"]))
        return with_names(cfg, cfg.hydra.runtime.choices), any(map(REFERS.search, _texts(raw)))


def _texts(node: Any) -> Iterator[str]:
    if isinstance(node, str):
        yield node
    elif isinstance(node, Mapping | list):
        for each in node.values() if isinstance(node, Mapping) else node:
            yield from _texts(each)


def _set(plain: dict[str, Any], override: Override) -> bool:
    """Replace a value that exists; False if Hydra is needed for that."""
    *path, last = override.key_or_group.split(".")
    node: Any = plain
    for key in path:
        node = node.get(key) if isinstance(node, dict) else None
    value = OmegaConf.to_container(OmegaConf.create({"v": override.value()}))["v"]  # type: ignore[index,call-overload]
    if override.package or not isinstance(node, dict) or last not in node or isinstance(node[last], dict):
        return False
    if isinstance(value, dict) or any("${" in text for text in _texts(value)):
        return False
    node[last] = value
    return True


def read_axes(composer: Composer, arguments: Sequence[str]) -> Axes:
    """The axes of a command line and of the preset it names. Raises ConfigError for an axis that has no values."""
    parser = OverridesParser.create(composer.loader)
    parsed = parser.parse_overrides(list(arguments))
    spoken = {o.get_key_element() for o in parsed}
    # What a preset says depends on options alone; a plain value may belong to an option that is only swept.
    lines = [(line, o) for line, o in zip(arguments, parsed, strict=True) if not o.is_sweep_override()]
    about = [line for line, o in lines if _decides_axes(composer, o)]
    preset = composer.loader.load_configuration(composer.name, [*composer.hydra, *about], RunMode.RUN)
    axes = Axes([line for line, _ in lines], {}, {}, set())
    params = cast(dict[str, Any], {} if preset.sweep.params is None else OmegaConf.to_container(preset.sweep.params))
    for key, values in params.items():
        if key in spoken:
            continue
        if values == FITTING:
            axes.fitting.add(key)
            axes.choices[key] = composer.options(key)
        elif isinstance(values, list):
            axes.choices[key] = [_written(value) for value in values]
        else:
            _read_axis(axes, parser.parse_override(f"{key}={values}"))
    for override in parsed:
        if override.is_sweep_override():
            _read_axis(axes, override)
    if empty := [key for key, values in axes.choices.items() if not values]:
        raise ConfigError([f"{key}: no values to sweep over; list several: {key}=a,b" for key in empty])
    return axes


def _read_axis(axes: Axes, override: Override) -> None:
    """Add what an override sweeps over to the axes; a plain value is an axis with one."""
    key = override.get_key_element()
    if override.is_interval_sweep():
        sweep = cast(IntervalSweep, override.value())
        axes.intervals[key] = Interval(_number(sweep.start), _number(sweep.end), "log" in sweep.tags)
    elif override.is_sweep_override():
        axes.choices[key] = list(dict.fromkeys(override.sweep_string_iterator()))
    else:
        axes.choices[key] = [override.get_value_element_as_str()]


def _decides_axes(composer: Composer, override: Override) -> bool:
    return composer.is_group(override) or override.key_or_group.split(".")[0] == "sweep"


def _number(bound: Any) -> float:
    return float(bound)


def _written(value: Any) -> str:
    """A value of a YAML as the command line writes it."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list):
        return "[" + ",".join(map(_written, value)) + "]"
    if isinstance(value, dict):
        return "{" + ",".join(f"{key}:{_written(each)}" for key, each in value.items()) + "}"
    return str(value)


def combinations(axes: Axes) -> list[dict[str, str]]:
    """Every combination of the choices, the seed turning slowest: a sweep that is cut short has all settings once."""
    keys = sorted(axes.choices, key=lambda key: key != SEED)
    return [dict(zip(keys, values, strict=True)) for values in itertools.product(*(axes.choices[k] for k in keys))]


class Plan(NamedTuple):
    jobs: list[RunRequest]
    left_out: list[str]  # why, of combinations that do not go together


def plan(composer: Composer, axes: Axes, chosen: Iterable[Mapping[str, str]]) -> Plan:
    """The runs of some combinations, without duplicates. Raises ConfigError with the problems of all invalid ones."""
    jobs: dict[str, RunRequest] = {}
    problems: dict[str, str] = {}  # each once, with the first run that has it
    left_out: dict[str, str] = {}
    swept = [key for key in (*axes.choices, *axes.intervals) if len(axes.choices.get(key, "**")) > 1]
    places = sorted(swept, key=lambda key: key == SEED)
    shorts = short_names([key for key in swept if key != SEED])
    settings: dict[str, Setting] = {}
    for values in chosen:
        label = " ".join(f"s{values[key]}" if key == SEED else f"{shorts[key]}={values[key]}" for key in places)
        overrides = [f"{key}={value}" for key, value in values.items()]
        try:
            plain = composer(overrides)
            key = json.dumps({**plain, SEED: None}, sort_keys=True, default=str)
            if key not in settings or type(plain[SEED]) is not int:
                request = RunRequest.of(plain, (*composer.fixed, *overrides), label or "run")
            else:
                request = settings[key].seeded(plain[SEED], (*composer.fixed, *overrides), label or "run")
        except ConfigError as error:
            problems |= {problem: label for problem in error.problems if problem not in problems}
            continue
        if key not in settings:
            try:
                check_fit(request.config)
            except ConfigError as error:
                unfit = left_out if axes.fitting else problems
                unfit |= {problem: label for problem in error.problems if problem not in unfit}
                continue
            settings[key] = on_files(request)
            request = settings[key].request
        request = settings[key].placed(request)
        jobs.setdefault(request.identity, request)
    if problems:
        raise ConfigError([f"{label}: {problem}" if label else problem for problem, label in problems.items()])
    return Plan(list(jobs.values()), list(left_out))


@dataclass(frozen=True)
class Setting:
    """What the seeds of a setting share: it is checked, and its files are read, once."""

    request: RunRequest  # of its first seed, with the fingerprints of its files
    loaded: Callable[[], str] | None  # gives the fingerprint of the loaded data; None where files cannot be read

    def seeded(self, seed: int, overrides: tuple[str, ...], label: str) -> RunRequest:
        """The run of another seed. Raises ConfigError for a seed out of range."""
        config = replace(self.request.config, seed=seed)
        if problems := list(out_of_range(config)):
            raise ConfigError(problems)
        return RunRequest(config, {**self.request.plain, SEED: seed}, overrides, label)

    def placed(self, request: RunRequest) -> RunRequest:
        """A run of this setting, with its folder; without files, which is said when the run is rehearsed, its own."""
        from ssl_runner.assembly.places import placed

        if self.loaded is None:
            return request
        try:
            return placed(request, self.loaded)[0]
        except (ConfigError, ValueError, OSError):
            return request


def on_files(request: RunRequest) -> Setting:
    """The setting of a run, with the fingerprints of its files."""
    from ssl_runner.assembly import construct
    from ssl_runner.assembly.load import load_data
    from ssl_runner.assembly.places import with_contents

    try:
        source, spec = construct.source(request.config)
        found = with_contents(request, source, spec)
        return Setting(found, cache(lambda: load_data(found.config, source).fingerprint()))
    except (ConfigError, ValueError, OSError):
        return Setting(replace(request, plain={**request.plain, CONTENTS: {}}), None)


def short_names(keys: Sequence[str]) -> dict[str, str]:
    """As few of a key's last words as tell it apart from the others.

    >>> short_names(["objective.ratio", "objective.loss.temperature", "backbone"])
    {'objective.ratio': 'ratio', 'objective.loss.temperature': 'temperature', 'backbone': 'backbone'}
    """
    words = {key: key.lstrip("+~").replace("/", ".").split(".") for key in keys}

    def last(key: str, count: int) -> str:
        return ".".join(words[key][-count:])

    shorts = {}
    for key in keys:
        count = 1
        while count < len(words[key]) and any(last(other, count) == last(key, count) for other in keys if other != key):
            count += 1
        shorts[key] = last(key, count)
    return shorts
