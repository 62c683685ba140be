"""READ FIRST: every abstraction of the project, and no other code.

An example t is split into two parts, (x, y) = split(t), sometimes at random, and p(y | x) is learned. An objective is a
class with these two methods, `split` and `loss`; all else here says what it is given (`DataSpec`, `Batch`, `Encoder`)
and what is asked of its encoder afterwards (`Evaluator`, `Inspection`).

Dimension letters, in all of the project: B batch, V views, N tokens or places, D width, C channels, H height, W width,
T time, n examples of a whole split.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar, Generic, Literal, NamedTuple, Protocol, TypeVar, runtime_checkable

import torch
from torch import Tensor, nn

from ssl_runner.figures import Figure
from ssl_runner.results import metrics

# ---------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, kw_only=True)
class DataSpec(ABC):
    """What one example is; known before any data are read."""

    kind: ClassVar[str]  # in words, for messages: "images"
    classes: int = 0  # 0: unlabeled
    class_names: tuple[str, ...] = ()
    size: int = 0  # examples to pretrain on; 0: not known yet

    @abstractmethod
    def to_input(self, data: Tensor) -> Tensor:
        """Turn examples as they are stored into what objectives and encoders read, on the device they are on."""

    @abstractmethod
    def fake(self, n: int) -> Tensor:
        """Draw `n` random examples as they are stored, to try an objective before any data are read."""


@dataclass(frozen=True, kw_only=True)
class ImageSpec(DataSpec):
    """Images: (n, C, H, W) uint8 as stored, float in [0, 1] as input."""

    kind: ClassVar[str] = "images"
    channels: int
    height: int
    width: int

    def to_input(self, data: Tensor) -> Tensor:
        return data.float().div_(255)

    def fake(self, n: int) -> Tensor:
        return torch.randint(256, (n, self.channels, self.height, self.width), dtype=torch.uint8)


@dataclass(frozen=True, kw_only=True)
class VectorSpec(DataSpec):
    """Sets of vectors: (n, N, D) float, as stored and as input."""

    kind: ClassVar[str] = "vectors"
    count: int  # N of an example
    width: int  # D
    information: float | None = None  # between the first two vectors of an example, nats; None: not known

    def to_input(self, data: Tensor) -> Tensor:
        return data

    def fake(self, n: int) -> Tensor:
        return torch.randn(n, self.count, self.width)


@dataclass(frozen=True, kw_only=True)
class SpecialTokens:
    """The ids of a vocabulary that are no words, by what they are for. The defaults are those of tokenizers learned
    here; a published tokenizer has others (BERT's [UNK] is 100), and may have no `eos`."""

    pad: int = 0  # fills a row after its end
    unk: int = 1  # a word that the vocabulary lacks
    cls: int = 2  # begins a row
    sep: int = 3  # ends a segment, or a document
    mask: int = 4  # hides a token; never in a corpus
    eos: int | None = 5  # ends a sentence in a window; None: ends of sentences are not marked there

    @property
    def ids(self) -> tuple[int, ...]:
        """Those that there are."""
        return tuple(each for each in (self.pad, self.unk, self.cls, self.sep, self.mask, self.eos) if each is not None)

    def among(self, x: Tensor) -> Tensor:
        """(...) ids -> (...) bool: which of them are special. Without waiting for the device."""
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

    An example is a window of a corpus, a sentence or a document. A corpus is its documents in a row: EOS ends a
    sentence (where the vocabulary has one), SEP a document. Windows of T tokens overlap by one, so that each token but
    the first is the next one of some window once. A sentence is [CLS] tokens [SEP] and PAD; of one that is longer, the
    first T of these ids, so that no SEP says that it ends there. So is a document, without EOS in it: it has the
    document's class, as a sentence has, and a window has none. A pair of segments is [CLS] a [SEP] b [SEP] and PAD:
    which segment a token belongs to follows from the separators before it. MASK is never in a corpus. `special` says
    which ids these are. In training, windows may begin further on in each epoch (`data.tensors.MovingWindows`).
    """

    kind: ClassVar[str] = "text"
    length: int  # T
    vocabulary: int  # ids, special ones included; as set until the corpus is read, then as it is
    example: Literal["window", "sentence", "document"] = "window"  # a document is a row like a sentence
    tokenizer: str = ""  # JSON of the `tokenizers` library; "": not read yet
    special: SpecialTokens = SpecialTokens()
    counts: tuple[int, ...] = ()  # how often each id is in "pretrain"; empty: not known
    starts: tuple[bool, ...] = ()  # whether each id begins a word (a WordPiece "##s" does not); empty: all do
    ends: tuple[bool, ...] = ()  # whether whatever follows each id begins a word (after a mark); empty: after none
    tokens: Mapping[str, int] = field(default_factory=dict)  # of each split, with what its windows leave over
    words: Mapping[str, int] = field(default_factory=dict)  # in the text of each split, before it was cut in tokens
    characters: Mapping[str, int] = field(default_factory=dict)  # likewise, spaces and ends of lines included

    def to_input(self, data: Tensor) -> Tensor:
        return data.long()

    def fake(self, n: int) -> Tensor:
        ordinary = self.special.ordinary(self.vocabulary).int()
        return ordinary[torch.randint(len(ordinary), (n, self.length))]


@dataclass(frozen=True, kw_only=True)
class VideoSpec(DataSpec):
    """Clips: (n, T, C, H, W) uint8 as stored, float in [0, 1] as input; frames in the order of time."""

    kind: ClassVar[str] = "video clips"
    frames: int  # T
    channels: int
    height: int
    width: int

    def to_input(self, data: Tensor) -> Tensor:
        return data.float().div_(255)

    def fake(self, n: int) -> Tensor:
        return torch.randint(256, (n, self.frames, self.channels, self.height, self.width), dtype=torch.uint8)


class Examples(NamedTuple):
    """A whole split, in memory or memory-mapped."""

    data: Tensor  # (n, ...) as stored
    label: Tensor  # (n,) int64; -1 where unlabeled


class Batch(NamedTuple):
    """A batch as the loader gives it: no views, no targets; those are the objective's business."""

    data: Tensor  # (B, ...); as stored from the loader, as input in `Objective.split`
    label: Tensor  # (B,) int64; -1 where unlabeled
    index: Tensor  # type: ignore[assignment]  # (B,) int64, the example's place in the split; hides tuple.index


SplitName = Literal["pretrain", "train", "val", "test"]

Contents = Mapping[str, Mapping[str, Path]]  # setting that leads to files -> name among the data -> where it lies


class DataSource(ABC):
    """A dataset as a config names it: `_target_` of every file in conf/dataset/.

    A constructor only takes its settings and refuses bad values; it touches no file. `spec`, `check` may read headers.
    """

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """What an example is. Annotate the subclass: `validate` reads it. Cheap.

        Raises ValueError where it takes files (a user's own) that are missing or unreadable."""

    @abstractmethod
    def check(self) -> None:
        """Raise ValueError if `load` is bound to fail: what is missing, where it was looked for, what to set. Cheap;
        downloads and writes nothing."""

    def count(self) -> int | None:
        """Examples to pretrain on, where settings and headers tell; None: that is known once they are read."""
        return None

    @abstractmethod
    def contents(self) -> Contents:
        """The files that `load` will read, by the setting that leads to them, each by a name that does not change when
        all are moved; {} for what is made, or shipped by a package. Their contents stand for the setting where it is
        asked whether a run was done on the same data. Not yet downloaded, they are left out. Cheap: none is opened.

        May raise as `check` does."""

    @abstractmethod
    def load(self) -> Mapping[SplitName, Examples]:
        """Read (download, decode) all splits. "pretrain" is what is pretrained on: "train", with more where the dataset
        has an unlabeled part. "val" is held out of train, stratified, seeded. Raises ValueError for damaged files."""


@runtime_checkable
class Streams(Protocol):
    """A DataSource whose "pretrain" is read as it is needed; `load` gives of it no more than a part."""

    def length(self) -> int:
        """Examples of an epoch, after `load`."""

    def passes(self, *, batch: int, seed: int, rank: int, ranks: int, skip: int) -> Any:
        """What stands for a DataLoader, of `Batch`es: process `rank` of `ranks` gets its part of `batch` examples
        each. `skip` batches of the first epoch were seen before. Raises ValueError where they cannot be shared."""


@runtime_checkable
class Data(Protocol):
    """What evaluations see of a loaded dataset."""

    @property
    def spec(self) -> DataSpec: ...

    def examples(self, split: SplitName) -> Examples: ...


VOID = 255  # in a mask: not told, so that it counts for nothing


@runtime_checkable
class Masked(Protocol):
    """A DataSource of clips that knows where things are in every frame; `Data` that passes it on."""

    def masks(self, split: SplitName) -> Tensor:
        """(n, T, H, W) uint8, in the order of the split's examples: which thing each pixel shows, from 1; 0: the
        ground; `VOID`: not told. Made anew at each call."""


@runtime_checkable
class OfVideos(Protocol):
    """A DataSource of clips that knows which of them were cut out of one video; `Data` that passes it on."""

    def videos(self, split: SplitName) -> Tensor | None:
        """(n,) int64, in the order of the split's examples: the number of each one's video. None: it is not known."""


# ------------------------------------------------------------------------------------------------------------ encoders


class Features(NamedTuple):
    tokens: Tensor  # (B, N, D) one vector a place: grid cell (row-major), patch, word, frame cell
    pooled: Tensor  # (B, D) one vector an example: what evaluators read
    layers: tuple[Tensor, ...] = ()  # (B, D_i) each, one pooled vector a block, input to output; empty unless asked for


class Encoder(nn.Module, ABC):
    """The part that is kept. Subclasses annotate `spec` in their constructor with the data they read."""

    kind: ClassVar[str]  # in words, for messages: "a map encoder (...)"
    dim: int  # D
    note: str = ""  # what it chose by itself to suit the data, in words; said when a run begins

    @abstractmethod
    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        """Encode a batch of input. `layers` asks for one pooled vector of each block too."""


class MapEncoder(Encoder):
    """Images of any height and width, a vector per grid cell."""

    kind: ClassVar[str] = "a map encoder (images of any size, a vector per grid cell)"

    @abstractmethod
    def map(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> (B, D, h, w): the grid of which `tokens` is the row-major list."""


class PatchEncoder(Encoder):
    """Images cut in patches, of which it can encode a chosen few."""

    kind: ClassVar[str] = "a patch encoder (images, can encode a subset of patches)"
    patch: int  # side of a patch, pixels
    grid: tuple[int, int]  # patches down, patches across; N = their product

    @abstractmethod
    def forward(self, x: Tensor, keep: Tensor | None = None, *, layers: bool = False) -> Features:
        """`keep` (B, K) int64: the places to encode, row-major; K tokens in its order. None: all."""


class ClipEncoder(Encoder):
    """Clips of any number of frames, a vector per cell of time and space. Reads (B, T, C, H, W)."""

    kind: ClassVar[str] = "a clip encoder (video, a vector per cell of time and space)"
    ordered: bool = True  # whether `pooled` depends on the order of frames

    @abstractmethod
    def map(self, x: Tensor) -> Tensor:
        """(B, T, C, H, W) -> (B, D, t, h, w): the grid of which `tokens` is the row-major list, time first."""


class FrameEncoder(ClipEncoder):
    """Each frame is encoded for itself, and time comes in only where `pooled` is made: t is T."""

    kind: ClassVar[str] = "a frame encoder (video, each frame by itself)"


class TubeEncoder(ClipEncoder):
    """Clips cut in tubes (patches with a length in time), of which it can encode a chosen few."""

    kind: ClassVar[str] = "a tube encoder (video, can encode a subset of tubes)"
    tube: tuple[int, int, int]  # frames, pixels down, pixels across
    grid: tuple[int, int, int]  # tubes in time, down, across; N = their product

    @abstractmethod
    def forward(self, x: Tensor, keep: Tensor | None = None, *, layers: bool = False) -> Features:
        """`keep` (B, K) int64: the places to encode, row-major, time first; K tokens in its order. None: all."""


class TextEncoder(Encoder):
    """Text, a vector per token. Reads (B, T) int64 ids, padded at the end by PAD; `pooled` is the mean over what is no
    padding, `tokens` at padding are not to be read. What stands at a place does not depend on the padding after it."""

    kind: ClassVar[str] = "an encoder of text (a vector per token)"
    special: SpecialTokens
    reach: int | None = None  # tokens that pretraining shows it at most, and so positions that it learned; None: any
    embedding: nn.Embedding  # (vocabulary, E): the vector of each token before it meets others; row PAD is zero

    @abstractmethod
    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        """(B, T) -> one (B, T, D_i) a layer, the embedding first, the last equal to `tokens`."""


class TokenEncoder(TextEncoder):
    """Every position sees every other."""

    kind: ClassVar[str] = "a token encoder (text, each position sees all others)"


class CausalEncoder(TextEncoder):
    """Position n sees positions up to n alone."""

    kind: ClassVar[str] = "a causal encoder (text, each position sees only earlier ones)"


class BiCausalEncoder(TextEncoder):
    """Read once in each direction: the first half of D has seen positions up to n alone, the second those from n on."""

    kind: ClassVar[str] = "a bidirectional encoder (text, one pass in each direction)"


class WordEncoder(TextEncoder):
    """A vector per word, whatever stands beside it: `tokens` are rows of `embedding`."""

    kind: ClassVar[str] = "a table of word vectors (text, each word by itself)"


class CountEncoder(TextEncoder):
    """What followed what in the examples that it has absorbed; no gradient moves it."""

    kind: ClassVar[str] = "a table of n-gram counts (text)"
    counts: Tensor  # (vocabulary,) int64: how often each token followed another

    @abstractmethod
    def absorb(self, before: Tensor, after: Tensor, index: Tensor) -> None:
        """Count examples: (B, T - 1) tokens, what follows each of them, and (B,) `Batch.index`. One that is absorbed
        again is counted once, as it is then."""

    @abstractmethod
    def log_probability(self, before: Tensor, after: Tensor) -> Tensor:
        """(B, N) and (B, N) -> (B, N): log p(after n | before up to n), nats; 0 where `after` is padding."""

    @abstractmethod
    def log_probabilities(self, tokens: Tensor) -> Tensor:
        """(B, T) -> (B, vocabulary): log p(what follows the last token that is no padding | tokens), nats."""


# ---------------------------------------------------------------------------------------------------------- objectives

X = TypeVar("X")
Y = TypeVar("Y")


class Views(nn.Module, ABC):
    """Draw random views of each example, batched, on the batch's device, each with random parameters of its own."""

    @abstractmethod
    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (V, B, C, h, w) in [0, 1]; of clips, (B, T, C, H, W) -> (V, B, t, C, h, w); of
        vectors, (B, N, D) -> (V, B, n, D); of texts, (B, T) -> (V, B, t)."""


def another(count: int, device: torch.device) -> Tensor:
    """(count,) int64: for each example the place of another one, by a random cycle; none keeps its own if count > 1."""
    order = torch.randperm(count, device=device)
    return torch.empty_like(order).scatter_(0, order, order.roll(1))


class Loss(NamedTuple):
    value: Tensor  # () minimized
    logs: Mapping[str, Tensor] = {}  # () each, detached; logged under train/ or val/
    carry: Any = None  # what `after_step` absorbs of this batch: new keys, teacher means, counts


LOGGED: Mapping[str, metrics.Kind] = {  # what several objectives log
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
    """A self-supervised task. X and Y are tensors or NamedTuples of tensors with telling field names: the preview draws
    them by name and shape."""

    encoder: Encoder  # the one that gradients train
    collapse: ClassVar[str] = (  # the likely cause of a collapse and the settings to change, in words: for the warning
        "the loss has a trivial solution, or the learning rate is too high: lower optimizer.lr"
    )
    logged: ClassVar[Mapping[str, metrics.Kind]] = LOGGED  # what logs are; all others are plain numbers
    counts_examples: ClassVar[bool] = False  # whether it knows examples by `Batch.index`: each is the same every epoch
    floors: ClassVar[Mapping[str, float]] = {}  # logs that show a collapse: name -> the value below which it has come

    @property
    def exported(self) -> Encoder:
        """The encoder that is kept: exported, evaluated, and watched in training. `encoder` is the one that gradients
        train. Override it where a copy is kept in its place, as the teacher of DINO is."""
        return self.encoder

    @abstractmethod
    def split(self, batch: Batch) -> tuple[X, Y]:
        """Draw the task: what is seen, what is to be said of it. Batched; leaves the batch and the module unchanged."""

    @abstractmethod
    def loss(self, x: X, y: Y) -> Loss:
        """-log p(y | x) or its surrogate. Changes no state (BatchNorm's running statistics apart)."""

    def shuffle(self, x: X, y: Y) -> tuple[X, Y]:
        """Break the tie between x and y and nothing else: the control `shuffled_target`, drawn after `split`.

        Here: every example gets the y of another one, all tensors of y by the same draw; so what is asked stays as it
        was in the mean, and no x says anything of it. The tensors of y must have the batch as their first dimension.
        Override it where they have not, or where y says no more than which parts of x belong together (views of one
        image): there, let x put together what does not belong together, as `views.mismatch` does, and leave y as it is.
        Shapes and types stay; batch and module too; randomness comes from torch's global generator.
        """
        parts: Any = (y,) if isinstance(y, Tensor) else y
        chosen = another(len(parts[0]), parts[0].device)
        given: Any = [part[chosen] for part in parts]
        return x, given[0] if isinstance(y, Tensor) else type(y)(*given)

    def after_step(self, carries: Sequence[Any], progress: float) -> None:
        """Move what no gradient moves: momentum encoders, queues, centers. `progress` of the budget, in [0, 1].

        `carries`: what `Loss.carry` was of each batch of the step, in their order; several with `trainer.accumulate`.
        All batches of a step are of one size. What moves once a step (an average, a center) moves by all of them at
        once, as it would by one batch that holds them all.
        """

    def groups(self) -> list[dict[str, Any]]:
        """Parameter groups: "params", and optionally "lr_scale". One by default; two for an adversary."""
        return [{"params": [p for p in self.parameters() if p.requires_grad]}]


@runtime_checkable
class Predicts(Protocol):
    """An objective that can say what it expects y to be."""

    def predict(self, x: Any) -> Any:
        """The expected or most probable y, in the form of y."""


@runtime_checkable
class Reconstructs(Protocol):
    """An objective that can fill in a whole image."""

    def reconstruct(self, x: Any) -> Tensor:
        """(B, C, H, W) in [0, 1]: the image of which x shows a part."""

    def compared(self, image: Tensor) -> Tensor:
        """(B, C, H, W) in [0, 1] -> (B, c, H, W), in [0, 1]: the values that errors are taken of, often the image."""

    def hidden(self, x: Any) -> Tensor:
        """(B, c, H, W) bool: which of these values x does not show, or, of an autoencoder, all of them."""

    def hides(self) -> Mapping[str, str | int | float]:
        """Which values those are, and all settings that say how many and where: {"pixels": "hidden patches", ...}."""


@runtime_checkable
class PredictsFuture(Protocol):
    """An objective whose x are frames (B, P, C, H, W), and whose y are those that come after them."""

    def foresee(self, x: Tensor) -> Tensor:
        """(B, P, C, H, W) -> (B, K, C, H, W) in [0, 1]: the frames that are expected next, nearest first."""


@runtime_checkable
class Contrasts(Protocol):
    """An objective that can say how well two views go together."""

    def critic(self, x: Any) -> Tensor:
        """(B, B): log p(view 2 of example j | view 1 of i) / p(view 2 of j) in nats, up to a number for each i."""


@runtime_checkable
class Generates(Protocol):
    """An objective that draws whole images from codes z with a standard normal prior."""

    def encode(self, x: Any) -> Tensor:
        """(B, L): the expected code of each example."""

    def decode(self, z: Tensor) -> Tensor:
        """(n, L) codes -> (n, C, H, W) in [0, 1]: the expected image of each."""

    def sample(self, n: int) -> Tensor:
        """(n, C, H, W) in [0, 1]: the expected images of `n` codes drawn from the prior."""


@runtime_checkable
class Writes(Protocol):
    """An objective that writes whole texts from codes; where it `Bounds` too, their prior is standard normal."""

    def encode(self, x: Any) -> Tensor:
        """(B, L): the code of each example, or the one that is expected."""

    def write(self, z: Tensor) -> Tensor:
        """(n, L) codes -> (n, T) int64: a text of each, token by token the most probable one; PAD after its end."""


@runtime_checkable
class Bounds(Protocol):
    """An objective with a latent code z ~ N(0, I), whose posterior q(z | x) bounds log p(y) from below."""

    def density(self) -> Mapping[str, Any]:
        """That of y given z, with all that fixes its unit: {"family": "gaussian", "deviation": 0.1}."""

    def posterior(self, x: Any) -> tuple[Tensor, Tensor]:
        """(B, L) and (B, L): mean and standard deviation of q(z | x), a normal distribution without correlations."""

    def log_weights(self, x: Any, y: Any, samples: int) -> Tensor:
        """(samples, B): log p(y, z) - log q(z | x) of codes z drawn from q(z | x); nats."""


@runtime_checkable
class PredictsNext(Protocol):
    """An objective that gives every token of a text a probability, from those before it."""

    def log_likelihood(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, T - 1): log p(token n + 1 | tokens up to n), nats; 0 where that token is padding."""

    def next_logits(self, tokens: Tensor) -> Tensor:
        """(B, T) int64 -> (B, vocabulary): log p(next token | tokens), up to a number for each example."""


@runtime_checkable
class FillsIn(Protocol):
    """An objective that hides tokens of a text and says what they were."""

    def hidden(self, x: Any, y: Any) -> Tensor:
        """(B, K) int64: the tokens that were hidden; PAD where an example hides fewer than K, or x shows the token."""

    def hides(self) -> Mapping[str, Any]:
        """All settings that say what is hidden, and how much of it: numbers over other tokens are other numbers."""

    def fill_in(self, x: Any) -> Tensor:
        """(B, K) int64: the most probable token at each of these places."""


# ---------------------------------------------------------------------------------------------------------- evaluation


class Finding(NamedTuple):
    """What one evaluation of one subject gives."""

    metrics: Sequence[metrics.Metric]
    protocol: metrics.Protocol = metrics.Protocol()
    figures: Mapping[str, Figure] = {}


class Subject(Protocol):
    """A frozen encoder with labeled data: what an evaluator is given."""

    encoder: Encoder  # in eval mode, on `device`; an evaluator leaves its weights and mode as they were
    data: Data
    seed: int
    device: torch.device

    def features(self, split: SplitName, layer: str = "pooled") -> Examples:
        """(n, D) float32 features on the CPU and labels of a split, extracted once and shared by all evaluators.
        `layer`: "pooled", or the number of a block counted from the end: "-2"."""


class Evaluator(ABC):
    """A frozen encoder on data; knows no objective. Every control (random start, pixels) goes through the same call.

    Each metric says its unit and which way it is better. The settings of the config are terms of the protocol.
    """

    needs_labels: ClassVar[bool] = True
    needs_masks: ClassVar[bool] = False  # whether `subject.data` must be `Masked`
    reads: ClassVar[type[Any]] = DataSpec  # the kind of data it is for: a DataSpec
    pixels_are_control: ClassVar[bool] = True  # whether bare pixels, or bags of words, are evaluated beside the encoder
    presentation: ClassVar[frozenset[str]] = (
        frozenset()
    )  # settings that change no number, or stand for contents: a path
    contents: Contents = {}  # files that its numbers depend on, as `DataSource.contents`; constructors set it

    def check(self, spec: Any) -> None:  # noqa: B027
        """Raise ValueError where the settings do not suit such data, a `DataSpec`; asked before anything is trained."""

    @abstractmethod
    def __call__(self, subject: Subject) -> Finding:
        """Choose on "train" and "val"; touch "test" once."""


@runtime_checkable
class ReadsTexts(Protocol):
    """An evaluator of texts that are not the run's own."""

    length: int  # tokens of a text that are read, or as many as the encoder's `reach` where those are fewer


class Inspection(ABC):
    """An objective at its own task on held-out data. Subclasses annotate `objective` with the Protocol they need."""

    reads: ClassVar[type[Any]] = DataSpec  # the kind of data it is for: a DataSpec
    presentation: ClassVar[frozenset[str]] = frozenset()  # as an evaluator's
    task_terms: ClassVar[frozenset[str] | None] = frozenset()  # settings of the objective that are terms; None: all

    def check(self, spec: Any) -> None:  # noqa: B027
        """As `Evaluator.check`."""

    @abstractmethod
    def __call__(self, objective: Any, subject: Subject) -> Finding: ...
