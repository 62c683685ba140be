"""How a command says no: one line a problem, no traceback, exit code 2."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from omegaconf import DictConfig, OmegaConf

from ssl_runner.config import ConfigError, compose, composing, conf_dir, version_base
from ssl_runner.locking import BusyError
from ssl_runner.secrets import secrets_in
from ssl_runner.stopping import REQUESTS, STOPPED, Stopped, requeue, stoppable

PLUGINS = ("hydra_plugins.", "hydra._internal.core_plugins.")  # where Hydra itself looks for them


def refuse(problems: Sequence[str]) -> None:
    """Say what is wrong, without what could command a terminal, and end with exit code 2."""
    for problem in problems:
        plain = "".join(c if c.isprintable() or c in "\n\t" else "\N{REPLACEMENT CHARACTER}" for c in problem)
        print(f"error: {plain}", file=sys.stderr)
    sys.exit(2)


@contextmanager
def refusals() -> Iterator[None]:
    """End the command plainly for a user's mistake, a request to stop and a full or unwritable disk."""
    try:
        with stoppable():
            yield
    except ConfigError as error:
        refuse(error.problems)
    except BusyError as error:
        refuse([] if error.said else [str(error)])
    except Stopped as stop:
        end(stop)
    except KeyboardInterrupt:
        end(Stopped(REQUESTS[0]))
    except OSError as error:
        what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
        refuse(["; ".join([what, *getattr(error, "__notes__", [])])])


def end(stop: Stopped) -> None:
    """Say that a run was stopped and how it goes on, and end with its exit code; under SLURM it is queued again."""
    print(stop, file=sys.stderr)
    if stop.code == STOPPED and (queued := requeue()):
        print(queued, file=sys.stderr)
    sys.exit(stop.code)


def hydra_main(task: Callable[[DictConfig], None], name: str) -> None:
    """Run `task(cfg)` under Hydra with conf/`name`.yaml, Hydra's own refusals in our words."""
    import hydra
    from hydra.errors import HydraException

    def guarded(cfg: DictConfig) -> None:
        with refusals():
            task(cfg)

    os.environ["HYDRA_FULL_ERROR"] = "1"  # Hydra hands us its exceptions
    try:
        check_hydra(name)
        hydra.main(version_base=version_base(), config_path=str(conf_dir()), config_name=name)(guarded)()
    except ConfigError as error:
        refuse(error.problems)
    except HydraException as error:
        refuse([explain(error, [arg for arg in sys.argv[1:] if not arg.startswith("-")], name)])


def check_hydra(name: str) -> None:
    """Refuse what Hydra itself would run or set, at the word of a config, before our task begins.

    A config may come from elsewhere (--config-dir): its node `hydra` names callbacks and handlers of logs, which Hydra
    builds whatever they are, and variables of the environment. Raises ConfigError, and Hydra's exceptions.
    """
    from hydra._internal.config_loader_impl import ConfigLoaderImpl
    from hydra._internal.utils import create_config_search_path, get_args_parser
    from hydra.core.config_search_path import SearchPathQuery
    from hydra.types import RunMode

    args = get_args_parser().parse_args()  # Hydra's own, lest a word be read in two ways
    if args.help or args.hydra_help or args.info or args.shell_completion:
        return  # nothing is run
    if secret := secrets_in(args.overrides):
        raise ConfigError(secret)
    if args.experimental_rerun is not None:
        raise ConfigError(["--experimental-rerun reads a pickle, which can run code; a run's config.yaml says it all"])
    if args.config_path is not None:
        raise ConfigError(["--config-path would hide conf/; --config-dir adds a folder of yours to it"])
    places = create_config_search_path(str(conf_dir()))
    if args.config_dir is not None:
        folder = os.path.abspath(args.config_dir)
        places.prepend("command-line", f"file://{folder}", SearchPathQuery(provider="schema"))
    loader = ConfigLoaderImpl(places)
    with composing():
        cfg = loader.load_configuration(
            args.config_name or name, args.overrides, RunMode.MULTIRUN, validate_sweep_overrides=False
        )
        problems = harmful(OmegaConf.to_container(cfg.hydra, resolve=False))
    if problems:
        raise ConfigError(problems)


def harmful(hydra: Any) -> list[str]:
    """What a config's node `hydra` must not hold."""
    problems = [
        f"hydra.{key}: it must be empty; a config can {what} by it"
        for key, value, what in (
            ("callbacks", hydra["callbacks"], "run any code"),
            ("job.env_set", hydra["job"]["env_set"], "change the environment"),
        )
        if value
    ]
    problems += [
        f"hydra.{key}.root: it must be null; a config can run any code by handlers of logs"
        for key in ("hydra_logging", "job_logging")
        if hydra[key].get("root") is not None
    ]
    problems += [
        f"hydra.{key}._target_ is {hydra[key]['_target_']!r}; it must be a plugin of Hydra"
        for key in ("sweeper", "launcher")
        if not str(hydra[key]["_target_"]).startswith(PLUGINS)
    ]
    return problems


def explain(error: Exception, overrides: Sequence[str], name: str) -> str:
    """Hydra's refusal with the nearest thing that exists."""
    text = str(error)
    if found := re.search(r"Could not find '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        options = sorted(path.stem for path in (conf_dir() / group).glob("*.yaml"))
        return f"{group}={option}: no such option{_near(option, options)}; there is: {', '.join(options)}"
    if found := re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^']+)'", text):
        key = found[1].split("=")[0].split("@")[0]
        own = next((each for each in overrides if each.lstrip("+~").split("=")[0] == key), None)
        keys = _keys([each for each in overrides if each != own], name)
        return f"{key}: no such key{_near(key, keys)}"
    if "mismatched input" in text or "no viable alternative" in text or "extraneous input" in text:
        return f"{text.splitlines()[0]}: write key=value, and quote values with spaces or commas: 'key=[a,b]'"
    return " ".join(line.strip() for line in text.splitlines()[:2])


def _keys(overrides: Sequence[str], name: str) -> list[str]:
    """All groups and dotted keys of a config."""
    from hydra.errors import HydraException

    groups = sorted({path.parent.relative_to(conf_dir()).as_posix() for path in conf_dir().rglob("*.yaml")} - {"."})
    try:
        plain = compose(overrides, name)
    except (HydraException, ConfigError):  # a second mistake: the groups have to do
        return groups

    def walk(node: object, path: str) -> Iterator[str]:
        if path:
            yield path
        if isinstance(node, dict):
            for key, value in node.items():
                yield from walk(value, f"{path}.{key}" if path else str(key))

    return groups + [key for key in walk(plain, "") if not key.startswith("names") and not key.endswith("_target_")]


def _near(word: str, words: Sequence[str]) -> str:
    near = difflib.get_close_matches(word, words, n=1, cutoff=0.5)
    return f"; did you mean {near[0]}?" if near else ""
