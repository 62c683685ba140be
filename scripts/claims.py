"""The questions of docs/claims.md, and the page itself.

    ssl-run sweep=mask_ratio ...                          # what the page says under the question
    python scripts/claims.py keep outputs/sweeps/mask_ratio-1a2b3c # numbers and pictures into docs/claims/
    python scripts/claims.py page                         # write docs/claims.md from docs/claims/

What a person reads in the numbers stands in docs/claims/NAME.md; all numbers come from the records.
"""

import argparse
import itertools
import json
import math
import re
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import yaml

from ssl_runner.figures import Lines
from ssl_runner.reporting.comparison import compare
from ssl_runner.reporting.comparison_figures import save_comparison_figures
from ssl_runner.reporting.exports import summary_json
from ssl_runner.reporting.plots import draw
from ssl_runner.reporting.runs import find_runs

ROOT = Path(__file__).resolve().parents[1]
RECORDS = ROOT / "docs" / "claims"


class Claim(NamedTuple):
    """A question, what is said about it, and how it was asked."""

    question: str
    said: str
    columns: tuple[str, ...]  # of the table; a column's key may go on: "few_label." stands for all of few_label
    pictures: tuple[str, ...]  # beginnings of their names
    about: str  # what ran
    ranks: bool = False  # in place of the table: how far columns, and backbones, agree on the order of objectives


CLAIMS = {
    "mask_ratio": Claim(
        "Why mask 75 % of an image?",
        "He et al. 2021 ([figure 5](https://arxiv.org/abs/2111.06377)): images are redundant, so that little is learned "
        "unless most is hidden; 75 % is best for the linear probe, and fine-tuning is good over a wide range.",
        ("linear.accuracy", "few_label_finetune.accuracy@10%"),
        ("linear-accuracy-by", "few-label-finetune-accuracy"),
        "A masked autoencoder on the 5,000 digits of `mnist_5k` (28 x 28, patches of 4 x 4). Linear probe of the frozen "
        "encoder, and fine-tuning on a tenth of the labels.",
    ),
    "mask_ratio_text": Claim(
        "And why 15 % of a text?",
        "Devlin et al. 2019 ([section 3.1](https://arxiv.org/abs/1810.04805)) hide 15 %: words are not redundant, and what is "
        "left must suffice to tell what is hidden. Wettig et al. 2023 ([arXiv:2202.08005](https://arxiv.org/abs/2202.08005)) "
        "find 40 % no worse.",
        ("masked_words.accuracy", "text_classification.accuracy", "senses.accuracy"),
        ("senses-accuracy-by", "masked-words-accuracy-by"),
        "BERT (width 128, depth 2) on a hundred Wikipedia articles. *Masked words*: at the ratio that it was trained with, so "
        "that the task itself grows harder downwards. *Text classification*: polarity of film reviews (MR), linear on the "
        "frozen encoder. *Senses*: which of its senses a word has in a sentence.",
    ),
    "masking_recipe": Claim(
        "Why is not every hidden word a [MASK]?",
        "Devlin et al. 2019 ([table 8](https://arxiv.org/abs/1810.04805)): [MASK] is never seen downstream; a mixture of 80 % "
        "[MASK], 10 % another word and 10 % the word itself serves best where features are not fine-tuned; fine-tuned, all do.",
        ("masked_words.accuracy", "text_classification.accuracy", "senses.accuracy"),
        (),
        "BERT (width 128, depth 2) on a hundred Wikipedia articles. *Shares*: [MASK], another word, the word itself. *Masked "
        "words* asks each network by its own recipe.",
    ),
    "negatives_words": Claim(
        "Do more negatives help? Those of words",
        "Mikolov et al. 2013 ([section 2.2](https://arxiv.org/abs/1310.4546)): 5 to 20 negatives for small texts, 2 to 5 for "
        "large ones.",
        ("word_similarity.spearman@wordsim353", "word_similarity.spearman@simlex999"),
        ("word-similarity-spearman-wordsim353",),
        "Skip-gram on a hundred Wikipedia articles (0.4 million words), five passes. Spearman's rank correlation with what "
        "people say of pairs of words.",
    ),
    "augmentations": Claim(
        "Which augmentations matter?",
        "Chen et al. 2020 ([figure 5](https://arxiv.org/abs/2002.05709)): none suffices alone; cropping and colour "
        "distortion together stand out, since crops of one image share their colours: a shortcut.",
        ("linear.accuracy",),
        ("linear-accuracy-by", "knn-accuracy-by"),
        "SimCLR on the first 4,000 images of CIFAR-10, ConvNet, one view of each pair left as it is. The row is applied "
        "first, the column second; on the diagonal one augmentation alone.",
    ),
    "label_fraction": Claim(
        "How many labels does pretraining save?",
        "Chen et al. 2020 ([table 7](https://arxiv.org/abs/2002.05709)): with 1 % of the labels a pretrained network is "
        "far ahead of one trained on these labels alone; with all of them there is little left to gain.",
        ("few_label.", "few_label_finetune."),
        ("few-label-accuracy-by-number", "few-label-finetune-accuracy-by-number"),
        "Pretraining on 3,600 digits of `mnist_5k` without labels, then a linear probe (`few label`) or fine-tuning of "
        "the whole network (`few label finetune`) on a part of the labels. *Random start* is the same without pretraining: "
        "fine-tuned, it is supervised training on that many labels.",
    ),
    "negatives": Claim(
        "Do more negatives help? Those of the batch",
        "Chen et al. 2020 ([figure 9](https://arxiv.org/abs/2002.05709)): larger batches, which hold more negatives, are "
        "better, and the more so the shorter the training.",
        ("linear.accuracy", "knn.accuracy", "mutual_information.bound"),
        ("linear-accuracy-by", "mutual-information-bound-by"),
        "SimCLR on the first 4,000 images of CIFAR-10, ConvNet, batches of 128 throughout: each view is set against so many "
        "of the 254 others, drawn anew each step. *Bound* is log N - loss in nats among the same number of candidates for "
        "all, on the test split.",
    ),
    "negatives_moco": Claim(
        "Do more negatives help? Those of a queue",
        "He et al. 2020 ([figure 3](https://arxiv.org/abs/1911.05722)): accuracy rises with the length of the queue, from "
        "256 to 65,536 keys.",
        ("linear.accuracy", "knn.accuracy"),
        ("linear-accuracy-by",),
        "MoCo on the first 4,000 images of CIFAR-10, ConvNet, batches of 128, keys of earlier batches alone as negatives.",
    ),
    "negatives_information": Claim(
        "Do more negatives tighten the bound on mutual information?",
        "van den Oord et al. 2018 ([section 2.3](https://arxiv.org/abs/1807.03748)) and Poole et al. 2019 "
        "([arXiv:1905.06922](https://arxiv.org/abs/1905.06922)): log N - loss is a lower bound that cannot exceed log N, and "
        "nears the truth as N grows.",
        tuple(f"mutual_information.bound_{2**k}" for k in range(1, 9)),
        ("mutual-information-bound-by",),
        "Pairs of correlated Gaussian vectors that share 2 nats, a perceptron for each and a bilinear score. A column a "
        "number of negatives in *training*; a row a number N of candidates among which the trained critic is *judged* on "
        "test pairs, in nats. log N is 0.69, 1.39, 2.08, 2.77, 3.47, 4.16, 4.85 and 5.55.",
    ),
    "shortcuts": Claim(
        "Which shortcut does a pretext task leave open?",
        "Doersch et al. 2015 ([section 3.1](https://arxiv.org/abs/1505.05192)): without a gap and a jitter lines go on from "
        "patch to patch, and colours that a lens has shifted tell where a patch was; closing them makes the task harder "
        "and the features better.",
        ("pretext.accuracy", "linear.accuracy", "knn.accuracy"),
        (),
        "Relative position on the first 4,000 images of CIFAR-10, ConvNet. *Pretext* is its own accuracy on test images; "
        "chance is 12.5 %. *Gap* and *jitter* are parts of the patch's side, 11 pixels: 0.5 is six pixels, 0.07 is one. *drop* "
        "leaves one channel of three in each patch, and noise in the others.",
    ),
    "objectives": Claim(
        "Does the ranking of objectives depend on the evaluator and on the backbone?",
        "Kolesnikov, Zhai, Beyer 2019 ([arXiv:1901.09005](https://arxiv.org/abs/1901.09005)): the order of pretext tasks is not the "
        "same for different architectures. Marks et al. 2024 ([arXiv:2407.12210](https://arxiv.org/abs/2407.12210)): protocols "
        "agree in part.",
        ("linear.accuracy", "knn.accuracy", "few_label.accuracy@1%"),
        (),
        "Every objective that goes with the first 4,000 images of CIFAR-10, on the ConvNet and on a small Vision "
        "Transformer, at the budget of [methods.md](methods.md). Spearman's rank correlation of the means over seeds.",
        ranks=True,
    ),
}  # fmt: skip


def keep(folder: Path) -> None:
    """Copy what a sweep found into docs/claims/: numbers, and the pictures that its claim shows."""
    about = yaml.safe_load((folder / "sweep.yaml").read_text())
    name = about["name"].rpartition("-")[0]
    claim = CLAIMS[name]
    runs, problems = find_runs([folder])
    print(
        *problems, sep="\n", file=sys.stderr
    )  # what did not finish is left out; the page says how many runs there are
    comparison = compare(runs)
    found: dict[str, Any] = json.loads(summary_json(comparison))
    for setting in found["settings"]:
        for run in setting["runs"]:
            del run["folder"]
            run["command"] = re.sub(r" ?'?output=\S+", "", run["command"])
    first = runs[0].result
    record = {
        "command": re.sub(r" ?'?output=\S+", "", about["command"]).replace("ssl-run -m sweep=", "ssl-run sweep="),
        "minutes": round(sum((r.result.cost.seconds or 0) + (r.result.cost.evaluation_seconds or 0) for r in runs) / 60, 1),
        "commit": first.git.commit if first.git else "",
        "versions": first.versions,
        "config": {k: v for k, v in first.config.items() if k not in ("names", "output", "logger", "sweep")},
        "comparison": found,
    }  # fmt: skip
    RECORDS.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as drawn:
        pictures = [path for path in save_comparison_figures(Path(drawn), comparison)]
        chosen = [path for start in claim.pictures for path in pictures if path.stem.startswith(start)]
        for place, path in enumerate(dict.fromkeys(chosen)):
            shutil.copy(path, RECORDS / f"{name}-{place + 1}.png")
    (RECORDS / f"{name}.json").write_text(json.dumps(record, indent=1, ensure_ascii=False) + "\n")


def mask_ratios() -> None:
    """Draw what images and texts gain from each mask ratio, points above their random start, into one picture."""
    lines: dict[str, dict[float, dict[str, float]]] = {}
    for name, column, title in (
        ("mask_ratio", "linear.accuracy", "digits, linear probe"),
        ("mask_ratio_text", "senses.accuracy", "text, senses of words"),
    ):
        path = RECORDS / f"{name}.json"
        if not path.exists():
            return
        found = json.loads(path.read_text())["comparison"]
        ratio = {setting["label"]: setting["values"]["objective.ratio"] for setting in found["settings"]}
        lines[title] = {
            ratio[cell["setting"]]: cell["controls"]["random_start"]["difference"]
            for cell in found["cells"]
            if cell["column"] == column
        }
    x = sorted({place for line in lines.values() for place in line})

    def along(key: str) -> dict[str, list[float]]:
        return {
            title: [100 * line[place][key] if place in line else math.nan for place in x]
            for title, line in lines.items()
        }

    figure = Lines(
        x=x, y=along("mean"), x_label="part that is hidden", y_label="points above random start",
        low=along("low"), high=along("high"), references={"random start": [0.0] * len(x)},
    )  # fmt: skip
    (RECORDS / "mask_ratio_text-0.png").write_bytes(draw(figure))


def page() -> None:
    """Write docs/claims.md."""
    mask_ratios()
    lines = [
        "# Claims, as measured",
        "",
        "Generated by `scripts/claims.py page` from the sweeps recorded in [claims/](claims); do not edit. Test accuracy in "
        "percent, mean and half of the 95 % confidence interval over seeds (Student's t). `=`: the best of its column, or "
        "not told apart from it (paired t-test over common seeds, Holm's correction, 5 %). Each preset runs on two CPU "
        "cores, two runs at a time with a thread each; its whole result is a page of its own, "
        "`outputs/sweeps/<name>/compare.html`.",
        "",
    ]
    for name, claim in CLAIMS.items():
        path = RECORDS / f"{name}.json"
        if path.exists():
            lines += section(name, claim, json.loads(path.read_text()))
    (ROOT / "docs" / "claims.md").write_text("\n".join(lines).rstrip() + "\n")


def section(name: str, claim: Claim, record: dict[str, Any]) -> list[str]:
    comparison = record["comparison"]
    seeds = sorted({run["seed"] for setting in comparison["settings"] for run in setting["runs"]})
    count = sum(len(setting["runs"]) for setting in comparison["settings"])
    reading = RECORDS / f"{name}.md"
    pictures = sorted(RECORDS.glob(f"{name}-*.png"))
    return [
        f"## {claim.question}",
        "",
        f"*What is said.* {claim.said}",
        "",
        f"*What ran.* {claim.about} {count} runs, seeds {', '.join(map(str, seeds))}; {record['minutes']:.0f} minutes of "
        f"one core in all on a machine that did other work too, commit {record['commit'][:7]}.",
        "",
        "```",
        record["command"],
        "```",
        "",
        *(rankings if claim.ranks else table)(claim, comparison),
        "",
        *(f"![{claim.question}](claims/{picture.name})" for picture in pictures),
        "",
        f"*What was found.* {reading.read_text().strip()}" if reading.exists() else "",
        "",
    ]


def table(claim: Claim, comparison: dict[str, Any]) -> list[str]:
    """A setting a row; where two axes are crossed, a square of the first column."""
    axes = comparison["axes"]
    keys = [c["key"] for c in comparison["columns"] if any(_is(c["key"], word) for word in claim.columns)]
    cells = {(cell["setting"], cell["column"]): cell for cell in comparison["cells"]}
    if len(axes) == 2 and len(keys) == 1:
        (rows, columns), by = axes, {}
        for setting in comparison["settings"]:
            by[tuple(setting["values"][axis["key"]] for axis in axes)] = cells.get((setting["label"], keys[0]))
        out = [f"| {rows['short']} \\ {columns['short']} | {' | '.join(map(str, columns['values']))} |"]
        out.append("|---" * (len(columns["values"]) + 1) + "|")
        return out + [
            f"| {row} | {' | '.join(_shown(by.get((row, column))) for column in columns['values'])} |"
            for row in rows["values"]
        ]
    if len(keys) > 3:
        return turned(comparison, keys, cells)
    controlled = {cell["column"] for cell in comparison["cells"] if cell["controls"].get("random_start")}
    heads = [axis["short"] for axis in axes] + [
        f"{_words(key)}{part}" for key in keys for part in ("", *[", random start"] * (key in controlled))
    ]
    out = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    for setting in comparison["settings"]:
        row = [str(setting["values"].get(axis["key"], "-")) for axis in axes]
        for key in keys:
            cell = cells.get((setting["label"], key))
            row.append(_shown(cell))
            if key in controlled:
                row.append("-" if cell is None else _interval(cell["controls"].get("random_start"), key))
        out.append(f"| {' | '.join(row)} |")
    return out


def rankings(claim: Claim, comparison: dict[str, Any]) -> list[str]:
    """All figures; then rank correlations between columns on each backbone, and between backbones in each column."""
    from scipy.stats import spearmanr

    keys = [c["key"] for c in comparison["columns"] if any(_is(c["key"], word) for word in claim.columns)]
    cells = {(cell["setting"], cell["column"]): cell for cell in comparison["cells"]}
    label = {
        (setting["values"]["objective"], setting["values"]["backbone"]): setting["label"]
        for setting in comparison["settings"]
        if setting["values"]["objective"] != "supervised"  # has the labels
    }
    names, backbones = (sorted({place[i] for place in label}) for i in (0, 1))
    shown = [(key, backbone) for key in keys for backbone in backbones]
    out = [f"| objective | {' | '.join(f'{_words(key)}, {backbone}' for key, backbone in shown)} |"]
    out.append("|---" * (len(shown) + 1) + "|")
    for name in names:
        found = [cells.get((label.get((name, backbone), ""), key)) for key, backbone in shown]
        out.append(f"| {name} | {' | '.join('-' if c is None else _interval(c, c['column']) for c in found)} |")

    def correlation(one: Callable[[str], tuple[str, str]], other: Callable[[str], tuple[str, str]]) -> str:
        pairs = [(cells.get(one(name)), cells.get(other(name))) for name in names]
        known = [(first["mean"], second["mean"]) for first, second in pairs if first and second]
        rank, p = spearmanr(*zip(*known, strict=True))
        return f"{rank:.2f} ({len(known)} objectives, p = {p:.2g})"

    out += ["", "| rank correlation of | |", "|---|---|"]
    for backbone in backbones:
        for one, other in itertools.combinations(keys, 2):
            agreed = correlation(
                *(lambda name, key=key, on=backbone: (label.get((name, on), ""), key) for key in (one, other))
            )
            out.append(f"| {_words(one)}, {_words(other)}, on {backbone} | {agreed} |")
    for key in keys:
        agreed = correlation(*(lambda name, on=on, key=key: (label.get((name, on), ""), key) for on in backbones))
        out.append(f"| {' and '.join(backbones)}, {_words(key)} | {agreed} |")
    return out


def turned(comparison: dict[str, Any], keys: list[str], cells: dict[tuple[str, str], dict[str, Any]]) -> list[str]:
    """Many columns of few settings: a column of the comparison a row, its random start last."""
    settings = [setting["label"] for setting in comparison["settings"]]
    controlled = any(cell["controls"].get("random_start") for cell in cells.values())
    out = [f"| | {' | '.join(label.partition('=')[2] for label in settings)} |{' random start |' * controlled}"]
    out.append("|---" * (len(settings) + 1 + controlled) + "|")
    for key in keys:
        found = [cells.get((label, key)) for label in settings]
        start = next((cell["controls"].get("random_start") for cell in found if cell is not None), None)
        ending = f" {_interval(start, key)} |" if controlled else ""
        out.append(f"| {_words(key)} | {' | '.join(map(_shown, found))} |{ending}")
    return out


def _words(key: str) -> str:
    return key.replace(".", " ", 1).replace("_", " ").replace("@", " at ")


def _is(key: str, word: str) -> bool:
    return key == word or (word.endswith(".") and key.startswith(word + "accuracy"))


def _shown(cell: dict[str, Any] | None) -> str:
    return "-" if cell is None else _interval(cell, cell["column"]) + " =" * bool(cell.get("tied"))


def _interval(interval: dict[str, Any] | None, key: str) -> str:
    """Accuracies in percent, what is in nats as it is."""
    if interval is None:
        return "-"
    scale, digits = (100, 1) if "accuracy" in key else (1, 2)
    mean = f"{scale * interval['mean']:.{digits}f}"
    if interval["high"] is None:  # of one seed
        return mean
    return f"{mean} ± {scale * (interval['high'] - interval['low']) / 2:.{digits}f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("task", choices=["keep", "page"])
    parser.add_argument("folder", nargs="?", type=Path, help="of a sweep, for keep")
    options = parser.parse_args()
    if options.task == "page":
        page()
    elif options.folder is None or not (options.folder / "sweep.yaml").is_file():
        parser.error("keep needs the folder of a sweep: outputs/sweeps/<name>")
    else:
        keep(options.folder)


if __name__ == "__main__":
    main()
