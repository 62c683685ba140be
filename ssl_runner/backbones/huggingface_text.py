"""Transformers of texts of the transformers library: bidirectional and causal."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Unpack

import torch
from torch import Tensor, nn

from ssl_runner.backbones.huggingface_models import HuggingFaceEncoder, configuration, create, takes, with_weights
from ssl_runner.interfaces import CausalEncoder, Features, Origin, TextEncoder, TextSpec, TokenEncoder
from ssl_runner.nn.published import WeightSettings
from ssl_runner.nn.tokens import mean_of_tokens, segments

ADDED = 16  # ids that a tokenizer may have beyond the rows of published weights: special tokens that it was given
HEAD = "lm_head.weight"
TOKENIZER = "tokenizer.json"


class TextNetwork(HuggingFaceEncoder, TextEncoder):
    """What both kinds share. `vocab_size` and the id of padding are those of the dataset."""

    causal: bool

    def __init__(
        self,
        spec: TextSpec,
        option: str,
        *,
        name: str,
        config: dict[str, Any] | None,
        **weights: Unpack[WeightSettings],
    ) -> None:
        super().__init__()
        self.origin = Origin(**weights)
        self.spec = spec
        self.name = name
        self.special = spec.special
        self.config = configuration(name, config, option)
        if getattr(self.config, "is_encoder_decoder", False):
            raise ValueError(f"backbone.name is {name}, which reads two texts at once; choose an encoder, or a decoder")
        self.config.vocab_size, self.config.pad_token_id = spec.vocabulary, spec.special.pad
        self.config.bos_token_id = self.config.eos_token_id = None
        self.config.sep_token_id = spec.special.sep
        self.net = create(self.config)
        if getattr(self.net, "pooler", None) is not None:
            self.net.pooler = None  # features are the mean of the tokens
        if not isinstance(self.net.get_input_embeddings(), nn.Embedding):
            raise ValueError(f"backbone.name is {name}, which has no table of token embeddings; choose another network")
        self.embedding.padding_idx = spec.special.pad
        with torch.no_grad():
            self.embedding.weight[spec.special.pad].zero_()
        self.dim = int(self.config.hidden_size)
        self.segments = takes(self.net, "token_type_ids") and getattr(self.config, "type_vocab_size", 0) > 1
        self.most = most = _most_tokens(self.net, self.config)
        if most is not None and most < spec.length:
            raise ValueError(
                f"dataset.length is {spec.length} tokens and {name} has {most} positions; lower dataset.length"
                + (", or raise backbone.config={max_position_embeddings: ...}" if self.origin.weights == "none" else "")
            )
        self.reach = most if most is None or self.origin.weights != "none" else spec.length
        self.note = f"transformers' {name}, {sum(each.numel() for each in self.net.parameters()):,} weights"
        if not self.embedding.weight.is_meta and self._looks_ahead() == self.causal:
            raise ValueError(
                f"backbone.name is {name}, in which a token "
                + ("sees later ones: choose backbone=huggingface_text, or a decoder" if self.causal else
                   "sees no later ones: choose backbone=huggingface_causal, or an encoder")
            )  # fmt: skip

    @property
    def embedding(self) -> nn.Embedding:  # type: ignore[override]
        """The network's own: kept once, under its name there."""
        table: nn.Embedding = self.net.get_input_embeddings()
        return table

    def states(self, x: Tensor) -> tuple[Tensor, ...]:
        found = self._run(x, output_hidden_states=True)
        return (*found.hidden_states[:-1], found.last_hidden_state)

    def forward(self, x: Tensor, *, layers: bool = False) -> Features:
        pad = self.special.pad
        if not layers:
            tokens = self._run(x).last_hidden_state
            return Features(tokens, mean_of_tokens(tokens, x, pad))
        states = self.states(x)
        means = tuple(mean_of_tokens(state, x, pad) for state in states[1:])
        return Features(states[-1], means[-1], means)

    def _run(self, x: Tensor, **more: Any) -> Any:
        if self.most is not None and x.shape[1] > self.most:
            raise ValueError(f"a sequence has {x.shape[1]} tokens and the encoder {self.most} positions")
        if self.segments:
            more["token_type_ids"] = segments(x, self.special.sep)
        if self.causal:  # padding stands at the end, where no token before it sees it
            return self.net(input_ids=x, use_cache=False, **more)
        seen = x != self.special.pad
        seen[:, 0] = True  # a softmax over nothing would be NaN
        return self.net(input_ids=x, attention_mask=seen.long(), **more)

    def _looks_ahead(self) -> bool:
        """Whether the first token's vector depends on the third token."""
        ordinary = self.special.ordinary(self.spec.vocabulary)[:2]
        texts = ordinary[torch.tensor([[0, 0, 0], [0, 0, 1]])].to(self.embedding.weight.device)
        training = self.net.training
        self.net.eval()
        with torch.no_grad():
            first, second = self._run(texts).last_hidden_state[:, 0]
        self.net.train(training)
        return not torch.allclose(first, second, atol=1e-6)

    def adapted(self, state: Mapping[str, Tensor]) -> Mapping[str, Tensor]:
        """The rows of tokens for the vocabulary of the dataset; that of padding is zero."""
        adapted = dict(state)
        name = next(name for name, part in self.net.named_modules() if part is self.embedding) + ".weight"
        if name in adapted:
            table = self._rows(adapted[name], self.embedding.weight)
            table[self.special.pad] = 0
            adapted[name] = table
        if HEAD in adapted:
            head = adapted.pop(HEAD)
            self.head = self._rows(head, torch.zeros(self.spec.vocabulary, self.dim))
        return adapted

    def _rows(self, table: Tensor, own: Tensor) -> Tensor:
        """A copy of a published table with a row for each id of the dataset; ids that it does not know have `own`."""
        rows, wanted = len(table), self.spec.vocabulary
        if not (rows <= wanted <= rows + ADDED or _rounded(wanted, rows)):
            raise ValueError(
                f"backbone.weights have {rows} rows of tokens, and the vocabulary of the dataset {wanted} ids: set "
                f"dataset.tokenizer to the folder that holds their {TOKENIZER}"
            )
        return torch.cat((table[:wanted].float(), own.detach()[rows:])).clone()

    def _save_reader(self, folder: Path) -> None:
        """The tokenizer, which cuts texts as `load_encoder` does: [CLS] tokens [SEP], and with a second text [SEP]."""
        from tokenizers import Tokenizer
        from tokenizers.processors import TemplateProcessing
        from transformers import PreTrainedTokenizerFast

        tokenizer = Tokenizer.from_str(self.spec.tokenizer)
        special = self.special
        roles = {role: place for role, place in vars(special).items() if place is not None}
        names = {f"{role}_token": tokenizer.id_to_token(place) for role, place in roles.items()}
        cls, sep = names["cls_token"], names["sep_token"]
        tokenizer.post_processor = TemplateProcessing(
            single=[cls, "$A", sep],
            pair=[cls, "$A", sep, "$B:1", f"{sep}:1"],
            special_tokens=[(cls, special.cls), (sep, special.sep)],
        )
        inputs = ["input_ids", "attention_mask", *(["token_type_ids"] if self.segments else [])]
        longest = {} if self.reach is None else {"model_max_length": self.reach}
        made = PreTrainedTokenizerFast(tokenizer_object=tokenizer, model_input_names=inputs, **names, **longest)
        made.save_pretrained(folder)

    def library_weights(self) -> Mapping[str, Tensor]:
        self._check_tokenizer(Path(self.name).expanduser())
        return super().library_weights()

    def folder_weights(self, folder: Path) -> Mapping[str, Tensor] | None:
        self._check_tokenizer(folder)
        return super().folder_weights(folder)

    def _check_tokenizer(self, folder: Path) -> None:
        """Raise ValueError if the texts are cut otherwise than those that the weights of a folder were trained on."""
        if not (folder / TOKENIZER).is_file() or not self.spec.tokenizer:
            return
        from tokenizers import Tokenizer

        theirs = Tokenizer.from_file(str(folder / TOKENIZER)).get_vocab()
        ours = Tokenizer.from_str(self.spec.tokenizer).get_vocab()
        if any(ours.get(token) != place for token, place in theirs.items()):
            raise ValueError(
                f"backbone.weights were trained on other tokens than those of the dataset: set "
                f"dataset.tokenizer={folder}"
            )


class HuggingFaceText(TextNetwork, TokenEncoder):
    """A bidirectional Transformer of transformers: BERT, RoBERTa, DistilBERT, ELECTRA, ModernBERT and others.

    https://huggingface.co/docs/transformers. `name`: a type (random weights, `config` on top of its defaults), an id of
    the hub, or a local folder with its config.json. `tokens` are the last hidden state; `pooled` is the mean over the
    tokens that are no padding, which is never looked at. What follows the first separator is the second segment, where
    the network has segments. `weights` are set by `assembly.weights`, for texts cut by their own tokenizer
    (`dataset.tokenizer`, the same folder).

    Raises ValueError for networks in which tokens do not see later ones, and for a configuration that cannot be had.
    """

    causal = False

    def __init__(
        self, spec: TextSpec, *, name: str, config: dict[str, Any] | None, **weights: Unpack[WeightSettings]
    ) -> None:
        super().__init__(spec, "huggingface_text", name=name, config=config, **weights)


class HuggingFaceCausal(TextNetwork, CausalEncoder):
    """A causal Transformer of transformers: GPT-2, OPT, Llama, Qwen and others.

    As `HuggingFaceText`, but a token sees itself and earlier ones. Its embedding scores tokens with
    `objective.output=tied`, as it does in networks that tie both; weights of a network that does not tie them bring
    their head to `objective.output=own`.

    Raises ValueError for networks in which tokens see later ones, and for a configuration that cannot be had.
    """

    causal = True

    def __init__(
        self, spec: TextSpec, *, name: str, config: dict[str, Any] | None, **weights: Unpack[WeightSettings]
    ) -> None:
        super().__init__(spec, "huggingface_causal", name=name, config=config, **weights)

    def _load(self, place: str, local: bool) -> tuple[dict[str, Tensor], dict[str, Any]]:
        from transformers import AutoModelForCausalLM

        net, about = with_weights(AutoModelForCausalLM, place, local)
        head = net.get_output_embeddings()
        state = dict(net.base_model.state_dict())
        if head is not None and head.weight is not net.get_input_embeddings().weight:
            state[HEAD] = head.weight.detach()
        before = f"{net.base_model_prefix}."
        about["missing_keys"] = [name.removeprefix(before) for name in about["missing_keys"]]
        return state, about


def _most_tokens(net: Any, config: Any) -> int | None:
    """The longest text that learned positions allow; None for positions that are not learned."""
    count = getattr(config, "max_position_embeddings", None)
    for part in net.modules():
        if isinstance(part, nn.Embedding) and part is not net.get_input_embeddings() and count is not None:
            if part.num_embeddings == count and part.padding_idx is not None:  # as RoBERTa, which counts from it on
                return int(count) - part.padding_idx - 1
            if part.num_embeddings in (count, count + 2):  # OPT has two more
                return int(count)
    return None


def _rounded(wanted: int, rows: int) -> bool:
    """Whether a table of `rows` is one of `wanted` ids, rounded up to a multiple of 64, 128, ... as fits processors.

    >>> _rounded(50257, 50304), _rounded(8000, 30522)
    (True, False)
    """
    return any(-(-wanted // step) * step == rows for step in (8, 16, 32, 64, 128, 256, 512, 1024))
