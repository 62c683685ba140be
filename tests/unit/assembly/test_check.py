"""Objects from configs: what fits together, exported encoders, damaged files."""

import json
from functools import cache
from pathlib import Path
from typing import Any, get_type_hints

import libraries
import made_bert
import made_text
import pytest
import torch
import yaml
from backbones import each_backbone
from composed import composed

from ssl_runner import load_encoder
from ssl_runner.assembly import check, construct, export, load
from ssl_runner.commands.evaluations import same_reach
from ssl_runner.config.compose import compose
from ssl_runner.config.errors import ConfigError
from ssl_runner.config.fit import check_fit
from ssl_runner.config.paths import conf_dir
from ssl_runner.config.schema import Config, typed
from ssl_runner.config.signatures import locate
from ssl_runner.data.any.tensors import fake_batch
from ssl_runner.evaluation.any.controls import BagOfWords
from ssl_runner.interfaces import ImageSpec, MixtureEncoder, Paired, PatchEncoder, SpecialTokens, TextSpec
from ssl_runner.views.image import ImageViews

FAKE = ["dataset=fake_images", "logger=none", "evaluation=[]"]
SMALL_FRAMES = ["dataset=moving_digits", "dataset.side=8", "dataset.digit_side=8", "backbone=per_frame",
                "evaluation=[prediction]"]  # fmt: skip
AXES = {
    axis: sorted(p.stem for p in (conf_dir() / axis).glob("*.yaml")) for axis in ("dataset", "backbone", "objective")
}


def config(*overrides: str) -> Config:
    return typed(composed([*FAKE, *overrides]))


def refused(*overrides: str) -> str:
    with pytest.raises(ConfigError) as error:
        check.validate(config(*overrides))
    return str(error.value)


@pytest.mark.parametrize(
    ("overrides", "said"),
    [
        (["objective=mae"], "objective=mae needs a patch encoder (images, can encode a subset of patches"),
        (["objective=mae", "backbone=resnet18"], "backbone=resnet18 is a map encoder"),
        (["objective=mae", "backbone=resnet18"], "Backbones that fit: huggingface_vit, timm_vit, vit_micro, vit_small, vit_tiny"),
        (["objective=mae", "backbone=vit_micro", "objective.ratio=1.2"], "objective.ratio is 1.2; it must lie in (0, 1)"),
        (["objective=mae", "backbone=vit_micro", "objective.ratio=0.001"], "leave at least one of 64 patches"),
        (["objective.loss.temperature=0"], "objective.loss.temperature is 0; it must be above 0"),
        (["batch_size=1"], "batch_size is 1; a contrastive loss needs other examples"),
        (["objective.views.crop_scale=[0.5,1.5]"], "objective.views.crop_scale"),
        (["objective.projector=[]"], "objective.projector is []"),
        (["trainer.chunk=8"], "trainer.chunk is 8, and backbone=convnet normalizes over the batch"),
        (["objective=rotation", "dataset.width=24"], "images are 32 x 24; objective=rotation needs square ones"),
        (["objective=mae", "backbone=vit_micro", "backbone.patch=5"], "backbone.patch"),
        (["objective=supervised", "dataset.classes=0"], "objective=supervised needs labels"),
        (["evaluation=[linear]", "dataset.classes=0"], "evaluation=linear: it needs labels, and dataset=fake_images has none"),
        (["evaluation=[linear,geometry]", "dataset.classes=0"], "choose others: evaluation=[geometry]"),
        (["evaluation=[reconstruction]"], "objective=simclr does not support it; objectives that do: autoencoder, "),
        (["objective=autoencoder", "objective.corruption=gaussian"], "objective.amount is 0.0; with objective.corruption"),
        (["objective=next_frame", *SMALL_FRAMES], "of 8 x 8: set dataset.side to 11 or more, or leave prediction out"),
        (["optimizer.lr=-1"], "optimizer: Invalid learning rate: -1"),
        (["optimizer=lars", "optimizer.momentum=1"], "optimizer.momentum is 1"),
        (["schedule.warmup=2"], "schedule.warmup is 2"),
        (["start_from=nowhere"], "no encoder in 'nowhere'"),
        (["dataset=mnist", "dataset.root=nowhere", "dataset.download=false"], "nowhere"),
        (["dataset=arrays", "dataset.path=nowhere.npz"], "nowhere.npz"),
        (["dataset=image_folder", "dataset.path=nowhere"], "nowhere"),
        (["backbone.widths=[]"], "backbone.widths"),
        (["evaluation=[knn]", "evaluation.knn.layer=-9"], "evaluation.knn.layer is -9; backbone=convnet has pooled, and -1"),
        (["logger=wandb", "logger.wandb.init_timeout=0"], "logger.wandb.init_timeout"),
    ],
)  # fmt: skip
def test_what_does_not_go_together_is_refused_in_words(overrides: list[str], said: str) -> None:
    assert said in refused(*overrides)


@pytest.mark.parametrize("root", ["config", "evaluate"])
@pytest.mark.parametrize("name", ["finetune", "few_label_finetune"])
def test_fine_tuning_takes_views_where_they_are_chosen(root: str, name: str) -> None:
    chosen = f"objective/views@evaluation.{name}.views=natural"
    plain, seen = (compose([f"evaluation=[{name}]", *more], root)["evaluation"][name] for more in ([], [chosen]))
    assert construct.construct(plain).views is None
    views = construct.construct(seen).views
    assert isinstance(views, ImageViews)
    assert views(torch.rand(3, 3, 8, 8)).shape == (2, 3, 3, 8, 8)
    assert (seen["views"]["flip"], list(seen["views"]["crop_scale"])) == (0.5, [0.2, 1.0])


def test_an_evaluation_that_does_not_fit_is_left_out_where_that_is_asked() -> None:
    chosen = config("evaluation=image", "dataset.classes=0")
    _, spec = check.validate(chosen)
    evaluators, inspections, left_out = check.evaluations(chosen, spec)
    assert set(evaluators) == {"geometry", "projection"}
    assert not inspections
    assert "labels" in left_out["linear"]


def put_together(*overrides: str, **options: str) -> Config:
    """`options` of axes put into a config that is composed once: composing each combination would take minutes."""
    plain = composed([*FAKE, *overrides])
    for axis, option in options.items():
        sound = {"objective": ["dataset=wiki_sample"] if option in TEXT["objective"] else []}.get(axis, [])
        needed = REQUIRED.get(option, []) if axis == "dataset" else []
        plain = plain | {axis: composed([*FAKE, *sound, f"{axis}={option}", *needed])[axis]}
        plain["names"] = plain["names"] | {axis: option}
    return typed(plain)


@cache
def target(axis: str, option: str) -> type[Any]:
    return locate(yaml.safe_load((conf_dir() / axis / f"{option}.yaml").read_text())["_target_"])


@cache
def reads(axis: str, option: str) -> type[Any]:
    """The kind of data that an option gives, or reads."""
    cls = target(axis, option)
    return get_type_hints(cls.spec.fget)["return"] if axis == "dataset" else get_type_hints(cls.__init__)["spec"]


TEXT = {axis: [option for option in options if reads(axis, option) is TextSpec] for axis, options in AXES.items()}
REQUIRED = {  # settings that have no default
    option: ["dataset.path=somewhere.csv"]
    for option in (
        "arrays", "captions", "huggingface", "huggingface_text", "illustrations", "image_folder", "image_table",
        "paired_texts", "text_file", "text_folder", "text_pairs", "text_table", "video_folder",
    )
} | {
    "codes": ["dataset.run=somewhere"],
    "features": ["dataset.run=somewhere"],
    "paired_images": ["dataset.path=here", "dataset.other_path=there"],
    "torchvision": ["dataset.name=SVHN"],
    "webdataset": [f"dataset.{split}={split}.tar" for split in ("train", "val", "test")],
}  # fmt: skip


def fits(dataset: str, backbone: str, objective: str) -> bool:
    given = reads("dataset", dataset)
    wanted = get_type_hints(target("objective", objective).__init__)["encoder"]
    read = all(issubclass(given, reads(*option)) for option in (("backbone", backbone), ("objective", objective)))
    pairs = not target("objective", objective).reads_pairs or issubclass(target("dataset", dataset), Paired)
    return read and pairs and issubclass(target("backbone", backbone), wanted)


@pytest.mark.parametrize("objective", AXES["objective"])
@pytest.mark.parametrize("backbone", each_backbone())
@pytest.mark.sampled(50)
def test_every_pair_is_accepted_or_refused_in_words(objective: str, backbone: str) -> None:
    libraries.needs(backbone)
    text = objective in TEXT["objective"]
    chosen = put_together(*(made_text.overrides() if text else []), objective=objective, backbone=backbone)
    chosen.backbone.update({"depth": 1} if backbone.startswith(("vit", "bert", "gpt")) else {})
    chosen.backbone.update(libraries.SMALLER.get(backbone, {}))
    of_one_size = issubclass(target("backbone", backbone), PatchEncoder | MixtureEncoder)
    if of_one_size and objective in ("swav", "dino", "lejepa"):
        chosen.objective["small_views"]["size"] = None
    if objective == "vq" and backbone == "vgg19_bn":
        chosen.objective["decoder_widths"] = [8] * 5  # as often as it halves the sides
    if objective == "gaussian_mixture" and backbone == "mixture_network":
        by_network = composed(
            [*FAKE, f"backbone={backbone}", f"objective={objective}", "objective/inference=amortized"]
        )
        chosen.objective["inference"] = by_network["objective"]["inference"]
    if fits("text_file" if text else "fake_images", backbone, objective):
        check.validate(chosen)
    else:
        with pytest.raises(ConfigError, match=r"(Backbones|Datasets) that fit"):
            check.validate(chosen)


@pytest.mark.parametrize("dataset", AXES["dataset"])
@pytest.mark.sampled(12)
def test_every_dataset_is_accepted_or_refused_in_words(dataset: str) -> None:
    pairs = [
        ("bert", "bert_tiny"), ("language_model", "gpt_tiny"), ("skip_gram", "word_vectors"), ("mae", "vit_micro"),
        ("rotation", "convnet"), ("simclr", "mlp"), ("bert", "convnet"), ("rotation", "bert_tiny"),
    ]  # fmt: skip
    for objective, backbone in pairs:
        chosen = put_together(dataset=dataset, objective=objective, backbone=backbone)
        if fits(dataset, backbone, objective):
            check_fit(chosen)
        else:
            with pytest.raises(ConfigError, match=r"(Backbones|Datasets) that fit"):
                check_fit(chosen)


def test_what_a_processor_cannot_do_in_bfloat16_is_refused_before_training(monkeypatch: pytest.MonkeyPatch) -> None:
    """As torch's LSTM where there is no AVX-512."""
    whole = torch.nn.LSTM.forward

    def forward(self: torch.nn.LSTM, *args: Any) -> Any:
        if torch.is_autocast_enabled("cpu"):
            raise RuntimeError("could not create a primitive descriptor")
        return whole(self, *args)

    monkeypatch.setattr(torch.nn.LSTM, "forward", forward)
    asked = ["dataset=wiki_sample", "objective=language_model", "backbone=lstm", "trainer.accelerator=cpu"]
    check.validate(config(*asked, "trainer.precision=auto"))
    assert refused(*asked, "trainer.precision=bfloat16") == (
        "objective=language_model, backbone=lstm: a step on two fake examples failed: could not create a primitive "
        "descriptor; this processor may not support it in bfloat16: set trainer.precision=float32"
    )


def test_validation_leaves_the_global_generator_alone() -> None:
    torch.manual_seed(5)
    expected = torch.rand(3)
    torch.manual_seed(5)
    check.validate(config())
    assert torch.equal(torch.rand(3), expected)


def test_the_random_start_follows_the_seed_alone() -> None:
    chosen = config()
    _, spec = construct.source(chosen)
    first = construct.objective(chosen, spec).state_dict()
    torch.rand(10)
    second = construct.objective(chosen, spec).state_dict()
    other = construct.objective(config("seed=1"), spec).state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert not all(torch.equal(first[name], other[name]) for name in first)


@pytest.fixture
def exported(tmp_path: Path) -> Path:
    chosen = config("backbone.widths=[4,8]")
    _, spec = construct.source(chosen)
    model = construct.objective(chosen, spec)
    construct.fit_statistics(model, lambda: (torch.tensor([0.1, 0.2, 0.3]), torch.tensor([0.4, 0.5, 0.6])))
    export.export_encoder(tmp_path / "encoder", model.encoder, chosen.backbone, spec)
    torch.save(model.encoder.state_dict(), tmp_path / "state.pt")
    return tmp_path


def test_an_exported_encoder_is_the_same(exported: Path) -> None:
    for path in (exported, exported / "encoder", str(exported)):
        encoder = load_encoder(path)
        for name, value in torch.load(exported / "state.pt", weights_only=True).items():
            assert torch.equal(encoder.encoder.state_dict()[name], value)
    assert not encoder.encoder.training
    assert encoder(torch.rand(2, 3, 32, 32)).pooled.shape == (2, 8)
    assert encoder.encoder.normalize.mean.flatten().tolist() == pytest.approx([0.1, 0.2, 0.3])


@pytest.mark.parametrize(
    ("overrides", "shown"),
    [
        (["objective=bert", "backbone=bert_tiny", "backbone.positions=40"], 24),
        (["objective=language_model", "backbone=gpt_tiny"], 23),  # the last token is predicted, and not read
        (["objective=cpc_text", "backbone=gpt_tiny"], 23),
        (["objective=simcse", "objective/views=segments", "backbone=bert_tiny", "dataset.example=sentence"], 12),
        (["objective=language_model", "backbone=lstm"], None),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else str(value),
)
def test_an_encoder_knows_the_positions_that_pretraining_shows_it(
    overrides: list[str], shown: int | None, tmp_path: Path
) -> None:
    """And keeps it where it is exported; the positions beyond are those that no gradient reaches."""
    chosen = typed(compose([*made_text.overrides(), "logger=none", "evaluation=[]", *overrides]))
    source, _ = construct.source(chosen)
    source.load()
    spec = source.spec
    model = construct.objective(chosen, spec)
    assert model.encoder.reach == shown
    export.export_encoder(tmp_path, model.encoder, chosen.backbone, spec)
    assert load_encoder(tmp_path).encoder.reach == shown
    if shown is not None:
        model.loss(*model.split(fake_batch(spec, 8))).value.backward()
        reached = model.encoder.positions.weight.grad.any(dim=1)
        assert reached.nonzero().max() == shown - 1
    (tmp_path / "SHA256SUMS").unlink()  # as encoders were exported once
    about = tmp_path / "config.yaml"
    about.write_text(about.read_text().replace(f"reach: {'null' if shown is None else shown}", "reach: 0.5"))
    with pytest.raises(ValueError, match=r"config\.yaml' is damaged: reach is 0\.5"):
        load_encoder(tmp_path)


def test_controls_read_as_much_of_a_text_as_the_encoder_and_that_it_is_less_than_asked_for_is_said() -> None:
    named = ["objective=language_model", "backbone=gpt_tiny", "evaluation=[senses]", "logger=none"]
    chosen = typed(compose([*made_text.overrides(), *named]))
    source, _ = construct.source(chosen)
    source.load()
    subjects = {
        "pretrained": construct.objective(chosen, source.spec).encoder,
        "random_start": construct.random_start(chosen, source.spec),
        "bag_of_words": BagOfWords(source.spec),
    }
    said = same_reach(subjects, check.evaluations(chosen, source.spec).evaluators)
    assert [each.reach for each in subjects.values()] == [23, 23, 23]
    assert said == [
        "evaluation.senses.length is 64: 23 tokens of a text are read, the most that the encoder was pretrained on"
    ]


def test_damaged_encoders_are_refused(exported: Path) -> None:
    weights, about = exported / "encoder" / "encoder.safetensors", exported / "encoder" / "config.yaml"
    whole, text = weights.read_bytes(), about.read_text()
    weights.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="its checksum does not match"):
        load_encoder(exported)
    (exported / "encoder" / "SHA256SUMS").unlink()  # as encoders were exported once
    with pytest.raises(ValueError, match="cannot be read as an encoder"):
        load_encoder(exported)
    weights.write_bytes(whole)
    for broken in (
        "backbone: [",
        "{}",
        "backbone: 3\nspec: 4",
        text.replace("ssl_runner.backbones.convnet.ConvNet", "os.system"),
    ):
        about.write_text(broken)
        with pytest.raises((ConfigError, ValueError), match=r"config\.yaml"):
            load_encoder(exported)
    weights.unlink()
    with pytest.raises((ConfigError, ValueError), match="no encoder in"):
        load_encoder(exported)


def test_weights_of_another_backbone_are_refused(exported: Path) -> None:
    said = refused(f"start_from={exported}", "backbone.widths=[4,16]")
    assert "contains the weights of another backbone" in said
    assert "(8, 4, 3, 3) in the file and (16, 4, 3, 3) here" in said
    check.validate(config(f"start_from={exported}", "backbone.widths=[4,8]"))


def test_construct_refuses_what_is_not_allowed() -> None:
    with pytest.raises(ConfigError, match="not allowed"):
        construct.construct({"_target_": "subprocess.Popen", "args": ["true"]})


def test_an_exported_encoder_knows_its_special_tokens(tmp_path: Path) -> None:
    node = {"_target_": "ssl_runner.backbones.word_vectors.WordVectors", "width": 3, "gradient": "dense"}
    tokenizer = made_bert.tokenizer().to_str()
    size = json.loads(tokenizer)["model"]["vocab"]
    spec = TextSpec(length=8, vocabulary=len(size), tokenizer=tokenizer, special=made_bert.IDS)
    export.export_encoder(tmp_path, construct.encoder(node, spec), node, spec)
    assert export.exported_spec(tmp_path) == spec
    assert load.exported_encoder(tmp_path).special == made_bert.IDS
    tokens = json.loads((tmp_path / "tokens.json").read_text())
    del tokens["special"], tokens["ends"]  # as they were written once
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    older = export.exported_spec(tmp_path)
    assert isinstance(older, TextSpec)
    assert older.special == SpecialTokens()
    tokens["special"] = {"pad": "0"}
    (tmp_path / "tokens.json").write_text(json.dumps(tokens))
    with pytest.raises(ValueError, match=r"special\.pad"):
        export.exported_spec(tmp_path)


def test_an_exported_encoder_knows_the_values_of_its_images(tmp_path: Path) -> None:
    """What older ones do not say is 0 to 255, of 8 bits."""
    node = {"_target_": "ssl_runner.backbones.convnet.ConvNet", "widths": [4, 8], "norm": "batch"}
    spec = ImageSpec(channels=13, height=8, width=8, stored="float32", range=(-1, 2.5))
    export.export_encoder(tmp_path, construct.encoder(node, spec), node, spec)
    assert export.exported_spec(tmp_path) == spec
    assert load.load_encoder(tmp_path)(torch.rand(2, 13, 8, 8)).pooled.shape == (2, 8)
    about = yaml.safe_load((tmp_path / "config.yaml").read_text())
    del about["spec"]["stored"], about["spec"]["range"]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(about))
    assert export.exported_spec(tmp_path) == ImageSpec(channels=13, height=8, width=8)
    about["spec"]["range"] = [0]
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(about))
    with pytest.raises(ValueError, match=r"spec\.range: .* must be a list of 2"):
        export.exported_spec(tmp_path)
