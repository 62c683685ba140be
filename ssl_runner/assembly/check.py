"""The last checks of a config before any download: constructors, and one step on fake examples."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple

import torch

from ssl_runner.assembly import extension
from ssl_runner.assembly.construct import construct, loggers, objective, optimizer, schedule, source
from ssl_runner.assembly.contents import fingerprint
from ssl_runner.assembly.export import exported_spec
from ssl_runner.assembly.weights import is_exported, named_files, start_files
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import check_fit, unfit_evaluations
from ssl_runner.config.identity import of_no_use
from ssl_runner.config.schema import Config
from ssl_runner.data.any.splits import check_part
from ssl_runner.data.any.tensors import fake_batch
from ssl_runner.interfaces import (
    DataSource,
    DataSpec,
    Encoder,
    Evaluator,
    Inspection,
    Objective,
    TextSpec,
)
from ssl_runner.loggers.interface import RunContext
from ssl_runner.nn.recompute import normalizes_over_batch, outermost


def contents(config: Config, found: DataSource, spec: DataSpec) -> dict[str, str]:
    """Fingerprints of the files that settings name (dataset, backbone, `start_from`, evaluations): key -> digits.

    Files that are still to be downloaded are omitted. Raises ConfigError for one that cannot be read.
    """
    files = {f"dataset.{setting}": named for setting, named in found.contents().items()}
    try:
        files |= named_files(config.backbone, "backbone")
        if config.start is not None:
            files["start_from"] = start_files(config.start)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    unfit = unfit_evaluations(config, spec)
    made = {name: construct(node) for name, node in config.evaluation.items() if name not in unfit}
    for name, each in made.items():
        files |= {f"evaluation.{name}.{setting}": named for setting, named in each.contents.items()}
    extends = {} if config.extend is None else {extension.KEY: extension.fingerprint(config.extend)}
    try:
        return {key: fingerprint(named) for key, named in files.items()} | extends
    except OSError as error:
        raise ConfigError([f"{error.filename} cannot be read: {error.strerror}"]) from error


class Evaluations(NamedTuple):
    evaluators: dict[str, Evaluator]
    inspections: dict[str, Inspection]
    left_out: dict[str, str]  # name -> why


def evaluations(config: Config, spec: DataSpec) -> Evaluations:
    """Construct the evaluations. Raises ConfigError for those that do not fit, unless `unfit=skip`."""
    left_out = unfit_evaluations(config, spec)
    if left_out and config.unfit == "refuse":
        fit = ",".join(name for name in config.evaluation if name not in left_out)
        hint = (
            f"; choose others: evaluation=[{fit}]"
            if fit
            else "; choose others, for example evaluation=[geometry,projection]"
        )
        raise ConfigError([f"evaluation={name}: {why}{hint}" for name, why in left_out.items()])
    made = {name: construct(node) for name, node in config.evaluation.items() if name not in left_out}
    try:
        for each in made.values():
            each.check(spec)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    return Evaluations(
        {name: each for name, each in made.items() if isinstance(each, Evaluator)},
        {name: each for name, each in made.items() if isinstance(each, Inspection)},
        left_out,
    )


def validate(config: Config, further: Callable[[DataSpec], None] | None = None) -> tuple[DataSource, DataSpec]:
    """Check compatibility, constructors, and one step on fake examples. Nothing is downloaded.

    `further`: other checks, made before the optimizer's, for which torch imports its compiler: a second. Raises
    ConfigError.
    """
    check_fit(config)
    found, spec = source(config)
    count = found.count()
    wanted = None if of_no_use({"objective": config.objective}) else config.pretrain_examples
    if wanted is not None and count is not None:
        try:
            check_part(wanted, count)
        except ValueError as error:
            raise ConfigError([str(error)]) from error
    count = wanted or count
    if count is not None and config.batch_size > count:
        raise ConfigError(
            [f"batch_size is {config.batch_size}; it must be at most {count}, the number of pretraining examples"]
        )
    schedule(config)
    loggers(config, RunContext(Path(config.output), Path(config.output), "", (), "", config.seed))
    evaluators = evaluations(config, spec).evaluators
    if config.start is not None and is_exported(config.start):
        check_vocabulary(config.start, spec)
    model = objective(config, spec, config.start, "files")
    check_chunk(config, model)
    rehearse(model, spec, config)
    check_layers(config, model.encoder, spec)
    check_encoder(evaluators, model.encoder, spec)
    if further is not None:
        further(spec)
    if model.trains:
        optimizer(config, model)
    elif config.control == "shuffled_target":
        untrained = f"objective={config.names.get('objective')} trains nothing"
        raise ConfigError([f"control is shuffled_target, and {untrained}: set control=none"])
    return found, spec


def check_chunk(config: Config, model: Objective) -> None:
    """Raise ConfigError if encoders are to read a part of the batch at a time, and normalize over it."""
    if config.trainer.chunk is not None and any(map(normalizes_over_batch, outermost(model))):
        raise ConfigError(
            [
                f"trainer.chunk is {config.trainer.chunk}, and backbone={config.names.get('backbone')} normalizes over "
                "the batch, which then would be over a part of it: set backbone.norm=group where the backbone has it, "
                "choose a Transformer, or set trainer.chunk=null"
            ]
        )


def rehearse(model: Objective, spec: DataSpec, config: Config) -> None:
    """Run one `split` and `loss` on at most two fake examples, to find shape errors early. Raises ConfigError.

    On the CPU in bfloat16 if configured, since some processors do not support it everywhere (LSTM without AVX-512).
    """
    count = min(config.batch_size, 2)
    elsewhere = config.trainer.accelerator != "cpu" and (torch.cuda.is_available() or torch.backends.mps.is_available())
    half = config.trainer.precision == "bfloat16" and not elsewhere
    with torch.random.fork_rng(devices=[]):
        try:
            with torch.autocast("cpu", torch.bfloat16, enabled=half):
                value = model.loss(*model.split(fake_batch(spec, count))).value
        except (ValueError, RuntimeError) as error:
            named = f"objective={config.names.get('objective')}, backbone={config.names.get('backbone')}"
            prefix = "" if isinstance(error, ValueError) else f"{named}: a step on two fake examples failed: "
            hint = (
                "; this processor may not support it in bfloat16: set trainer.precision=float32"
                if half and prefix
                else ""
            )
            raise ConfigError([f"{prefix}{str(error).splitlines()[0]}{hint}"]) from error
    if value.shape != ():
        raise ConfigError(
            [f"objective={config.names.get('objective')}: its loss has shape {tuple(value.shape)}, not ()"]
        )


def check_layers(config: Config, model: Encoder, spec: DataSpec) -> None:
    """Raise ConfigError unless the encoder accepts such data and has the layers that evaluations read."""
    asked = {name: str(node["layer"]) for name, node in config.evaluation.items() if "layer" in node}
    model.eval()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            count = len(model(spec.to_input(spec.fake(2)), layers=True).layers)
    except (ValueError, RuntimeError) as error:
        named = config.names.get("dataset")
        raise ConfigError([f"dataset={named} does not suit this encoder: {str(error).splitlines()[0]}"]) from error
    # Not every evaluation can mix layers: those that cannot refuse it themselves, in their constructors.
    known = {"pooled", "mix", *(str(-i) for i in range(1, count + 1))}
    problems = [
        f"evaluation.{name}.layer is {layer}; backbone={config.names.get('backbone')} has pooled, and -1 to -{count}"
        for name, layer in asked.items()
        if layer not in known
    ]
    if problems:
        raise ConfigError(problems)


def check_encoder(evaluators: Mapping[str, Evaluator], model: Encoder, spec: DataSpec) -> None:
    """Raise ConfigError unless the encoder, in eval mode, suits the settings of evaluators."""
    problems = []
    with torch.no_grad(), torch.random.fork_rng(devices=[]):
        for each in evaluators.values():
            try:
                each.check_encoder(model, spec)
            except ValueError as error:
                problems.append(str(error))
    if problems:
        raise ConfigError(problems)


def check_vocabulary(path: Path, spec: DataSpec) -> None:
    """Raise ConfigError if the vocabulary of an exported text encoder differs, or may differ, from that of `spec`."""
    if not isinstance(spec, TextSpec):
        return
    try:
        known = exported_spec(path)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{str(path)!r} cannot be read as an encoder: {error}"]) from error
    if isinstance(known, TextSpec) and known.tokenizer != spec.tokenizer:
        raise ConfigError(
            [
                f"{str(path)!r} was pretrained with its own vocabulary; set dataset.tokenizer to {path} "
                "to tokenize texts with it"
            ]
        )
