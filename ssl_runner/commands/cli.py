"""Run a command on a composed config; report errors as one line each, without a traceback, with the
exit codes of docs/scripting.md."""

import argparse
import re
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig, OmegaConf

from ssl_runner.assembly.extension import extending, run_of, with_run
from ssl_runner.commands.answers import Parser, Refused, answering, asked, begin, refuse
from ssl_runner.commands.explain import explained
from ssl_runner.commands.help import Command, help_text
from ssl_runner.config import plugins
from ssl_runner.config.compose import composed, composing
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.hints import hint, nearest
from ssl_runner.config.paths import groups, options
from ssl_runner.config.request import RunRequest, described
from ssl_runner.config.secrets import secrets_in
from ssl_runner.runtime.garbage import delay_collection
from ssl_runner.runtime.job_file import BUSY
from ssl_runner.runtime.locks import BusyError
from ssl_runner.runtime.signals import REQUESTS, STOPPED, Stopped, requeue, stoppable
from ssl_runner.runtime.terminal import closable, closed_outputs, guard, say

if TYPE_CHECKING:
    from ssl_runner.config.loader import Loader


@contextmanager
def refusals() -> Iterator[None]:
    """End the command without a traceback for a user's mistake, a request to stop, and a full or unwritable disk."""
    with closable(), _refusals(), stoppable():
        yield


@contextmanager
def _refusals() -> Iterator[None]:
    try:
        yield
    except ConfigError as error:
        refuse(error.problems, folder=error.folder)
    except BusyError as error:
        refuse([] if error.said else [str(error)], BUSY)
    except Stopped as stop:
        end(stop)
    except KeyboardInterrupt:
        end(Stopped(REQUESTS[0]))
    except OSError as error:
        if isinstance(error, BrokenPipeError) and closed_outputs():
            raise
        refuse([of_system(error)])


def of_system(error: OSError) -> str:
    """The message for an error of the system, as of a full disk: what, and which file."""
    what = f"{error.strerror or error}: {error.filename}" if error.filename else str(error)
    return "; ".join([what, *getattr(error, "__notes__", [])])


def end(stop: Stopped) -> None:
    """Report that a run was stopped and how to resume it, and end with its exit code; under SLURM it is requeued."""
    said = [str(stop)]
    if stop.code == STOPPED and (queued := requeue()):
        said.append(queued)
    for line in said:
        say(line)
    raise Refused(said, stop.code)


Answer = Mapping[str, Any]  # what --json says; "exit_code" is that of the command
Task = Callable[[DictConfig], Answer]
Several = Callable[["Loader", str, list[str], list[str]], Answer]  # loader, the root, overrides of Hydra, others


def hydra_main(task: Task, command: Command, several: Several | None = None) -> None:
    """Run `task(cfg)` on the config that the command line composes, or `several` where it asks for many runs.

    Errors of Hydra are reported with the nearest option or key.
    """
    from hydra.errors import HydraException

    guard()
    delay_collection()
    with answering(command.name, asked(sys.argv[1:])) as answer, refusals():
        try:
            answer.update(_main(task, command, several))
        except HydraException as error:
            refuse([explain(error, [arg for arg in sys.argv[1:] if not arg.startswith("-")], command.root)])
        if code := answer.get("exit_code", 0):
            raise Refused(answer.get("error", []), code)


def _parser(command: Command) -> argparse.ArgumentParser:
    """Hydra's own parser, so that its options mean here what they mean elsewhere, with our version and --explain."""
    from hydra._internal.utils import get_args_parser

    parser = Parser(prog=command.name, parents=[get_args_parser()], add_help=False, conflict_handler="resolve")
    parser.add_argument("--version", action="version", version=command.version, help="Print the version and exit")
    parser.add_argument(
        "--plugin",
        metavar="PACKAGE",
        action="append",
        default=[],
        help="Add the classes and options of a package of yours",
    )
    parser.add_argument("--explain", metavar="WHAT", help="Document a group, an option (GROUP=OPTION) or a key")
    parser.add_argument("--json", action="store_true", help="Answer with one JSON object; messages go to stderr")
    return parser


def _check(args: argparse.Namespace) -> None:
    """Raise ConfigError for a command line that is refused before anything is composed."""
    if secret := secrets_in(args.overrides):
        raise ConfigError(secret)
    if args.experimental_rerun is not None:
        raise ConfigError(["--experimental-rerun reads a pickle, which can execute code; use the run's config.yaml"])
    if args.config_path is not None:
        raise ConfigError(["--config-path would replace conf/; use --config-dir to add a folder of your own"])
    if args.resolve and not (args.cfg or args.help):
        raise ConfigError(["--resolve needs --cfg: add --cfg job"])
    modes = [args.run, args.multirun, args.cfg is not None, args.info is not None, args.shell_completion]
    if args.json and (any(modes[2:]) or args.explain is not None):
        raise ConfigError(["--cfg, --info, --explain and --shell-completion print text: omit --json"])
    if sum(modes) > 1:
        raise ConfigError(
            ["--run, --multirun, --cfg, --info and --shell-completion exclude each other: give one of them"]
        )


def _main(task: Task, command: Command, several: Several | None) -> Answer:
    from ssl_runner.config.loader import Loader, compose_line, show

    parser = _parser(command)
    args = parser.parse_intermixed_args()  # flags may stand among overrides
    _check(args)
    plugins.enable(args.plugin)
    if args.explain is not None:
        print(explained(args.explain, command))
        return {}
    loader, name = Loader(args.config_dir), args.config_name or command.root
    words, notes = loader.words_now(name, args.overrides)
    args.overrides = words
    for note in notes:
        say(f"note: {note}")
    if args.help:
        if words:  # which are refused as without --help
            compose_line(loader, name, words, args.multirun)
        print(help_text(command))
        return {}
    if args.hydra_help or args.cfg or args.info or args.shell_completion:
        with composing():
            show(loader, args, parser, name)
        return {}
    return perform(loader, name, words, args.multirun, task, several)


def perform(
    loader: "Loader", name: str, words: Sequence[str], multirun: bool, task: Task, several: Several | None
) -> Answer:
    """Do what overrides ask for: `task`, or `several` for many runs. Raises ConfigError, and Hydra's exceptions."""
    from hydra.core.global_hydra import GlobalHydra
    from hydra.core.hydra_config import HydraConfig

    from ssl_runner.config.loader import application, compose_line, of_hydra, parsed

    if not multirun and run_of(words) is not None:
        words, _ = loader.words_now(name, with_run(words))
    cfg, are_several = compose_line(loader, name, words, multirun)
    lines = list(zip(parsed(words), words, strict=True))
    if are_several and several is None:
        raise ConfigError(
            ["only ssl-run takes several runs at once (-m or sweep=...); call this command once for each"]
        )
    if are_several and several is not None:
        hydra = [line for override, line in lines if of_hydra(override)]
        return several(loader, name, hydra, [line for override, line in lines if not of_hydra(override)])
    GlobalHydra.instance().initialize(application(loader))  # for what the task composes besides
    try:
        HydraConfig.instance().set_config(cfg)
        return task(cfg)
    finally:
        GlobalHydra.instance().clear()


def announce(cfg: DictConfig, command: str) -> None:
    """Print the run of the config that Hydra has composed last, before its classes are imported: that takes seconds."""
    from hydra.core.hydra_config import HydraConfig

    names, control = HydraConfig.get().runtime.choices, str(cfg.get("control", "none"))
    begin(f"{command}: {described(names, control)} seed={cfg.get('seed')}")


def request_of(cfg: DictConfig) -> RunRequest:
    """The run of the config that Hydra has composed last, with the settings of the run that it extends, if any. Raises
    ConfigError."""
    return extending(RunRequest.composed(cfg))


def explain(error: Exception, overrides: Sequence[str], name: str) -> str:
    """The message for an error of Hydra, with the nearest existing option or key."""
    text = str(error)
    if found := re.search(r"Could not (?:find|load) '([^']+)'", text):
        group, _, option = found[1].rpartition("/")
        known = list(options(group))
        return f"{group}={option}: no such option{nearest(option, known)}; options: {', '.join(known)}"
    if found := re.search(r"Could not (?:override|append to config|delete from config)[^']*'([^']+)'", text):
        key = found[1].split("=")[0].split("@")[0]
        own = next((each for each in overrides if each.lstrip("+~").split("=")[0] == key), None)
        keys = _keys([each for each in overrides if each != own], name)
        if key in keys:  # a mapping, to which keys are added
            return f"{key} is a mapping: set a key of it by +{key}.name=value"
        return f"{key}: no such key{hint(key, keys)}"
    if found := re.search(r"Ambiguous value for argument '([^']+)'", text):
        return f"{found[1]} are several values: add -m to run each of them, or write key=[a,b] for one list"
    if "mismatched input" in text or "no viable alternative" in text or "extraneous input" in text:
        return f"{text.splitlines()[0]}: write key=value, and quote values with spaces or commas: 'key=[a,b]'"
    return " ".join(line.strip() for line in text.splitlines()[:2])


def _keys(overrides: Sequence[str], name: str) -> list[str]:
    """All groups and dotted keys of a config."""
    from hydra.errors import HydraException

    known = groups()
    try:
        plain = OmegaConf.to_container(composed(overrides, name), resolve=False)  # what must be set may be missing
    except (HydraException, ConfigError):  # a second mistake: the groups have to do
        return known

    def walk(node: object, path: str) -> Iterator[str]:
        if path:
            yield path
        if isinstance(node, dict):
            for key, value in node.items():
                yield from walk(value, f"{path}.{key}" if path else str(key))

    return known + [key for key in walk(plain, "") if not key.startswith("hydra.") and not key.endswith("_target_")]
