"""Make objects of a config: the only place where a `_target_` is called."""

import hashlib
import inspect
import json
import logging
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, cast, get_origin

import torch
import yaml
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from ssl_runner import checkpoints
from ssl_runner.config import (
    Config,
    ConfigError,
    check_fields,
    check_fit,
    check_node,
    locate,
    parameters,
    unfit_evaluations,
)
from ssl_runner.contents import fingerprint
from ssl_runner.interfaces import (
    Batch,
    DataSource,
    DataSpec,
    Encoder,
    Evaluator,
    Inspection,
    Objective,
    SpecialTokens,
    TextEncoder,
    TextSpec,
)
from ssl_runner.loggers.interface import Loggers, RunContext
from ssl_runner.names import current_node
from ssl_runner.nn.normalise import Normalise
from ssl_runner.optim import Schedule, decay_groups
from ssl_runner.plain_yaml import read_yaml

if TYPE_CHECKING:
    from tokenizers import Tokenizer

log = logging.getLogger(__name__)

EXPORTED = ("encoder.safetensors", "config.yaml", "tokenizer.json", "tokens.json")  # the last two of text
SUMS = "SHA256SUMS"
TAKE_SPARSE = ("torch.optim.Adagrad", "torch.optim.SGD", "torch.optim.SparseAdam")  # unless fused or with weight decay


def construct(node: Mapping[str, Any], **context: Any) -> Any:
    """Call a node's `_target_` with its values, inner nodes first, and with what it takes of `context`.

    Raises ConfigError where the constructor raises ValueError, and where the target is not on the allowlist.
    """
    cls = locate(node["_target_"])
    annotations = parameters(cls)
    values: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            values[name] = construct(value, **context)
        elif get_origin(annotations.get(name, (None,))[0]) is tuple:
            values[name] = tuple(value)
        elif name != "_target_":
            values[name] = value
    takes = inspect.signature(cls).parameters
    given = {name: value for name, value in context.items() if name in takes}
    try:
        return cls(**given, **values)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    except (ArithmeticError, MemoryError, RuntimeError) as error:  # torch's, of numbers that it cannot have
        raise ConfigError([f"{cls.__name__} cannot be made of its values: {str(error).splitlines()[0]}"]) from error


def source(config: Config) -> tuple[DataSource, DataSpec]:
    """The dataset and what its examples are; no more than headers are read. Raises ConfigError."""
    found: DataSource = construct(config.dataset)
    try:
        spec = found.spec
        found.check()
    except (ValueError, OSError) as error:
        raise ConfigError([str(error)]) from error
    return found, spec


def encoder(node: Mapping[str, Any], spec: DataSpec) -> Encoder:
    """Raises ConfigError, too, for one that is larger than memory: it is not tried."""
    with torch.device("meta"):  # which has shapes alone
        size = sum(each.numel() * each.element_size() for each in construct(node, spec=spec).state_dict().values())
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ConfigError(
            [f"backbone: its weights are {size:,} bytes, and this machine has {memory:,}; make it smaller"]
        )
    return construct(node, spec=spec)


def objective(config: Config, spec: DataSpec, start: Path | None = None) -> Objective:
    """The objective with its encoder at the random start of `config.seed`; the global generators stay as they were.

    `start`: an exported encoder, whose weights and statistics the encoder gets in place of the random ones. It has them
    before the objective is made, so every copy that an objective keeps has them too. Raises ConfigError where they are
    not those of such an encoder. Convolutions of images are laid out channels last: on a CPU they took 0.6 of the time.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(config.seed)
        first = encoder(config.backbone, spec)
        if start is not None:
            read_encoder(start, first)
        model: Objective = construct(config.objective, encoder=first, spec=spec)
    _channels_last(model)
    if isinstance(model.encoder, TextEncoder) and model.encoder.reach is not None:
        model.encoder.reach = tokens_shown(model, spec)
    return model


def tokens_shown(model: Objective, spec: DataSpec) -> int:
    """How many tokens of a text the objective shows its encoder, as a step on two fake examples tells: a language model
    all but the last, views of a row's segments a part of it. `spec`'s length where no step can be made."""
    shown: list[int] = []
    hook = model.encoder.register_forward_pre_hook(lambda _, given: shown.append(given[0].shape[1]))
    training = [part for part in model.modules() if part.training]
    model.eval()  # so that no statistics move
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            model.loss(*model.split(fake_batch(spec, 2)))
    except (ValueError, RuntimeError):  # `rehearse` says what is wrong
        return cast(TextSpec, spec).length
    finally:
        hook.remove()
        for part in training:
            part.training = True
    return max(shown, default=cast(TextSpec, spec).length)


def random_start(config: Config, spec: DataSpec) -> Encoder:
    """The encoder that `objective` starts with: it is built first, from the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(config.seed)
        model = encoder(config.backbone, spec)
    _channels_last(model)
    return model


def untrained(config: Config, spec: DataSpec, pretrained: Encoder) -> Encoder:
    """The control `random_start`: the encoder that `objective` starts with, normalising its input as the pretrained one
    does. Weights alone tell the two apart, whatever data they are evaluated on."""
    start = random_start(config, spec)
    for own, given in zip(_normalisations(start), _normalisations(pretrained), strict=True):
        own.fit(given.mean.to(own.mean.device), given.std.to(own.std.device))
    return start


def _channels_last(model: torch.nn.Module) -> None:
    """Lay out the weights of convolutions of images so; those of clips have no such layout."""
    for part in model.modules():
        if isinstance(part, torch.nn.Conv2d | torch.nn.ConvTranspose2d):
            part.to(memory_format=torch.channels_last)


def optimizer(config: Config, model: Objective) -> torch.optim.Optimizer:
    """The optimizer over the objective's parameter groups, norms and biases undecayed. Raises ConfigError."""
    if any(isinstance(part, torch.nn.Embedding) and part.sparse for part in model.modules()):
        node = config.optimizer
        if node["_target_"] not in TAKE_SPARSE or node.get("fused") or node.get("weight_decay"):
            named = config.names.get("optimizer", "?")
            raise ConfigError(
                [
                    f"backbone.gradient is sparse, which optimizer={named} does not take as it is set: "
                    "optimizer=adagrad optimizer.fused=false does; or set backbone.gradient=dense"
                ]
            )
    try:
        return construct(config.optimizer, params=decay_groups(model.groups()))
    except ConfigError as error:  # torch's own messages name no key
        raise ConfigError([p if p.startswith("optimizer") else f"optimizer: {p}" for p in error.problems]) from error


def schedule(config: Config) -> Schedule:
    return construct(config.schedule)


def loggers(config: Config, context: RunContext) -> Loggers:
    """Where metrics go; nothing is opened yet."""
    return Loggers([construct(node, context=context) for node in config.logger.values()])


def contents(config: Config, found: DataSource, spec: DataSpec) -> dict[str, str]:
    """A fingerprint of the files behind each setting that leads to some: dataset, `start_from`, evaluations.

    What is to be downloaded first is left out. Raises ConfigError where one cannot be read.
    """
    files = {f"dataset.{setting}": named for setting, named in found.contents().items()}
    if config.start is not None:
        files["start_from"] = exported_files(encoder_folder(config.start))
    unfit = unfit_evaluations(config, spec)
    made = {name: construct(node) for name, node in config.evaluation.items() if name not in unfit}
    for name, each in made.items():
        if isinstance(each, Evaluator):
            files |= {f"evaluation.{name}.{setting}": named for setting, named in each.contents.items()}
    try:
        return {key: fingerprint(named) for key, named in files.items()}
    except OSError as error:
        raise ConfigError([f"{error.filename} cannot be read: {error.strerror}"]) from error


class Evaluations(NamedTuple):
    evaluators: dict[str, Evaluator]
    inspections: dict[str, Inspection]
    left_out: dict[str, str]  # name -> why


def evaluations(config: Config, spec: DataSpec) -> Evaluations:
    """What is asked of the encoder afterwards. Raises ConfigError for what does not fit, unless `unfit=skip`."""
    left_out = unfit_evaluations(config, spec)
    if left_out and config.unfit == "refuse":
        fit = ",".join(name for name in config.evaluation if name not in left_out)
        hint = f"; choose others: evaluation=[{fit}]" if fit else "; choose others, as evaluation=[geometry,projection]"
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


def validate(config: Config) -> tuple[DataSource, DataSpec]:
    """The later gates: what goes together, constructors, and one step on fake examples. Nothing is downloaded.

    Raises ConfigError.
    """
    check_fit(config)
    found, spec = source(config)
    count = found.count()
    if count is not None and config.batch_size > count:
        raise ConfigError(
            [f"batch_size is {config.batch_size}; it must be at most {count}, the examples to pretrain on"]
        )
    schedule(config)
    loggers(config, RunContext(Path(config.output), Path(config.output), "", (), "", config.seed))
    evaluations(config, spec)
    if config.start_from is not None:
        check_vocabulary(Path(config.start_from), spec)
    model = objective(config, spec, config.start)
    optimizer(config, model)
    rehearse(model, spec, config)
    check_layers(config, model.encoder, spec)
    return found, spec


def rehearse(model: Objective, spec: DataSpec, config: Config) -> None:
    """One `split` and `loss` on at most two fake examples: shape errors come before any data. Raises ConfigError.

    On the CPU in bfloat16 if that is asked for: torch's LSTM, for one, is refused by processors without AVX-512.
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
                "; this processor may not do that in bfloat16: set trainer.precision=float32" if half and prefix else ""
            )
            raise ConfigError([f"{prefix}{str(error).splitlines()[0]}{hint}"]) from error
    if value.shape != ():
        raise ConfigError(
            [f"objective={config.names.get('objective')}: its loss has shape {tuple(value.shape)}, not ()"]
        )


def fake_batch(spec: DataSpec, count: int) -> Batch:
    """Random examples, with labels if their kind has any, as a batch reaches `Objective.split`; the global generators
    stay as they were."""
    with torch.random.fork_rng(devices=[]):
        label = torch.arange(count) % spec.classes if spec.classes else torch.full((count,), -1)
        return Batch(spec.to_input(spec.fake(count)), label, torch.arange(count))


def check_layers(config: Config, model: Encoder, spec: DataSpec) -> None:
    """Whether the encoder reads such data, and has the layers that evaluations read. Raises ConfigError."""
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


def fit_statistics(model: torch.nn.Module, statistics: Callable[[], tuple[torch.Tensor, torch.Tensor]]) -> None:
    """Give every `Normalise` in `model` the mean and deviation of the training set. What has none, asks for none."""
    parts = _normalisations(model)
    if parts:
        mean, std = statistics()
        for part in parts:
            part.fit(mean, std)


def _normalisations(model: torch.nn.Module) -> list[Normalise]:
    return [module for module in model.modules() if isinstance(module, Normalise)]


# ---------------------------------------------------------------------------------------------------- exported encoders


def export_encoder(folder: Path, model: Encoder, node: Mapping[str, Any], spec: DataSpec) -> None:
    """Write `encoder.safetensors` and `config.yaml`: what `load_encoder` needs, and no code. Last, the checksums of all
    files, in the form that `sha256sum -c` reads."""
    folder.mkdir(parents=True, exist_ok=True)
    fields = vars(spec) | {"class_names": list(spec.class_names)}
    if isinstance(spec, TextSpec):  # what is long has files of its own
        _write(folder / "tokenizer.json", fields.pop("tokenizer"))
        tokens = {name: fields.pop(name) for name in ("counts", "starts", "ends")} | {
            "special": vars(fields.pop("special"))
        }
        _write(folder / "tokens.json", json.dumps(tokens))
        fields |= {name: dict(fields[name]) for name in ("tokens", "words", "characters")}
    about: dict[str, Any] = {"backbone": dict(node), "spec": {"_target_": _target(spec), **fields}}
    if isinstance(model, TextEncoder):
        about["reach"] = model.reach
    state = {name: value.detach().cpu().contiguous() for name, value in model.state_dict().items()}
    save_file(state, folder / "encoder.safetensors.part")
    (folder / "encoder.safetensors.part").replace(folder / "encoder.safetensors")
    _write(folder / "config.yaml", yaml.safe_dump(about, sort_keys=False))
    sums = {name: _sha256(file) for name, file in exported_files(folder).items()}
    _write(folder / SUMS, "".join(f"{digest}  {name}\n" for name, digest in sums.items()))


def _write(path: Path, text: str) -> None:
    part = path.with_name(f"{path.name}.part")
    part.write_text(text, encoding="utf-8")
    part.replace(path)


def _target(instance: object) -> str:
    return f"{type(instance).__module__}.{type(instance).__qualname__}"


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def check_sums(folder: Path) -> None:
    """Compare the files of an exported encoder with their checksums; that an older version wrote none, is said.

    It ends accidents, not forgery: who changes a file can change its checksum too. Raises ValueError, and OSError.
    """
    try:
        lines = (folder / SUMS).read_text(encoding="utf-8").splitlines()
    except FileNotFoundError:
        _say_unchecked(folder)
        return
    except ValueError as error:
        raise ValueError(f"{str(folder / SUMS)!r} is damaged: {error}") from error
    known = {name: digest for digest, _, name in (line.partition("  ") for line in lines)}
    for name, file in exported_files(folder).items():
        if known.pop(name, None) != _sha256(file):
            raise ValueError(f"{str(file)!r} is damaged: it does not match its checksum in {SUMS}")
    if known:
        raise ValueError(f"{str(folder)!r} is damaged: {SUMS} names {min(known)!r}, which is not there")


@lru_cache
def _say_unchecked(folder: Path) -> None:
    """Once."""
    log.warning("%s has no %s (an older version wrote it): damage to it would not be seen", folder, SUMS)


def exported_files(folder: Path) -> dict[str, Path]:
    """The files of an exported encoder, by name."""
    return {name: folder / name for name in EXPORTED if (folder / name).is_file()}


def encoder_folder(path: Path) -> Path:
    """`path`, or the encoder/ in it where `path` is a run's folder. Raises ValueError if neither holds one."""
    if path.is_file():
        path = path.parent
    for folder in (path / "encoder", path):
        if (folder / "encoder.safetensors").is_file() and (folder / "config.yaml").is_file():
            return folder
    raise ValueError(
        f"no encoder in {str(path)!r}: looked for encoder/encoder.safetensors and encoder/config.yaml; "
        "name a finished run's folder"
    )


def load_encoder(path: str | Path) -> Encoder:
    """An exported encoder, in eval mode on the CPU; images in [0, 1] go in, or ids of `load_tokenizer`, `Features` come
    out.

    `path`: a run's folder, or its encoder/. Runs no code from the files. Raises ValueError for a missing, damaged or
    mismatched file.

    >>> encoder = load_encoder("outputs/mnist_5k-simclr-convnet/1a2b3c4d5e")  # doctest: +SKIP
    >>> encoder(images).pooled.shape  # doctest: +SKIP
    torch.Size([16, 128])
    """
    folder = encoder_folder(Path(path))
    check_sums(folder)
    about = _about(folder)
    node = about["backbone"]
    try:
        if problems := check_node(node, "backbone", [Encoder]):
            raise ConfigError(problems)
        model = encoder(node, exported_spec(folder))
    except ConfigError as error:
        raise ValueError(f"{str(folder / 'config.yaml')!r}: {error}") from error
    try:
        _read_weights(folder, model)
    except ConfigError as error:
        raise ValueError(str(error)) from error
    if isinstance(model, TextEncoder):
        model.reach = about.get("reach", model.reach)  # which older ones do not say
    return model.eval()


def load_tokenizer(path: str | Path) -> "Tokenizer":
    """The tokenizer of an exported encoder of text: `encode(text, add_special_tokens=False).ids` are its input.

    `path`: a run's folder, or its encoder/. Raises ValueError where there is none.
    """
    folder = encoder_folder(Path(path))
    check_sums(folder)
    return _tokenizer(folder)


def _tokenizer(folder: Path) -> "Tokenizer":
    from tokenizers import Tokenizer

    file = folder / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(file))
    except Exception as error:  # the library raises nothing narrower
        raise ValueError(f"{str(file)!r} cannot be read as a tokenizer: {error}") from error


def check_vocabulary(path: Path, spec: DataSpec) -> None:
    """Raise ConfigError where an exported encoder of text reads other ids than `spec` gives, or may give."""
    if not isinstance(spec, TextSpec):
        return
    try:
        known = exported_spec(path)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{str(path)!r} cannot be read as an encoder: {error}"]) from error
    if isinstance(known, TextSpec) and known.tokenizer != spec.tokenizer:
        raise ConfigError(
            [
                f"{str(path)!r} was pretrained with a vocabulary of its own; set dataset.tokenizer to {path}: "
                "texts are then cut in its tokens"
            ]
        )


def exported_spec(path: Path) -> DataSpec:
    """What the data were that an exported encoder was pretrained on. Raises ValueError for a damaged file."""
    folder = encoder_folder(path)
    fields = dict(_about(folder)["spec"])
    try:
        cls = locate(fields.pop("_target_", ""))
    except ConfigError as error:
        raise ValueError(f"{str(folder / 'config.yaml')!r}: spec.{error}") from error
    if not issubclass(cls, DataSpec):
        raise ValueError(f"{str(folder / 'config.yaml')!r}: spec._target_ is {cls.__name__}, which is no kind of data")
    if issubclass(cls, TextSpec):
        fields["tokenizer"] = _tokenizer(folder).to_str()
        fields |= _tokens(folder / "tokens.json")
    if problems := check_fields(fields, cls, "spec"):
        raise ValueError(f"{str(folder / 'config.yaml')!r}: {'; '.join(problems)}")
    values: dict[str, Any] = {n: tuple(value) if isinstance(value, list) else value for n, value in fields.items()}
    if "special" in values:
        values["special"] = SpecialTokens(**values["special"])
    return cls(**values)


def _about(folder: Path) -> dict[str, Any]:
    """config.yaml of an exported encoder. Raises ValueError where it is none."""
    file = folder / "config.yaml"
    try:
        about = read_yaml(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise ValueError(f"{str(file)!r} is damaged: {error}") from error
    if not isinstance(about, dict) or not all(isinstance(about.get(key), dict) for key in ("backbone", "spec")):
        raise ValueError(f"{str(file)!r} is damaged: it must hold backbone and spec")
    reach = about.get("reach")
    if reach is not None and (type(reach) is not int or reach < 1):
        raise ValueError(f"{str(file)!r} is damaged: reach is {reach!r}; it must be a number of tokens, or null")
    return about | {key: current_node(about[key]) for key in ("backbone", "spec")}


def _tokens(file: Path) -> dict[str, list[Any]]:
    """What an exported encoder of text knows of its tokens. Raises ValueError for a damaged file."""
    try:
        tokens = json.loads(file.read_text(encoding="utf-8"))
        found = {name: tokens[name] for name in ("counts", "starts")}
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise ValueError(f"{str(file)!r} is damaged: {error}") from error
    for name, kind in (("counts", int), ("starts", bool)):
        if not isinstance(found[name], list) or not all(type(each) is kind for each in found[name]):
            raise ValueError(f"{str(file)!r} is damaged: {name} must be a list, each of type {kind.__name__}")
    return found | {name: tokens[name] for name in ("special", "ends") if name in tokens}  # some are older


def read_encoder(path: Path, model: Encoder) -> None:
    """Load exported weights into `model`. Raises ConfigError for a missing, truncated or mismatched file."""
    try:
        folder = encoder_folder(path)
        check_sums(folder)
    except (ValueError, OSError) as error:
        raise ConfigError([f"{str(path)!r} cannot be read as an encoder: {error}"]) from error
    _read_weights(folder, model)


def _read_weights(folder: Path, model: Encoder) -> None:
    file = folder / "encoder.safetensors"
    try:
        state = load_file(file)
    except (ValueError, OSError, SafetensorError) as error:
        raise ConfigError([f"{str(file)!r} cannot be read as an encoder: {error}"]) from error
    own = {name: tuple(value.shape) for name, value in model.state_dict().items()}
    got = {name: tuple(value.shape) for name, value in state.items()}
    if own != got:
        differ = sorted(name for name in own.keys() | got.keys() if own.get(name) != got.get(name))
        raise ConfigError(
            [
                f"{str(file)!r} holds the weights of another backbone: {len(differ)} tensors differ, the first is "
                f"{differ[0]!r}, {got.get(differ[0], 'missing')} there and {own.get(differ[0], 'missing')} here; "
                "set backbone and its numbers to those of the run it comes from"
            ]
        )
    model.load_state_dict(state)


def read_checkpoint(path: Path, model: Objective) -> None:
    """Load the weights of a checkpoint into an objective. Raises ConfigError for a damaged or mismatched file."""
    try:
        state = checkpoints.load(path, mmap=False)["state_dict"]
        torch.nn.ModuleDict({"objective": model}).load_state_dict(state)  # the place that it has in `Pretrainer`
    except checkpoints.UNREADABLE as error:
        raise ConfigError([f"{str(path)!r} cannot be read: {checkpoints.reason(error)}"]) from error
