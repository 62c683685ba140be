"""How a command says no: one line a problem, no traceback, exit code 2."""

import difflib
import os
import re
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from omegaconf import DictConfig

from ssl_runner.config import ConfigError, compose, conf_dir, version_base
from ssl_runner.locking import BusyError
from ssl_runner.stopping import REQUESTS, STOPPED, Stopped, requeue, stoppable


def refuse(problems: Sequence[str]) -> None:
    """Say what is wrong, and end with exit code 2."""
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
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
        refuse([str(error)])
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
        hydra.main(version_base=version_base(), config_path=str(conf_dir()), config_name=name)(guarded)()
    except ConfigError as error:
        refuse(error.problems)
    except HydraException as error:
        refuse([explain(error, [arg for arg in sys.argv[1:] if not arg.startswith("-")], name)])


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
