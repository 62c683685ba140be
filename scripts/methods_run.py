"""The runs of a group, each in a process of its own, several at a time.

Whatever ends this, the same command goes on. A finished run is known by its folder, which its identity names, before a
process is started for it; one that was interrupted goes on from its checkpoint. `ssl-run -m` is not called, for a group
is a list of commands and no grid, and what a run starts from may follow from its seed.
"""

import os
import subprocess
import sys
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import chdir
from functools import cache
from pathlib import Path

import yaml
from study import ROOT, Group, Question, StudyError, elsewhere

from ssl_runner.config.identity import identity
from ssl_runner.config.plain_yaml import Parser
from ssl_runner.reporting import protocols
from ssl_runner.reporting.runs import find_runs

RUN, EVALUATE = "ssl_runner", "ssl_runner.commands.evaluate"  # modules
POLL = 0.2  # seconds between two looks at what is running


def run(name: str, group: Group, outputs: Path, jobs: int, recorded: frozenset[str] = frozenset()) -> int:
    """Do what is missing of a group in outputs/name, all seeds of one before the next, `jobs` at a time; return how
    many runs and evaluations were not done. `recorded`: identities of runs that need not be done. Raises StudyError
    where another group has to be run first."""
    make_corpus(group.corpus)
    with chdir(ROOT):  # commands name files from there
        left = side_by_side(RUN, missing(name, group, outputs, recorded), jobs)
        for question in group.asked_afterwards:  # one after the other: two processes would write one run's result
            make_corpus(question.corpus)
            for folder in group.of or (name,):
                left += side_by_side(EVALUATE, asked(outputs / folder, question), jobs)
    return left


def make_corpus(name: str) -> None:
    """The corpus that a group reads, unless it is there."""
    if name:
        import corpora  # with torch

        folder = corpora.CORPORA / name
        if not folder.exists():
            corpora.MADE[name](folder)


def missing(
    name: str, group: Group, outputs: Path, recorded: frozenset[str] = frozenset()
) -> Iterator[list[str] | None]:
    """The words of each run that is not finished when its turn comes; None for one that another process does."""
    for words in group.overrides():
        for seed in group.seeds:
            command = [f"output={shown(outputs / name)}", *words, f"seed={seed}", *started(group, words, seed, outputs)]
            state = state_of(command, outputs / name, recorded)
            if state == "busy":
                print("another process does", *command, file=sys.stderr, flush=True)
            if state != "finished":
                yield command if state == "missing" else None


def state_of(words: list[str], folder: Path, recorded: frozenset[str] = frozenset()) -> str:
    """What a run is: finished, busy (another process does it) or missing. `folder`: of the runs beside it; `recorded`:
    identities of those finished elsewhere. Files that the words name are looked for from the working directory."""
    from hydra.errors import HydraException

    from ssl_runner.assembly.places import finished
    from ssl_runner.config.compose import compose
    from ssl_runner.config.errors import ConfigError
    from ssl_runner.config.request import RunRequest
    from ssl_runner.runtime.locks import is_held
    from ssl_runner.sweeps.plan import on_files

    try:
        setting = on_files(RunRequest.of(compose(words), words))
        request = setting.placed(setting.request)
    except (ConfigError, HydraException):
        return "missing"  # its process says what is wrong
    beside = map(identity_of, folder.glob("*/*/result.json"))
    if request.identity in recorded or finished(request.folder) or request.identity in beside:
        return "finished"
    return "busy" if is_held(request.folder) else "missing"


@cache
def identity_of(result: Path) -> str:
    """The identity of a finished run by the names of now: its folder may be called by older ones."""
    return identity(yaml.load((result.parent / "config.yaml").read_text(encoding="utf-8"), Parser))


def side_by_side(module: str, commands: Iterable[list[str] | None], jobs: int) -> int:
    """A module with the words of each command, `jobs` at a time, a thread each where they are several. Returns how
    many failed, or are None. What still runs when this ends is told to stop, which it does with a checkpoint."""
    environment = os.environ | ({} if jobs == 1 else {"OMP_NUM_THREADS": "1"})
    left, running = 0, list[subprocess.Popen[bytes]]()

    def wait(most: int) -> int:
        """Until at most so many run; how many of those that ended failed."""
        failed = 0
        while True:
            ended = [process for process in running if process.poll() is not None]
            failed += sum(process.returncode != 0 for process in ended)
            running[:] = [process for process in running if process not in ended]
            if len(running) <= most:
                return failed
            time.sleep(POLL)

    try:
        for words in commands:
            if words is None:
                left += 1
                continue
            left += wait(jobs - 1)
            print(module, *words, flush=True)
            command = [sys.executable, "-m", module, *words]
            running.append(subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL))
        return left + wait(0)
    finally:
        for process in running:
            process.terminate()
        for process in running:
            process.wait()


def started(group: Group, words: Sequence[str], seed: int, outputs: Path) -> list[str]:
    """The overrides that start a run from the weights of the group before it, by the same backbone and seed; with the
    vocabulary of that, where it reads text. And those that name a run of another group."""
    beside = [f"{key}={shown(same_seed(name, words, seed, outputs))}" for key, name in group.beside.items()]
    if not group.start_from:
        return beside
    found = same_seed(group.start_from, words, seed, outputs)
    text = (found / "encoder" / "tokenizer.json").is_file()
    return [f"start_from={shown(found)}", *([f"dataset.tokenizer={shown(found)}"] if text else []), *beside]


def same_seed(group: str, words: Sequence[str], seed: int, outputs: Path) -> Path:
    """The folder of the run of a group by the same backbone and seed. Raises StudyError where there is not one."""
    network = {word for word in words if word.startswith("backbone")}
    runs = find_runs([outputs / group])[0]
    found = [run.folder for run in runs if run.result.seed == seed and network <= set(run.result.overrides)]
    if len(found) != 1:
        raise StudyError(f"seed {seed} needs one run of {group}; there are {len(found)}: run that first")
    return found[0]


def asked(folder: Path, question: Question) -> Iterable[list[str]]:
    """What `ssl-evaluate` is given for each finished run that lacks this evaluation: of other data, of those that have
    it on their own."""
    data = [
        f"dataset.{key}={value}" if key != "dataset" else f"dataset={value}" for key, value in question.data.items()
    ]
    for each in find_runs([folder])[0]:
        found = [evaluation for evaluation in each.result.results if evaluation.evaluator == question.evaluator]
        answered = any(protocols.elsewhere(evaluation.on) == elsewhere(question.data) for evaluation in found)
        if (any(evaluation.on.own for evaluation in found) or not question.data) and not answered:
            config = yaml.safe_load((each.folder / "config.yaml").read_text(encoding="utf-8"))
            controls = f"controls=[{','.join(config['controls'])}]"
            asks = f"evaluation=[{question.evaluator}]"
            yield [f"run={shown(each.folder)}", *data, asks, *question.settings, controls]


def shown(folder: Path) -> Path:
    """A folder as commands name it: from the root of the project where it lies there."""
    return folder.relative_to(ROOT) if folder.is_relative_to(ROOT) else folder
