"""`ssl-export run=<folder> format=onnx`: write the encoder of a finished run for use without this project."""

import os
import shutil
import sys
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omegaconf import DictConfig

from ssl_runner.commands.cli import Answer, hydra_main
from ssl_runner.commands.evaluate import finished_run
from ssl_runner.commands.help import Command
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import typed
from ssl_runner.results.result import Result, Run
from ssl_runner.runtime.terminal import say

if TYPE_CHECKING:  # they import torch
    from ssl_runner.assembly.programs import Verified
    from ssl_runner.interfaces import DataSpec, Encoder
    from ssl_runner.reporting.card import Exported

COMMAND = Command(
    "ssl-export",
    "export",
    "Write the encoder of a finished run, with a model card, so that others can use it without this project.",
    (
        (
            "ssl-export run=outputs/mnist_5k-simclr-convnet/s0-1a2b3c4d5e",
            "a program for onnxruntime, with its model card",
        ),
        (
            "ssl-export run=outputs/stl10-simclr-resnet18/s0-1a2b3c4d5e format=torchvision",
            "of a ResNet with a large stem: weights for torchvision.models.resnet18",
        ),
        (
            "ssl-export run=outputs/mnist_5k-simclr-convnet/s0-1a2b3c4d5e format=features",
            "the features of all its examples, as data of another run: dataset=features dataset.run=...",
        ),
    ),
)
FORMATS = ("onnx", "torch_export", "torchvision", "timm", "huggingface", "features", "codes")
DATA = ("features", "codes")  # formats that are data of other runs, and no encoder
CARD = "README.md"


def task(cfg: DictConfig) -> Answer:
    output = export({key: cfg[key] for key in ("run", "format", "output")})
    return {"folder": str(output), "files": sorted(file.name for file in output.iterdir()), "format": cfg["format"]}


def export(asked: dict[str, Any]) -> Path:
    """Write the encoder of a finished run as `asked` says (conf/export.yaml), and return the folder.

    What is written is read back in a process that cannot import this project, and kept if its features are those of the
    encoder. Raises ConfigError.
    """
    folder, plain = finished_run(asked["run"])
    format = asked["format"]
    if format not in FORMATS:
        raise ConfigError([f"format is {format}; it must be one of {', '.join(FORMATS)}"])

    from ssl_runner.assembly import export as exports
    from ssl_runner.assembly import load, programs
    from ssl_runner.assembly.places import finished
    from ssl_runner.reporting.card import card, seeds_of

    result = finished(folder)
    if result is None:
        raise ConfigError([f"run: {str(folder)!r} contains no finished run; the same ssl-run command resumes it"])
    try:
        encoder, spec = load.exported_encoder(folder), exports.exported_spec(folder)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    if format not in DATA:
        programs.check(format, encoder)
    output = folder / "export" / format if asked["output"] is None else Path(str(asked["output"])).expanduser()
    output.mkdir(parents=True, exist_ok=True)
    if format in DATA:
        write_features(encoder, plain, output) if format == "features" else write_codes(folder, plain, output)
        return output
    with tempfile.TemporaryDirectory(dir=output, prefix=".writing-") as scratch:
        part = Path(scratch)
        verified = programs.write(format, encoder, spec, part)
        tokenizer = exports.encoder_folder(folder) / "tokenizer.json"
        if tokenizer.is_file() and not (part / tokenizer.name).exists():  # transformers has its own form
            shutil.copyfile(tokenizer, part / tokenizer.name)
        about = described(format, encoder, spec, part, verified)
        own = Run(folder.name, folder, complete(result, plain))
        (part / CARD).write_text(card(own, seeds_of(own), about), encoding="utf-8")
        for file in part.iterdir():
            os.replace(file, output / file.name)
    shape = ", ".join(map(str, about.shape))
    said = f"{output}: {format}, {about.input} ({shape}) to {about.dim} features; read back without this project, they"
    untrained = about.library.get("untrained")
    more = f"; {format} initialized {', '.join(untrained)}, which they do not use" if untrained else ""
    say(f"{said} {about.verdict}{more}", sys.stdout)
    return output


def write_features(encoder: "Encoder", plain: dict[str, Any], output: Path) -> None:
    """Write the features of all examples of a run's data to a file, for `dataset=features`. Raises ConfigError."""
    from ssl_runner.assembly import construct, load
    from ssl_runner.data.vectors import features
    from ssl_runner.evaluation.any.subject import FrozenSubject
    from ssl_runner.runtime.devices import device_of

    config = typed(plain)
    source, _ = construct.source(config)
    data = load.load_data(config, source)
    device = device_of(config.trainer.accelerator)
    subject = FrozenSubject(
        encoder.to(device), data, seed=config.seed, device=device, batch_size=config.batch_size, blocks=False
    )
    found = {split: subject.features(split) for split in features.SPLITS}
    part = output / f".part-{features.FILE}"
    features.write(part, found, data.spec.class_names)
    os.replace(part, output / features.FILE)
    counts = ", ".join(f"{len(each.label)} of {split}" for split, each in found.items())
    say(f"{output / features.FILE}: {encoder.dim} features an example ({counts})", sys.stdout)


def write_codes(folder: Path, plain: dict[str, Any], output: Path) -> None:
    """Write the codes of all images of a run, and what makes images of codes, to a file, for `dataset=codes`. Raises
    ConfigError."""
    import torch

    from ssl_runner.assembly import construct, load
    from ssl_runner.data.text import codes
    from ssl_runner.interfaces import Examples, Quantizes
    from ssl_runner.runtime.checkpoint_files import FOLDER, LAST

    config = typed(plain)
    data = load.load_data(config, construct.source(config)[0])
    model = construct.objective(config, data.spec)
    if not isinstance(model, Quantizes):
        raise ConfigError([f"format is codes, and objective={config.names.get('objective')} has none; that of vq has"])
    load.read_checkpoint(folder / FOLDER / LAST, model)
    model.eval()
    found = {}
    with torch.inference_mode():
        for split in codes.SPLITS:
            examples = data.examples(split)
            parts = [model.tokens(data.spec.to_input(part)).int() for part in examples.data.split(config.batch_size)]
            found[split] = Examples(torch.cat(parts), examples.label)
        program = model.program()
    part = output / f".part-{codes.FILE}"
    codes.write(part, found, data.spec.class_names, len(program["codes"]), program)
    os.replace(part, output / codes.FILE)
    counts = ", ".join(f"{len(each.label)} of {split}" for split, each in found.items())
    down, across = found["train"].data.shape[1:]
    say(f"{output / codes.FILE}: {down} x {across} codes an image ({counts})", sys.stdout)


def complete(result: Result, plain: dict[str, Any]) -> Result:
    """A result with its config, which those of older versions lack."""
    return result if result.config else replace(result, config=plain)


def described(format: str, encoder: "Encoder", spec: "DataSpec", written: Path, verified: "Verified") -> "Exported":
    """What a model card says of an encoder and of the files in `written`."""
    from ssl_runner.assembly.tracing import input_of
    from ssl_runner.interfaces import TextSpec
    from ssl_runner.reporting.card import Exported, read_library

    given = input_of(encoder, spec)
    special = vars(spec.special) if isinstance(spec, TextSpec) else {}
    return Exported(
        format=format,
        files=sorted(file.name for file in written.iterdir()),
        kind=spec.kind,
        input=given.name,
        shape=given.shape,
        dtype=given.dtype,
        longest=given.longest,
        dim=encoder.dim,
        classes=spec.classes,
        special={role: place for role, place in special.items() if place is not None},
        difference=verified.difference,
        rounding=verified.rounding,
        library=read_library(written),
    )


def main() -> None:
    """Entry point of `ssl-export`."""
    hydra_main(task, COMMAND)


if __name__ == "__main__":
    main()
