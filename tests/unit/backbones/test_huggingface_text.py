"""Networks of transformers for texts as encoders: what they compute is the library's, and its folders are read."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import made_bert
import pytest
import torch

from ssl_runner.assembly import construct, export, weights
from ssl_runner.assembly.load import exported_encoder
from ssl_runner.backbones.huggingface_text import HuggingFaceCausal, HuggingFaceText, TextNetwork
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.schema import StartFile
from ssl_runner.interfaces import Batch, TextSpec
from ssl_runner.objectives.language_model import LanguageModel

transformers = pytest.importorskip("transformers")
NONE: dict[str, Any] = {
    "weights": "none", "source": None, "license": None, "prefix": None, "matched": 1.0, "mean": None, "std": None,
}  # fmt: skip
KNOWN = {"source": "made in this test", "license": "unknown"}
SPEC = TextSpec(length=12, vocabulary=50, size=8)
USUAL = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
TEXTS: dict[str, dict[str, Any]] = {
    "bert": USUAL,
    "roberta": USUAL,
    "distilbert": {"dim": 32, "n_layers": 2, "n_heads": 2, "hidden_dim": 64},
    "electra": {**USUAL, "embedding_size": 16},
}
CAUSAL: dict[str, dict[str, Any]] = {
    "gpt2": {"n_embd": 32, "n_layer": 2, "n_head": 2},
    "llama": {**USUAL, "num_key_value_heads": 2},
    "opt": {**USUAL, "ffn_dim": 64, "word_embed_proj_dim": 32},
}  # fmt: skip


def text(name: str = "bert", spec: TextSpec = SPEC, **more: Any) -> HuggingFaceText:
    torch.manual_seed(0)
    return HuggingFaceText(spec, **{"name": name, "config": TEXTS.get(name), **NONE, **more}).eval()


def causal(name: str = "gpt2", spec: TextSpec = SPEC, **more: Any) -> HuggingFaceCausal:
    torch.manual_seed(0)
    return HuggingFaceCausal(spec, **{"name": name, "config": CAUSAL.get(name), **NONE, **more}).eval()


def tokens(rows: int = 3, length: int = 12) -> torch.Tensor:
    return torch.randint(6, 50, (rows, length), generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("make", [*(lambda n=n: text(n) for n in TEXTS), *(lambda n=n: causal(n) for n in CAUSAL)])
def test_the_tokens_are_those_of_the_library(make: Any) -> None:
    encoder: TextNetwork = make()
    theirs = transformers.AutoModel.from_config(encoder.config).eval()
    theirs.load_state_dict(encoder.net.state_dict(), strict=False)
    x = tokens()
    with torch.no_grad():
        expected = theirs(input_ids=x)
        torch.testing.assert_close(encoder(x).tokens, expected.last_hidden_state, atol=1e-5, rtol=1e-5)
        assert len(encoder(x, layers=True).layers) == 2
    assert not encoder.embedding.weight[0].any()
    assert "embedding.weight" not in encoder.state_dict()  # which has it once, as the library names it


def test_the_second_segment_is_told_to_the_network() -> None:
    encoder, x = text(), tokens(1)
    x[0, 5] = SPEC.special.sep
    with torch.no_grad():
        expected = encoder.net(
            input_ids=x, attention_mask=torch.ones_like(x), token_type_ids=torch.tensor([[0] * 6 + [1] * 6])
        ).last_hidden_state
        assert torch.equal(encoder(x).tokens, expected)


@pytest.mark.parametrize("tied", [True, False])
def test_a_causal_network_brings_its_head_to_a_language_model(tied: bool, tmp_path: Path) -> None:
    """Its log-likelihood is the library's, from the first step on."""
    torch.manual_seed(3)
    config = transformers.LlamaConfig(**CAUSAL["llama"], vocab_size=50, tie_word_embeddings=tied, pad_token_id=0)
    theirs = transformers.LlamaForCausalLM(config).eval()
    theirs.save_pretrained(tmp_path)
    encoder = causal(str(tmp_path), config=None, weights="pretrained", **KNOWN)
    assert weights.begin(encoder, None, StartFile(), "all")
    assert "tensors matched; 0 unexpected" in encoder.note
    objective = LanguageModel(encoder, SPEC, output="tied" if tied else "own").eval()
    x = tokens()
    with torch.no_grad():
        scores = theirs(input_ids=x[:, :-1]).logits
        scores[:, :, 0] = -torch.inf  # padding is never the next token
        expected = scores.log_softmax(2).gather(2, x[:, 1:, None]).squeeze(2)
        torch.testing.assert_close(objective.log_likelihood(x), expected, atol=1e-5, rtol=1e-5)
    loss = objective.train().loss(*objective.split(Batch(x, torch.zeros(3).long(), torch.arange(3)))).value
    loss.backward()
    assert all(parameter.grad is not None for parameter in objective.parameters())


def library_bert(folder: Path, spec: TextSpec, rows: int | None = None) -> Any:
    torch.manual_seed(4)
    config = transformers.BertConfig(**USUAL, vocab_size=rows or spec.vocabulary, max_position_embeddings=40)
    made = transformers.BertForMaskedLM(config).eval()
    made.save_pretrained(folder)
    return made


def test_a_folder_of_the_library_is_read_with_its_tokenizer(tmp_path: Path) -> None:
    tokenizer = made_bert.tokenizer()
    spec = replace(SPEC, vocabulary=tokenizer.get_vocab_size(), tokenizer=tokenizer.to_str(), special=made_bert.IDS)
    theirs = library_bert(tmp_path, spec)
    tokenizer.save(str(tmp_path / "tokenizer.json"))
    encoder = text(str(tmp_path), spec, config=None, weights="pretrained", **KNOWN)
    weights.begin(encoder, None, StartFile(), "all")
    x = torch.randint(104, spec.vocabulary, (2, 12))
    with torch.no_grad():
        expected = theirs.bert(x).last_hidden_state
        torch.testing.assert_close(encoder(x).tokens, expected, atol=1e-5, rtol=1e-5)
    assert encoder.reach == 40  # all positions are trained
    other = replace(spec, tokenizer=made_bert.tokenizer(["aardvark"]).to_str())
    encoder = text(str(tmp_path), other, config=None, weights="pretrained", **KNOWN)
    with pytest.raises(ConfigError, match=r"were trained on other tokens .* set dataset\.tokenizer="):
        weights.begin(encoder, None, StartFile(), "all")


@pytest.mark.parametrize(("rows", "fits"), [(50, True), (47, True), (64, True), (30, False), (500, False)])
def test_a_table_of_another_vocabulary_is_refused(rows: int, fits: bool, tmp_path: Path) -> None:
    """A few rows may be added for special tokens, and a table may be rounded up."""
    theirs = library_bert(tmp_path, SPEC, rows)
    encoder = text(str(tmp_path), config=None, weights="pretrained", **KNOWN)
    if not fits:
        with pytest.raises(ConfigError, match=f"have {rows} rows of tokens, and the vocabulary of the dataset 50 ids"):
            weights.begin(encoder, None, StartFile(), "all")
        return
    own = encoder.embedding.weight.detach().clone()
    weights.begin(encoder, None, StartFile(), "all")
    table = theirs.bert.embeddings.word_embeddings.weight
    assert torch.equal(encoder.embedding.weight[1 : min(rows, 50)], table[1 : min(rows, 50)])
    assert torch.equal(encoder.embedding.weight[rows:], own[rows:])
    assert not encoder.embedding.weight[0].any()


@pytest.mark.parametrize("option", ["text", "causal"])
def test_an_exported_encoder_needs_neither_folder_nor_hub(option: str, tmp_path: Path) -> None:
    kind = "HuggingFaceText" if option == "text" else "HuggingFaceCausal"
    name, settings = ("bert", TEXTS["bert"]) if option == "text" else ("gpt2", CAUSAL["gpt2"])
    transformers.CONFIG_MAPPING[name](**settings).save_pretrained(tmp_path / "theirs")
    spec = replace(SPEC, tokenizer=made_bert.tokenizer().to_str())
    node = {"_target_": f"ssl_runner.backbones.huggingface_text.{kind}", "name": str(tmp_path / "theirs"),
            "config": None, **NONE}  # fmt: skip
    encoder = construct.encoder(node, spec)
    export.export_encoder(tmp_path / "encoder", encoder, node, spec)
    (tmp_path / "theirs" / "config.json").unlink()
    again, x = exported_encoder(tmp_path / "encoder"), tokens()
    with torch.no_grad():
        assert torch.equal(again(x).tokens, encoder.eval()(x).tokens)
    assert export.about_encoder(tmp_path / "encoder")["backbone"]["name"] == name


@pytest.mark.parametrize(
    ("make", "reach"),
    [(text, 12), (causal, 12), (lambda: text("roberta"), 12), (lambda: causal("llama"), None)],
)
def test_how_far_it_reaches(make: Any, reach: int | None) -> None:
    assert make().reach == reach


@pytest.mark.parametrize(
    ("make", "said"),
    [
        (lambda: text("gpt2"), "in which a token sees no later ones: choose backbone=huggingface_causal"),
        (lambda: causal("bert", config=TEXTS["bert"]), "in which a token sees later ones: choose .*huggingface_text"),
        (lambda: text("t5"), "backbone.name is t5, which reads two texts at once"),
        (
            lambda: text(config={**USUAL, "max_position_embeddings": 8}),
            "dataset.length is 12 tokens and bert has 8 posit",
        ),
        (lambda: text("roberta", config={**USUAL, "max_position_embeddings": 12}), "and roberta has 11 positions"),
        (lambda: causal("gpt9"), r"must be a model type of transformers .* \(did you mean gpt"),
    ],
)
def test_what_does_not_go_is_refused(make: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        make()


def test_a_text_of_more_tokens_than_positions_is_refused() -> None:
    encoder = text(config={**USUAL, "max_position_embeddings": 12})
    with pytest.raises(ValueError, match="a sequence has 13 tokens and the encoder 12 positions"):
        encoder(tokens(1, 13))
