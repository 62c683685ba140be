"""Construct objects from a config: the only module that calls a `_target_`."""

import inspect
import os
from collections.abc import Callable, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any, cast, get_origin

import torch
from torch import Tensor
from torch.overrides import TorchFunctionMode

from ssl_runner.assembly.weights import Which, begin, parts_with_weights
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import reads
from ssl_runner.config.schema import Config
from ssl_runner.config.signatures import held_in, locate, parameters
from ssl_runner.data.any.tensors import fake_batch
from ssl_runner.interfaces import (
    DataSource,
    DataSpec,
    Encoder,
    Objective,
    TextEncoder,
    TextSpec,
)
from ssl_runner.loggers.interface import Loggers, RunContext
from ssl_runner.nn.depth import rate_scales
from ssl_runner.nn.normalize import Normalize
from ssl_runner.training.optim import Schedule, decay_groups, scaled_groups

TAKE_SPARSE = ("torch.optim.Adagrad", "torch.optim.SGD", "torch.optim.SparseAdam")  # unless fused or with weight decay


def construct(node: Mapping[str, Any], **context: Any) -> Any:
    """Call a node's `_target_` with its values, inner nodes first, and with its parameters from `context`.

    Named nodes of a mapping are constructed in the order of their names, since identities do not depend on their order.

    Raises ConfigError where the constructor raises ValueError, and where the target is not on the allowlist.
    """
    cls = locate(node["_target_"])
    annotations = parameters(cls)
    values: dict[str, Any] = {}
    for name, value in node.items():
        if isinstance(value, Mapping) and "_target_" in value:
            values[name] = construct(value, **_within(cls, name, value, context))
        elif isinstance(value, Mapping) and held_in(annotations.get(name, (None,))[0]):
            values[name] = {key: _part(f"{name}.{key}", value[key], **context) for key in sorted(value)}
        elif get_origin(annotations.get(name, (None,))[0]) is tuple:
            values[name] = tuple(value)
        elif name != "_target_":
            values[name] = value
    given = {name: context[name] for name in _takes(cls) if name in context}
    try:
        return cls(**given, **values)
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    except (ArithmeticError, MemoryError, RuntimeError) as error:  # torch's, of numbers that it cannot have
        raise ConfigError(
            [f"{cls.__name__} cannot be built from its settings: {str(error).splitlines()[0]}"]
        ) from error


def _within(owner: type[Any], name: str, node: Mapping[str, Any], context: Mapping[str, Any]) -> Mapping[str, Any]:
    """The context of a node within that of `owner`. An encoder within an objective is that of the second views: its
    spec is theirs. Raises ConfigError where there are none, or of a kind that it does not read."""
    cls, spec = locate(node["_target_"]), context.get("spec")
    if spec is None or not (issubclass(owner, Objective) and issubclass(cls, Encoder)):
        return context
    if spec.other is None:
        raise ConfigError([f"objective.{name}: the dataset has no second view of its examples, which it would read"])
    if not isinstance(spec.other, reads(cls)):
        wanted = reads(cls).kind
        raise ConfigError(
            [
                f"objective.{name} reads {wanted}, and the second view of each example is {spec.other.kind}: choose "
                f"another, backbone@objective.{name}=..."
            ]
        )
    return {**context, "spec": spec.other}


def _part(path: str, node: Mapping[str, Any], **context: Any) -> Any:
    """An object of a mapping of named nodes; `path`: of its node within that of its owner. Its messages name keys of
    the whole config, as if it stood alone ("objective.ratio"): its own path is put in."""
    try:
        return construct(node, **context)
    except ConfigError as error:
        raise ConfigError(
            [problem.replace("objective.", f"objective.{path}.") for problem in error.problems]
        ) from error


def _names(cls: type[Any]) -> frozenset[str]:
    return frozenset(inspect.signature(cls).parameters)


_takes: Callable[[Any], frozenset[str]] = lru_cache(None)(_names)  # the parameters of a constructor


def source(config: Config) -> tuple[DataSource, DataSpec]:
    """The dataset and the spec of its examples; only headers of files are read. Raises ConfigError."""
    found: DataSource = construct(config.dataset)
    try:
        spec = found.spec
        found.check()
    except (ValueError, OSError) as error:
        raise ConfigError([str(error)]) from error
    return found, spec


def encoder(node: Mapping[str, Any], spec: DataSpec) -> Encoder:
    """The encoder, randomly initialized. Raises ConfigError, also for one that would not fit into memory."""
    size = _bytes(node, spec)
    memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    if size > memory:
        raise ConfigError(
            [
                f"backbone: its weights are {size:,} bytes, and the memory of this machine is {memory:,}; "
                "choose a smaller backbone"
            ]
        )
    return construct(node, spec=spec)


def _bytes(node: Mapping[str, Any], spec: DataSpec) -> int:
    """The memory of an encoder's weights, without taking it; 0 where a library computes with values, of which the meta
    device has none."""
    try:
        with torch.device("meta"), _Undrawn():  # shapes alone
            return sum(each.numel() * each.element_size() for each in construct(node, spec=spec).state_dict().values())
    except ConfigError as error:
        if isinstance(error.__cause__, NotImplementedError):
            return 0
        raise


class _Undrawn(TorchFunctionMode):
    """Leaves tensors as they are where they would be filled with random numbers.

    On the meta device they have no values. torch would compute the shape of the result in Python, for which it imports
    its compiler: a second.
    """

    def __torch_function__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        return args[0] if func in (Tensor.normal_, Tensor.uniform_) else func(*args, **(kwargs or {}))


def objective(config: Config, spec: DataSpec, start: Path | None = None, weights: Which = "none") -> Objective:
    """The objective with its encoder, randomly initialized from `config.seed`; global generators keep their state.

    `start`: an exported encoder, whose weights and statistics the encoder gets in place of the random ones. `weights`:
    which of those that `backbone.weights`, or `start` of another library, names it gets. It has them before the
    objective is made, so every copy that an objective keeps has them too. Raises ConfigError where they are not those
    of such an encoder. Convolutions of images are laid out channels last: on a CPU they took 0.6 of the time.
    """
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(config.seed)
        first = encoder(config.backbone, spec)
        begin(first, start, config.start_file, weights)
        model: Objective = construct(config.objective, encoder=first, spec=spec)
    _channels_last(model)
    known = parts_with_weights(model.encoder)  # they were trained on as many tokens as they say
    if isinstance(model.encoder, TextEncoder) and model.encoder.reach is not None and not known:
        model.encoder.reach = tokens_shown(model, spec)
    return model


def tokens_shown(model: Objective, spec: DataSpec) -> int:
    """The number of tokens per text that the encoder sees in pretraining, from a step on two fake examples: a language
    model all but the last, views of a row's segments a part of it. `spec`'s length where no step can be made.
    """
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
    """The encoder that `objective` starts from: the same initialization, from the same seed."""
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(config.seed)
        model = encoder(config.backbone, spec)
    _channels_last(model)
    return model


def initial(config: Config, spec: DataSpec) -> Encoder | None:
    """The control `initial`: the encoder with the weights and statistics from elsewhere that `objective` starts from.

    None where it is one of the others: the random start, or, where nothing is pretrained, the encoder itself.
    """
    if not locate(config.objective["_target_"]).trains:
        return None
    with torch.random.fork_rng(devices=[]):
        torch.random.default_generator.manual_seed(config.seed)
        model = encoder(config.backbone, spec)
        from_elsewhere = begin(model, config.start, config.start_file, "all")
    _channels_last(model)
    return model if from_elsewhere else None


def untrained(config: Config, spec: DataSpec, pretrained: Encoder) -> Encoder:
    """The control `random_start`: the encoder that `objective` starts with, normalizing its input as the pretrained one
    does. Weights alone tell the two apart, whatever data they are evaluated on."""
    start = random_start(config, spec)
    for own, given in zip(_normalizations(start), _normalizations(pretrained), strict=True):
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
                    f"backbone.gradient is sparse, which optimizer={named} does not support as configured: "
                    "set optimizer=adagrad optimizer.fused=false, or backbone.gradient=dense"
                ]
            )
    try:
        return construct(config.optimizer, params=decay_groups(_scaled(config, model)))
    except ConfigError as error:  # torch's own messages name no key
        raise ConfigError([p if p.startswith("optimizer") else f"optimizer: {p}" for p in error.problems]) from error


def _scaled(config: Config, model: Objective) -> list[dict[str, Any]]:
    """The objective's parameter groups, with the scales of learning rates that the trainer's settings add."""
    settings, groups = config.trainer, model.groups()
    if settings.layer_decay != 1:
        try:
            groups = scaled_groups(groups, rate_scales(model.encoder, settings.layer_decay))
        except ValueError as error:
            raise ConfigError([f"trainer.layer_decay is {settings.layer_decay}, and {error}: set it to 1"]) from error
    if settings.lr_batch is None:
        return groups
    factor = config.batch_size * settings.accumulate / settings.lr_batch
    return [{**group, "lr_scale": group.get("lr_scale", 1.0) * factor} for group in groups]


def schedule(config: Config) -> Schedule:
    return construct(config.schedule)


def loggers(config: Config, context: RunContext) -> Loggers:
    """The loggers of a run, not yet opened."""
    return Loggers([construct(node, context=context) for node in config.logger.values()])


def fit_statistics(
    model: torch.nn.Module,
    statistics: Callable[[], tuple[torch.Tensor, torch.Tensor]],
    *,
    but: torch.nn.Module | None = None,
) -> None:
    """Set every `Normalize` in `model` to the mean and standard deviation of the training set. `but`: a part of it that
    reads other data, and stays as it is."""
    others = [] if but is None else _normalizations(but)
    parts = [part for part in _normalizations(model) if part not in others]
    if parts:
        mean, std = statistics()
        for part in parts:
            part.fit(mean, std)


def _normalizations(model: torch.nn.Module) -> list[Normalize]:
    return [module for module in model.modules() if isinstance(module, Normalize)]
