"""Load from files: the data of a run, its encoder, its tokenizer, the weights of its objective."""

from pathlib import Path
from typing import TYPE_CHECKING

import torch

from ssl_runner.assembly.construct import encoder
from ssl_runner.assembly.export import (
    about_encoder,
    check_sums,
    encoder_folder,
    exported_spec,
    read_tokenizer,
    read_weights,
)
from ssl_runner.assembly.loaded import LoadedEncoder
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.identity import of_no_use
from ssl_runner.config.names import tensors_now
from ssl_runner.config.schema import Config
from ssl_runner.config.signatures import check_node
from ssl_runner.interfaces import DataSource, Encoder, Objective, TextEncoder
from ssl_runner.runtime import checkpoint_files
from ssl_runner.runtime.distributed import meet, world

if TYPE_CHECKING:  # Lightning takes seconds: it is imported where it is needed, after the refusals
    from tokenizers import Tokenizer

    from ssl_runner.data.any.module import DataModule


def load_encoder(path: str | Path, *, resize: bool = True) -> LoadedEncoder:
    """A pretrained encoder, on the CPU, in eval mode: images, clips, texts or vectors go in, `Features` come out.

    `path`: a run's folder, or its encoder/. `resize`: images of another size are resized to that of pretraining; False:
    they are given to the network as they are. The weights are frozen. Runs no code from the files. Raises ValueError
    for a missing, damaged or mismatched file.

    >>> encoder = load_encoder("outputs/mnist_5k-simclr-convnet/1a2b3c4d5e")  # doctest: +SKIP
    >>> encoder(images).pooled.shape  # doctest: +SKIP
    torch.Size([16, 128])
    >>> encoder.features(images, layer=0, per="grid").shape  # doctest: +SKIP
    torch.Size([16, 32, 14, 14])
    """
    folder = encoder_folder(Path(path))
    return LoadedEncoder(exported_encoder(folder), exported_spec(folder), resize=resize)


def exported_encoder(path: str | Path) -> Encoder:
    """The network of `load_encoder` by itself, trainable, in eval mode. Raises as it does."""
    folder = encoder_folder(Path(path))
    check_sums(folder)
    about = about_encoder(folder)
    node = about["backbone"]
    try:
        if problems := check_node(node, "backbone", [Encoder]):
            raise ConfigError(problems)
        model = encoder(node, exported_spec(folder))
    except ConfigError as error:
        raise ValueError(f"{str(folder / 'config.yaml')!r}: {error}") from error
    try:
        read_weights(folder, model)
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
    return read_tokenizer(folder)


def read_checkpoint(path: Path, model: Objective) -> None:
    """Load the weights of a checkpoint into an objective. Raises ConfigError for a damaged or mismatched file."""
    try:
        state = tensors_now(checkpoint_files.load(path, mmap=False)["state_dict"])
        torch.nn.ModuleDict({"objective": model}).load_state_dict(state)  # the place that it has in `Pretrainer`
    except checkpoint_files.UNREADABLE as error:
        raise ConfigError([f"{str(path)!r} cannot be read: {checkpoint_files.reason(error)}"]) from error


def load_data(config: Config, source: DataSource) -> "DataModule":
    """Load the data. Raises ConfigError for damaged files, and for a batch that is larger than the training set."""
    from ssl_runner.data.any.module import DataModule

    here = world()
    data = DataModule(
        source,
        batch_size=config.batch_size,
        seed=config.seed,
        rank=here.rank,
        ranks=here.size,
        examples=None if of_no_use({"objective": config.objective}) else config.pretrain_examples,
    )
    if here.local_rank:
        meet()  # the first process of a machine downloads, and decodes, for all of them
    try:
        data.setup()
        data.train_dataloader()
        data.val_dataloader()
    except ValueError as error:
        raise ConfigError([str(error)]) from error
    if not here.local_rank:
        meet()
    return data
