"""READ FIRST: every abstraction of the project, and no other code.

Self-supervised learning splits an example t into two parts, (x, y) = split(t), sometimes at random, and learns
p(y | x). An objective is a class with two methods, `split` and `loss`. The other classes here describe its inputs
(`DataSpec`, `Batch`, `Encoder`) and how the encoder is evaluated afterwards (`Evaluator`, `Inspection`).

Dimension letters, in all of the project: B batch, V views, N tokens or positions, D width, C channels, H height,
W width, T time, n examples of a whole split.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from ssl_runner.figures import Figure
from ssl_runner.results import metrics
from ssl_runner.results.predictions import Answers, Predictions

# ---------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, kw_only=True)
class DataSpec(ABC):
    """The type and shape of an example; known before any data are read."""

    kind: ClassVar[str]  # for messages: "images"
    classes: int = 0  # 0: unlabeled
    class_names: tuple[str, ...] = ()
    size: int = 0  # number of pretraining examples; 0: not known yet
    other: "DataSpec | None" = None  # of the second view of each example, which a `Paired` source has

    @abstractmethod
    def to_input(self, data: Tensor) -> Tensor:
        """Convert stored examples to the input of objectives and encoders, on their device."""

    @abstractmethod
    def fake(self, n: int) -> Tensor:
        """Draw `n` random examples in stored form, to test an objective before any data are read."""


class NumericSpec(DataSpec):
    """Examples of real numbers, whatever their shape: images, vectors or clips."""

    kind: ClassVar[str] = "images, vectors or clips"

    @property
    @abstractmethod
    def shape(self) -> tuple[int, ...]:
        """Of an example."""


Stored = Literal["uint8", "uint16", "int16", "float32"]  # types of the values of images, in torch and NumPy


@dataclass(frozen=True, kw_only=True)
class ImageSpec(NumericSpec):
    """Images of any number of channels: (n, C, H, W) of the type `stored`, float in [0, 1] as input.

    Values are mapped linearly: `range[0]` to 0, `range[1]` to 1. Values outside of `range` are clipped."""

    kind: ClassVar[str] = "images"
    channels: int
    height: int
    width: int
    stored: Stored = "uint8"
    range: tuple[float, float] = (0, 255)
    box_names: tuple[str, ...] = ()  # the classes of boxes, of a dataset that is `Boxed`; empty: images have no boxes
    one_box: bool = False  # whether no image has more than one box, ignored ones aside
    tag_names: tuple[str, ...] = ()  # the classes of `Tagged`, of which an image may show several; empty: none

    @property
    def shape(self) -> tuple[int, ...]:
        return self.channels, self.height, self.width

    @property
    def plain(self) -> bool:
        """Whether values are bytes from 0 to 255."""
        return self.stored == "uint8" and self.range == (0, 255)

    def to_input(self, data: Tensor) -> Tensor:
        if self.plain:
            return data.float().div_(255)
        low, high = self.range
        return (data.float() - low).div_(high - low).clamp_(0, 1)

    def fake(self, n: int) -> Tensor:
        shape = (n, self.channels, self.height, self.width)
        if self.plain:
            return torch.randint(256, shape, dtype=torch.uint8)
        low, high = self.range
        values = low + (high - low) * torch.rand(shape)
        return values if self.stored == "float32" else values.round().to(getattr(torch, self.stored))


@dataclass(frozen=True, kw_only=True)
class LinearModel:
    """x = mean + W z + deviation e, with z and e standard normal: log p(x) and p(z | x) are known.

    Tipping, Bishop 1999, "Probabilistic Principal Component Analysis", https://doi.org/10.1111/1467-9868.00196."""

    loadings: tuple[tuple[float, ...], ...]  # W: D rows of L numbers
    mean: tuple[float, ...]  # D numbers
    deviation: float


@dataclass(frozen=True, kw_only=True)
class VectorSpec(NumericSpec):
    """Sets of vectors: (n, N, D) float, as stored and as input."""

    kind: ClassVar[str] = "vectors"
    count: int  # N
    width: int  # D
    information: float | None = None  # mutual information of the first two vectors of an example, nats; None: unknown
    linear: LinearModel | None = None  # of the one vector of an example, if it is known to follow such a model

    @property
    def shape(self) -> tuple[int, ...]:
        return self.count, self.width

    def to_input(self, data: Tensor) -> Tensor:
        return data

    def fake(self, n: int) -> Tensor:
        return torch.randn(n, self.count, self.width)


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The ids of special tokens, by role. The defaults are those of tokenizers trained here; a published tokenizer has
    others (BERT's [UNK] is 100), and may have no `eos`."""

    pad: int = 0  # padding after the end of a row
    unk: int = 1  # an out-of-vocabulary word
    cls: int = 2  # the start of a row
    sep: int = 3  # the end of a segment or document
    mask: int = 4  # a masked token; never in a corpus
    eos: int | None = 5  # the end of a sentence within a window; None: sentence ends are not marked

    @property
    def ids(self) -> tuple[int, ...]:
        """All ids that the tokenizer has."""
        return tuple(each for each in (self.pad, self.unk, self.cls, self.sep, self.mask, self.eos) if each is not None)

    def among(self, x: Tensor) -> Tensor:
        """(...) ids -> (...) bool: which of them are special. Does not synchronize with the device."""
        found = x == self.pad
        for each in self.ids[1:]:
            found = found | (x == each)
        return found

    def ordinary(self, vocabulary: int) -> Tensor:
        """(V - specials,) int64: all other ids, ascending."""
        return (~self.among(torch.arange(vocabulary))).nonzero().squeeze(1)


@dataclass(frozen=True, kw_only=True)
class TextSpec(DataSpec):
    """Text: (n, T) int32 token ids as stored, int64 as input.

    An example is a window of a corpus, a sentence or a document. A corpus is the concatenation of its documents: EOS
    ends a sentence (if the vocabulary has it), SEP a document. Windows of T tokens overlap by one token, so that each
    token but the first is predicted exactly once. A sentence is [CLS] tokens [SEP] and PAD. A longer one is truncated
    to T ids, without a SEP at the end. A document has the same form, without EOS. Sentences and documents have the
    class of their document, windows have none. A pair of segments is [CLS] a [SEP] b [SEP] and PAD: the separators
    determine the segment of each token. `special` holds these ids. In training, windows may start at another offset
    in each epoch (`data.any.tensors.MovingWindows`).
    """

    kind: ClassVar[str] = "text"
    length: int  # T
    vocabulary: int  # ids, including special ones; the setting until the corpus is read, then the actual number
    example: Literal["window", "sentence", "document"] = "window"
    tokenizer: str = ""  # JSON of the `tokenizers` library; "": not read yet
    special: SpecialTokens = SpecialTokens()
    counts: tuple[int, ...] = ()  # frequency of each id in "pretrain"; empty: unknown
    starts: tuple[bool, ...] = ()  # whether each id begins a word (a WordPiece "##s" does not); empty: all do
    ends: tuple[bool, ...] = ()  # whether any token after each id begins a word (as after punctuation); empty: none
    tokens: Mapping[str, int] = field(default_factory=dict)  # number per split, including tokens outside of windows
    words: Mapping[str, int] = field(default_factory=dict)  # number per split, before tokenization
    characters: Mapping[str, int] = field(default_factory=dict)  # likewise, including spaces and line ends
    tasks: bool = False  # whether each text is a task with examples (`OfTasks`)

    def to_input(self, data: Tensor) -> Tensor:
        return data.long()

    def fake(self, n: int) -> Tensor:
        ordinary = self.special.ordinary(self.vocabulary).int()
        return ordinary[torch.randint(len(ordinary), (n, self.length))]


@dataclass(frozen=True, kw_only=True)
class VideoSpec(NumericSpec):
    """Clips: (n, T, C, H, W) uint8 as stored, float in [0, 1] as input; frames in temporal order."""

    kind: ClassVar[str] = "video clips"
    frames: int  # T
    channels: int
    height: int
    width: int

    @property
    def shape(self) -> tuple[int, ...]:
        return self.frames, self.channels, self.height, self.width

    def to_input(self, data: Tensor) -> Tensor:
        return data.float().div_(255)

    def fake(self, n: int) -> Tensor:
        return torch.randint(256, (n, self.frames, self.channels, self.height, self.width), dtype=torch.uint8)


class Examples(NamedTuple):
    """A whole split, in memory or memory-mapped."""

    data: Tensor  # (n, ...) as stored
    label: Tensor  # (n,) int64; -1 where unlabeled


class Batch(NamedTuple):
    """A batch from the loader. It has no views and no targets: the objective makes them."""

    data: Tensor  # (B, ...); as stored from the loader, as input in `Objective.split`
    label: Tensor  # (B,) int64; -1 where unlabeled
    index: Tensor  # type: ignore[assignment]  # (B,) int64, position in the split; hides tuple.index
    other: Tensor | None = (
        None  # (B, ...) the second view of each, of a `Paired` source; stored, or as input, like data
    )


SplitName = Literal["pretrain", "train", "val", "test"]

Contents = Mapping[str, Mapping[str, Path]]  # setting that names files -> name of a file -> its path


class DataSource(ABC):
    """A dataset that a config can name: the `_target_` of each file in conf/dataset/.

    The constructor checks its settings and touches no file. `spec` and `check` may read headers.
    """

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """The type and shape of an example. Subclasses annotate the return type, which `validate` reads. Cheap.

        Raises ValueError if files that it needs (of a user) are missing or unreadable."""

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError if `load` cannot succeed, with the missing path and the key to set. Cheap; downloads and
        writes nothing."""

    def count(self) -> int | None:
        """The number of pretraining examples, from settings and headers; None: known only after `load`."""
        return None

    @abstractmethod
    def contents(self) -> Contents:
        """The files that `load` will read, by the setting that names them, then by a name that does not depend on their
        location; {} for synthetic data and data shipped with a package. In the identity of a run the contents of the
        files replace the setting. Files that are not downloaded yet are omitted. Cheap: no file is opened.

        Raises as `check` does."""

    @abstractmethod
    def load(self) -> Mapping[SplitName, Examples]:
        """Read (download, decode) all splits. "pretrain" is "train", with the unlabeled part if there is one. "val" is
        held out from train, stratified and seeded. Raises ValueError for damaged files."""


@runtime_checkable
class Streams(Protocol):
    """A DataSource that streams "pretrain"; `load` returns only a part of it."""

    def length(self) -> int:
        """Number of examples per epoch, after `load`."""

    def passes(self, *, batch: int, seed: int, rank: int, ranks: int, skip: int) -> Any:
        """A replacement for the DataLoader, yielding `Batch`es: process `rank` of `ranks` gets its share of `batch`
        examples. The first epoch starts after `skip` batches. Raises ValueError if a batch cannot be divided."""


@runtime_checkable
class Data(Protocol):
    """A loaded dataset, as evaluations see it."""

    @property
    def spec(self) -> DataSpec: ...

    def examples(self, split: SplitName) -> Examples: ...


VOID = 255  # in a mask: unknown, ignored by metrics


@runtime_checkable
class Masked(Protocol):
    """A DataSource of clips with object masks for each frame; also `Data` that provides these."""

    def masks(self, split: SplitName) -> Tensor:
        """(n, T, H, W) uint8, in the order of the split's examples: the object at each pixel, from 1; 0: background;
        `VOID`: unknown. A new tensor at each call."""


class Boxes(NamedTuple):
    """The boxes of a split, those of an image one after the other, in the order of the split's examples."""

    image: Tensor  # (m,) int64, ascending: position of its image in the split
    corners: Tensor  # (m, 4) float32: left, top, right, bottom as shares of the image's width and height, in [0, 1]
    label: Tensor  # (m,) int64: place in `ImageSpec.box_names`
    ignored: Tensor  # (m,) bool: not trained on, and neither right nor wrong if found ("difficult", a crowd)

    def of(self, place: int) -> "Boxes":
        """Those of one image."""
        first, last = torch.searchsorted(self.image, torch.tensor([place, place + 1])).tolist()
        return Boxes(*(part[first:last] for part in self))


@runtime_checkable
class Boxed(Protocol):
    """A DataSource of images with boxes, if `spec.box_names` has names; also `Data` that provides these."""

    def boxes(self, split: SplitName) -> Boxes:
        """After `load`. Raises ValueError if there are none."""


UNKNOWN = -1  # in tags: whether the image shows the class is not known; ignored by metrics


@runtime_checkable
class Tagged(Protocol):
    """A DataSource of images that may show several classes; also `Data` that provides these labels."""

    def tags(self, split: SplitName) -> Tensor:
        """(n, K) int8, in the order of the split's examples: 1 for a class of `spec.tag_names` that the image shows, 0
        for another, `UNKNOWN`. After `load`. Raises ValueError if there are none."""


@runtime_checkable
class OfVideos(Protocol):
    """A DataSource of clips that knows which video each was cut from; also `Data` that provides this."""

    def videos(self, split: SplitName) -> Tensor | None:
        """(n,) int64, in the order of the split's examples: the index of the video of each. None: unknown."""


class Task(NamedTuple):
    """A rule, by examples of it."""

    texts: Sequence[str]
    labels: Sequence[str]  # of each text, as a word


@runtime_checkable
class OfTasks(Protocol):
    """A DataSource of texts, each a task of its own; also `Data` that provides these."""

    def tasks(self, split: SplitName) -> Sequence[Task]:
        """The task of each text of a split, its examples in their order there; at least two."""


@runtime_checkable
class Paired(Protocol):
    """A DataSource with two real views of each example: `load` gives the first, `others` the second, whose type and
    shape is `spec.other`. Also `Data` that provides this."""

    def others(self, split: SplitName) -> Tensor:
        """(n, ...) as stored, in the order of the split's examples; after `load`."""


# ------------------------------------------------------------------------------------------------------------ encoders


class Features(NamedTuple):
    tokens: Tensor  # (B, N, D) one vector per position: grid cell (row-major), patch, word, frame cell
    pooled: Tensor  # (B, D) one vector per example, which evaluators read
    layers: tuple[Tensor, ...] = ()  # (B, D_i) each: pooled vectors of the blocks, input to output; only on request


class Encoder(nn.Module, ABC):
    """The network that is exported and evaluated. Constructors annotate `spec` with the DataSpec that they need."""

    kind: ClassVar[str]  # for messages: "a map encoder (...)"
    dim: int  # D
    note: str = ""  # what it chose to suit the data; printed at the start of a run
    spellings: Sequence[Mapping[str, str]] = ()  # of published files: beginning of a name of its weights -> in the file

    @abstractmethod
    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        """Encode a batch. `layers`: also return one pooled vector per block."""

    def rebuilt(self, node: Mapping[str, Any]) -> Mapping[str, Any]:
        """The config that builds this architecture again without any file or download; `node`: its own."""
        return node

    @classmethod
    def places(cls, node: Mapping[str, Any]) -> Mapping[str, Path]:
        """The files and folders that settings of its config name: setting -> path. In the identity of a run their
        contents replace the setting."""
        return {}


@dataclass(frozen=True, kw_only=True)
class Origin:
    """Where the weights of an encoder come from, and what is known of them: keys of conf/backbone/timm.yaml, and of
    `start_file`. Raises ValueError for values that clash."""

    weights: str  # "none", "pretrained" (the library's own, downloaded), or a file or folder
    source: str | None  # who published them, and where
    license: str | None
    prefix: str | None  # of their names in a file; None: the one by which most are found
    matched: float  # the least share of the encoder's tensors that a file must contain, in (0, 1]
    mean: Sequence[float] | None  # of their training images, per channel, in [0, 1]; None: the library's
    std: Sequence[float] | None
    key: str = "backbone"  # the node that the settings are of, for messages

    def __post_init__(self) -> None:
        if not 0 < self.matched <= 1:
            raise ValueError(f"{self.key}.matched is {self.matched}; it is a share of tensors and must lie in (0, 1]")
        if (self.mean is None) != (self.std is None):
            raise ValueError(f"{self.key}.mean and {self.key}.std must both be set, or both be null")
        if self.std is not None and not all(each > 0 for each in self.std):
            raise ValueError(f"{self.key}.std is {list(self.std)}; each must be above 0")
        unknown = [name for name in ("source", "license") if not getattr(self, name)]
        if self.weights != "none" and unknown:
            raise ValueError(
                f"{self.key}.{unknown[0]} is not set, and the weights are {self.weights}; say who published them and "
                f"under which license ({self.key}.source=..., {self.key}.license=...; unknown is an answer), since "
                "both are part of the result"
            )

    @property
    def file(self) -> Path | None:
        """The file or folder that `weights` names, if it names one."""
        return None if self.weights in ("none", "pretrained") else Path(self.weights).expanduser()


@runtime_checkable
class Published(Protocol):
    """An encoder around a network of a library. Its constructor reads no weights, so that neither a random start nor an
    exported encoder needs the files or the download that it began with; `assembly.weights` sets them."""

    origin: Origin

    def library_weights(self) -> Mapping[str, Tensor]:
        """The library's own weights, by its names; downloaded if need be. Raises ValueError where there are none, or
        offline, with where a file of them goes."""

    def adapted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """Weights by the library's names, in the shapes of this encoder: positions interpolated, channels summed."""

    def folder_weights(self, folder: Path) -> Mapping[str, Tensor] | None:
        """Those in a folder that the library wrote; None: it has no form of its own for a folder. Raises ValueError."""

    def library_statistics(self, file: Path | None) -> tuple[Sequence[float], Sequence[float]] | None:
        """Mean and standard deviation per channel that belong to the weights of a file or folder (None: to the
        library's own), as the library states them; None: it states none."""


@runtime_checkable
class Portable(Protocol):
    """An encoder whose network is of a library, and that can be written so that this library reads it."""

    library: Literal["torchvision", "timm", "huggingface"]  # the `format` of `ssl-export`

    def save_for_library(self, folder: Path) -> None:
        """Write the files that `library` loads, among them config.json. Raises ValueError where the network that it
        loads would not have the same features."""


class MapEncoder(Encoder):
    """Encode images of any height and width, to one vector per grid cell."""

    kind: ClassVar[str] = "a map encoder (images of any size, a vector per grid cell)"

    @abstractmethod
    def map(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, h, w): the feature map; `tokens` lists its cells in row-major order."""


@runtime_checkable
class Staged(Protocol):
    """A map encoder that computes `map` in stages, one after the other, from fine to coarse."""

    stages: nn.ModuleList  # each gives a map (B, D_i, h_i, w_i); the last one gives that of `map`


class PatchEncoder(Encoder):
    """Encode images as patches, or only a subset of the patches."""

    kind: ClassVar[str] = "a patch encoder (images, can encode a subset of patches)"
    patch: int  # side of a patch, pixels
    grid: tuple[int, int]  # patches down, patches across; N = their product
    prefix: int = 0  # tokens that its blocks have before those of patches (a class token, registers)
    any_size: ClassVar[bool] = False  # whether it reads images of other sizes, too, which patches fill

    @abstractmethod
    def forward(self, x: Tensor, keep: Tensor | None = None, *, layers: bool = False) -> Features:
        """`keep` (B, K) int64: positions of the patches to encode, row-major, to K tokens in this order. None: all."""


class ClipEncoder(Encoder):
    """Encode clips (B, T, C, H, W) of any number of frames, to one vector per cell of time and space."""

    kind: ClassVar[str] = "a clip encoder (video, a vector per cell of time and space)"
    ordered: bool = True  # whether `pooled` depends on the order of frames

    @abstractmethod
    def map(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, D, t, h, w): the feature map; `tokens` lists its cells row-major, time first."""


class FrameEncoder(ClipEncoder):
    """Encode each frame independently, so that t = T; only `pooled` combines frames."""

    kind: ClassVar[str] = "a frame encoder (video, each frame by itself)"


class TubeEncoder(ClipEncoder):
    """Encode clips as tubes (patches over several frames), or only a subset of the tubes."""

    kind: ClassVar[str] = "a tube encoder (video, can encode a subset of tubes)"
    tube: tuple[int, int, int]  # frames, pixels down, pixels across
    grid: tuple[int, int, int]  # tubes in time, down, across; N = their product

    @abstractmethod
    def forward(self, x: Tensor, keep: Tensor | None = None, *, layers: bool = False) -> Features:
        """`keep` (B, K) int64: positions of the tubes to encode, row-major, time first, to K tokens. None: all."""


class TextEncoder(Encoder):
    """Encode (B, T) int64 ids, padded at the end with PAD, to a vector per token. `pooled` is the mean over tokens that
    are not padding; `tokens` at padding are undefined. The output at a token does not depend on padding after it."""

    kind: ClassVar[str] = "an encoder of text (a vector per token)"
    special: SpecialTokens
    reach: int | None = None  # maximal length in pretraining, beyond which positions are untrained; None: any length
    embedding: nn.Embedding  # (vocabulary, E): token embeddings; the row of PAD is zero
    head: Tensor | None = None  # (vocabulary, D): weights that score tokens, of published weights; not exported

    @abstractmethod
    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, T) -> one (B, T, D_i) per layer, from the embedding to the last, which equals `tokens`."""


class TokenEncoder(TextEncoder):
    """Each position sees all positions."""

    kind: ClassVar[str] = "a token encoder (text, each position sees all others)"


class CausalEncoder(TextEncoder):
    """Position n sees only positions up to n."""

    kind: ClassVar[str] = "a causal encoder (text, each position sees only earlier ones)"


class BiCausalEncoder(TextEncoder):
    """One pass in each direction: the first half of D sees only positions up to n, the second only those from n on."""

    kind: ClassVar[str] = "a bidirectional encoder (text, one pass in each direction)"


class WordEncoder(TextEncoder):
    """One vector per word, independent of context: `tokens` are rows of `embedding`."""

    kind: ClassVar[str] = "a table of word vectors (text, each word by itself)"


class CountEncoder(TextEncoder):
    """Counts of n-grams in the examples absorbed so far; it has no gradients."""

    kind: ClassVar[str] = "a table of n-gram counts (text)"
    counts: Tensor  # (vocabulary,) int64: how often each token follows another

    @abstractmethod
    def absorb(self, before: Tensor, after: Tensor, index: Tensor) -> None:
        """Count examples: (B, T - 1) tokens, (B, T - 1) their next tokens, and (B,) `Batch.index`. An example that is
        absorbed again replaces its earlier counts."""

    @abstractmethod
    def log_probability(self, before: Tensor, after: Tensor) -> Tensor:
        """(B, N) and (B, N) -> (B, N): log p(after n | before up to n), nats; 0 where `after` is padding."""

    @abstractmethod
    def log_probabilities(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, vocabulary): log p(token after the last one that is not padding | tokens), nats."""


class MixtureEncoder(Encoder):
    """Encode examples as q(k | x), the probability that each of K components of a Gaussian mixture made x.

    It holds the mixture. Examples are flattened to (B, D), images normalized before. With quad = |(x - mean_k) F_k|^2,
    `log_joint` is -quad / 2 + bias_k and, up to a constant of normalization (`log_scale`), log p(x, k)."""

    kind: ClassVar[str] = "a mixture encoder (numbers, a probability per component)"
    exact: bool  # whether q(k | x) is the softmax of `log_joint`; else a network gives it
    covariance: Literal["full", "diagonal"]
    means: Tensor  # (K, D)
    factors: Tensor  # (K, D, D), upper triangular; (K, D) if diagonal: F F^T is the precision of a component
    bias: Tensor  # (K,)

    @abstractmethod
    def flat(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, D) float32 (float64 stays): the numbers that the mixture is of."""

    @abstractmethod
    def log_q(self, x: Tensor) -> Tensor:
        """(B, ...) -> (B, K): log q(k | x)."""

    @abstractmethod
    def log_scale(self) -> Tensor:
        """(): log of the factor by which a density of `flat` is multiplied to be one of the input, nats."""

    @abstractmethod
    def unflat(self, values: Tensor) -> Tensor:
        """(n, D) -> (n, ...): the inverse of `flat`."""


# ---------------------------------------------------------------------------------------------------------- objectives

X = TypeVar("X")
Y = TypeVar("Y")
Made = TypeVar("Made")


class Views(nn.Module, ABC):
    """Draw random views of a batch on its device, with independent random parameters per example and view."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (V, B, C, h, w) in [0, 1]; of clips, (B, T, C, H, W) -> (V, B, t, C, h, w); of
        vectors, (B, N, D) -> (V, B, n, D); of texts, (B, T) -> (V, B, t)."""


def another(count: int, device: torch.device) -> Tensor:
    """(count,) int64: a random cyclic permutation, which maps each example to another one if count > 1."""
    order = torch.randperm(count, device=device)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


class Loss(NamedTuple):
    value: Tensor  # (), minimized
    logs: Mapping[str, Tensor] = {}  # () each, detached; logged under train/ or val/
    carry: Any = None  # passed to `after_step`: new keys, teacher means, counts


LOGGED: Mapping[str, metrics.Kind] = {  # logs that several objectives have
    "accuracy": metrics.RIGHT,
    "chance": metrics.BASELINE,
    "judge_accuracy": metrics.BASELINE,
    "bits": metrics.Kind(metrics.Unit.BITS, metrics.Better.LOWER),
    "elbo": metrics.Kind(metrics.Unit.NATS, metrics.Better.HIGHER),
    "kl": metrics.Kind(metrics.Unit.NATS),
    "information_bound": metrics.Kind(metrics.Unit.NATS, metrics.Better.HIGHER),
    "log_candidates": metrics.Kind(metrics.Unit.NATS),
}


class Objective(nn.Module, ABC, Generic[X, Y]):
    """A self-supervised task. X and Y are tensors, or NamedTuples of tensors with descriptive field names, by which the
    preview draws them; those of an objective that `Combines` others are tuples of these."""

    encoder: Encoder  # trained by gradients; one of the second view of each example is besides (`reads_pairs`)
    trains: ClassVar[bool] = True  # whether there is anything to pretrain
    collapse: ClassVar[str] = (  # for the warning: the likely cause of a collapse and the settings to change
        "the loss has a trivial solution, or the learning rate is too high: lower optimizer.lr"
    )
    logged: ClassVar[Mapping[str, metrics.Kind]] = LOGGED  # units of logs; others are plain numbers
    reads_pairs: ClassVar[bool] = False  # whether it reads `Batch.other`: the data must be `Paired`
    counts_examples: ClassVar[bool] = False  # whether it uses `Batch.index`: examples must be the same in all epochs
    floors: ClassVar[Mapping[str, float]] = {}  # logs that indicate a collapse: name -> threshold below which it has

    @property
    def exported(self) -> Encoder:
        """The encoder that is exported, evaluated and monitored. Override it to use a copy of `encoder`, such as the
        teacher of DINO."""
        return self.encoder

    @property
    def second(self) -> Encoder | None:
        """The encoder of the second views, if there is one (`reads_pairs`); it is not exported."""
        return None

    @abstractmethod
    def split(self, batch: Batch) -> tuple[X, Y]:
        """Draw the input x and the target y of a batch. Leaves the batch and the module unchanged."""

    @abstractmethod
    def loss(self, x: X, y: Y) -> Loss:
        """-log p(y | x) or a surrogate. Changes no state, except for running statistics of BatchNorm."""

    def shuffle(self, x: X, y: Y) -> tuple[X, Y]:
        """Make x and y independent and change nothing else: the control `shuffled_target`, applied after `split`.

        By default each example gets the y of another one, by one permutation for all tensors of y. The distribution
        of y stays the same, and x carries no information about it. The first dimension of each tensor of y must be the
        batch. Override it if it is not, or if y only states which parts of x belong together (views of one image):
        then leave y, and combine parts of different examples in x, as `views.mismatch` does. Shapes, types, batch and
        module stay unchanged. Randomness comes from torch's global generator.
        """
        parts: Any = (y,) if isinstance(y, Tensor) else y
        chosen = another(len(parts[0]), parts[0].device)
        given: Any = [part[chosen] for part in parts]
        return x, given[0] if isinstance(y, Tensor) else type(y)(*given)

    def after_step(self, carries: Sequence[Any], progress: float) -> None:
        """Update state that has no gradient: momentum encoders, queues, centers. `progress`: of the budget, in [0, 1].

        `carries`: `Loss.carry` of each batch of the step, in order; more than one with `trainer.accumulate`. All
        batches of a step have the same size. State that is updated once per step (an average, a center) must be
        updated as by a single batch of all these examples.
        """

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups: "params", and optionally "lr_scale", and "scheduled": False for a learning rate that stays
        at its peak. One by default; two with an adversary."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]

    def frozen(self, progress: float) -> Sequence[nn.Parameter]:
        """Parameters that do not move in a step at `progress`: of the budget, in [0, 1]. None by default."""
        return ()


@runtime_checkable
class Combines(Protocol):
    """An objective made of others on one encoder: its x and y are tuples with an entry for each of them."""

    def combined(self) -> Mapping[str, Objective[Any, Any]]:
        """The parts by name, in the order of x and y."""


@runtime_checkable
class Predicts(Protocol):
    """An objective that can predict y."""

    def predict(self, x: Any) -> Any:
        """The expected or most probable y, in the form of y."""


@runtime_checkable
class Tells(Protocol):
    """An objective that says y in words, for pictures of its task."""

    def tell(self, y: Any) -> Sequence[str]:
        """The answer to each of B examples: "270 degrees", "backwards"; views and clips are counted from 1."""


@runtime_checkable
class TellsInText(Protocol):
    """An objective of text that shows x and y better than as rows of tokens: hidden words in their gaps, a word apart
    from those around it."""

    def passages(self, x: Any, y: Any, read: Callable[[Sequence[int]], str]) -> Mapping[str, Sequence[str]]:
        """B texts by what they show of x and y: "y, in their gaps". y may be what is predicted of it. `read`: ids as
        text."""


@runtime_checkable
class InPieces(Protocol):
    """An objective whose x is an image put together of pieces."""

    def apart(self, x: Any) -> Tensor:
        """(B, C, H, W) in [0, 1]: x with gaps between its pieces, to be looked at."""


@runtime_checkable
class Reconstructs(Protocol):
    """An objective that can reconstruct a whole image."""

    def reconstruct(self, x: Any) -> Tensor:
        """(B, C, H, W) in [0, 1]: the reconstructed image, given x, which shows a part of it."""

    def compared(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, c, H, W) in [0, 1]: the values to compare, often the image itself."""

    def hidden(self, x: Any) -> Tensor:
        """(B, c, H, W) bool: which of these values x does not show; all of them for an autoencoder."""

    def hides(self) -> Mapping[str, str | int | float]:
        """What is hidden, and all settings that determine how much and where: {"pixels": "hidden patches", ...}."""


@runtime_checkable
class PredictsFuture(Protocol):
    """An objective whose x are frames (B, P, C, H, W), and whose y are the frames after them."""

    def foresee(self, x: Tensor) -> Tensor:
        """(B, P, C, H, W) -> (B, K, C, H, W) in [0, 1]: the predicted next frames, in temporal order."""


@runtime_checkable
class Contrasts(Protocol):
    """An objective with a critic that scores pairs of views."""

    def critic(self, x: Any) -> Tensor:
        """(B, B): log p(view 2 of example j | view 1 of i) / p(view 2 of j) in nats, up to a constant per i."""


@runtime_checkable
class Generates(Protocol):
    """An objective that generates images from latent codes z with a standard normal prior."""

    def encode(self, x: Any) -> Tensor:
        """(B, L): the expected code of each example."""

    def decode(self, z: Tensor) -> Tensor:
        """(n, L) codes -> (n, C, H, W) in [0, 1]: the expected image of each."""

    def sample(self, n: int) -> Tensor:
        """(n, C, H, W) in [0, 1]: the expected images of `n` codes drawn from the prior."""


@runtime_checkable
class Writes(Protocol):
    """An objective that generates texts from latent codes; if it also `Bounds`, their prior is standard normal."""

    def encode(self, x: Any) -> Tensor:
        """(B, L): the code of each example, or its expectation."""

    def write(self, z: Tensor) -> Tensor:
        """(n, L) codes -> (n, T) int64: a text per code, by greedy decoding; PAD after its end."""


@runtime_checkable
class Quantizes(Protocol):
    """An objective that turns an image into a grid of discrete codes, and such a grid into an image."""

    def tokens(self, image: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, h, w) int64: the code of each cell, from 0."""

    def program(self) -> Mapping[str, Tensor]:
        """What `nn.code_decoder.CodeDecoder` needs to make images of codes."""


@runtime_checkable
class Bounds(Protocol):
    """An objective with latent codes z ~ N(0, I), whose posterior q(z | x) gives a lower bound on log p(y)."""

    def density(self) -> Mapping[str, Any]:
        """The family of p(y | z), and all that determines its unit: {"family": "gaussian", "deviation": 0.1}."""

    def posterior(self, x: Any) -> tuple[Tensor, Tensor]:
        """(B, L) and (B, L): mean and standard deviation of q(z | x), as a network gives it; of each latent by itself,
        if it is no diagonal normal distribution."""

    def log_weights(self, x: Any, y: Any, samples: int) -> Tensor:
        """(samples, B): log p(y, z) - log q(z | x) of codes z drawn from q(z | x); nats."""


class Parts(NamedTuple):
    """log p(y) of B examples in two parts, (B,) each, nats: log_p = elbo + kl, if the draws of both are the same."""

    log_p: Tensor  # log p(y), exact
    elbo: Tensor  # E_q[log p(y, z) - log q(z | x)]
    kl: Tensor  # KL(q(z | x) || p(z | y)): what the bound leaves, computed by itself


@runtime_checkable
class Decomposes(Protocol):
    """An objective with latent variables whose p(y) and p(z | y) are known, so that the gap of its bound is."""

    def family(self) -> str:
        """What q(z | x) can be, and how it is found: "diagonal normal, by a network"."""

    def decompose(self, x: Any, y: Any, samples: int) -> Parts:
        """`samples`: draws of z for each example, where an expectation has no closed form. Raises ValueError where
        log p(y) is unknown, with the setting to change."""


@runtime_checkable
class PredictsNext(Protocol):
    """An objective that predicts each token of a text from the tokens before it."""

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T - 1): log p(token n + 1 | tokens up to n), nats; 0 where token n + 1 is padding."""

    def next_logits(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, vocabulary): log p(next token | tokens), up to a constant per example."""


@runtime_checkable
class FillsIn(Protocol):
    """An objective that masks tokens of a text and predicts them."""

    def hidden(self, x: Any, y: Any) -> Tensor:
        """(B, K) int64: the masked tokens; PAD where an example has fewer than K, or x shows the token."""

    def hides(self) -> Mapping[str, Any]:
        """All settings that determine which tokens are masked, and how many; a term of the protocol."""

    def fill_in(self, x: Any) -> Tensor:
        """(B, K) int64: the most probable token at each of these positions."""


@runtime_checkable
class PredictsHidden(Protocol):
    """An objective that predicts any token of a text from all others."""

    def pseudo_log_likelihood(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T): log p(token n | all others), each hidden in turn; nats; 0 at special tokens."""


# ---------------------------------------------------------------------------------------------------------- evaluation


class Finding(NamedTuple):
    """The result of one evaluation of one subject."""

    metrics: Sequence[metrics.Metric]
    protocol: metrics.Protocol = metrics.Protocol()
    figures: Mapping[str, Figure] = {}
    predictions: Sequence[Predictions] = ()  # of a classifier, for each split that it was asked about
    answers: Sequence[Answers] = ()  # to questions, likewise


class Subject(Protocol):
    """A frozen encoder with labeled data: the input of an evaluator."""

    encoder: Encoder  # in eval mode, on `device`; evaluators must not change its weights or mode
    data: Data
    seed: int
    device: torch.device

    def features(self, split: SplitName, layer: str = "pooled") -> Examples:
        """(n, D) float32 features on the CPU and the labels of a split, extracted once and shared by all evaluators.
        `layer`: "pooled", or a block counted from the end, such as "-2"."""

    def once(self, key: tuple[Hashable, ...], compute: Callable[[], Made]) -> Made:
        """What `compute` gives, computed once for all evaluators that ask with an equal key."""


class Evaluator(ABC):
    """Evaluates a frozen encoder on data, whatever the objective. Controls (random start, pixels) use the same call.

    Each metric has a unit and a direction. The settings of the config are terms of the protocol.
    """

    needs_labels: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = False  # whether `subject.data` must be `Masked`
    needs_boxes: ClassVar[bool] = False  # whether `subject.data` must be `Boxed`
    needs_tags: ClassVar[bool] = False  # whether `subject.data` must be `Tagged`
    encoders: ClassVar[tuple[type[Encoder], ...]] = (Encoder,)  # kinds that it supports
    reads: ClassVar[type[Any]] = DataSpec  # the DataSpec that it supports
    reads_blocks: ClassVar[bool] = False  # whether it asks for the features of all blocks
    pixels_are_control: ClassVar[bool] = True  # whether pixels, or bags of words, are a control
    presentation: ClassVar[frozenset[str]] = (
        frozenset()
    )  # settings that do not define a number: presentation, or paths, whose contents count instead
    contents: Contents = {}  # files that it reads, as in `DataSource.contents`; set by constructors

    def check(self, spec: Any) -> None:  # noqa: B027
        """Raise ValueError if the settings do not fit `spec`, a `DataSpec`; called before training."""

    def check_encoder(self, encoder: Encoder, spec: Any) -> None:  # noqa: B027
        """Raise ValueError if the settings do not fit an encoder of data of `spec`; likewise. Leaves it as it is."""

    @abstractmethod
    def __call__(self, subject: Subject) -> Finding:
        """Choose hyperparameters on "train" and "val"; use "test" once."""


@runtime_checkable
class ReadsTexts(Protocol):
    """An evaluator that reads texts of its own, rather than those of the run."""

    length: int  # tokens per text that are read, at most the encoder's `reach`


class Inspection(ABC):
    """Evaluates an objective at its own task on held-out data. Subclasses annotate `objective` with a Protocol."""

    reads: ClassVar[type[Any]] = DataSpec  # the DataSpec that it supports
    presentation: ClassVar[frozenset[str]] = frozenset()  # as in `Evaluator`
    contents: Contents = {}  # as in `Evaluator`
    task_terms: ClassVar[frozenset[str] | None] = frozenset()  # settings of the objective that are terms; None: all

    def check(self, spec: Any) -> None:  # noqa: B027
        """See `Evaluator.check`."""

    @abstractmethod
    def __call__(self, objective: Any, subject: Subject) -> Finding: ...
