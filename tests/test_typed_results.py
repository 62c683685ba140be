"""No meaning in a name: no part of a result is found by taking the name of a metric, an evaluator, a figure or a file
apart.

What takes text apart in these folders is listed below with what the text is. A new place is a question to its author:
could the meaning be a field?
"""

import ast
from collections.abc import Iterator
from pathlib import Path

ROOT = Path(__file__).parents[1]
READ = ("ssl_runner/results", "ssl_runner/reporting", "ssl_runner/evaluation", "ssl_runner/commands", "scripts")
APART = {"partition", "rpartition", "startswith", "endswith", "removeprefix", "removesuffix"}
SPLIT = {"split", "rsplit"}
PATTERNS = {"match", "fullmatch", "search", "findall", "finditer", "sub", "compile", "split"}

ALLOWED = {  # file: what is read there -> in which functions
    "ssl_runner/results/schema1.py": {
        "names of schema 1, which had their meaning in them": ["address", "_condition", "_evaluation"],
    },
    "ssl_runner/results/address.py": {"addresses, which are written there too": [""]},
    "ssl_runner/results/values.py": {"values as a command line writes them": ["parse"]},
    "ssl_runner/reporting/axes.py": {
        "dotted keys of a config": ["shortest", "matching", "is_setting", "_path", "_lies_in", "_is_of_pretraining"],
        "overrides of a command line": ["_by_overrides"],
        "keys of contents, which are those of a config": ["_by_contents"],
    },
    "ssl_runner/reporting/comparison.py": {"dotted keys of a config": ["_section"], "an option's words": ["_ordered"]},
    "ssl_runner/reporting/comparison_figures.py": {
        "dotted keys of a config": ["datasets"],
        "a title, of which a file's name is made": ["comparison_figures"],
    },
    "ssl_runner/reporting/runs.py": {"an option's words": ["_condition"], "hidden folders": ["run_folders"]},
    "ssl_runner/reporting/card.py": {"paths of a machine": [""]},
    "ssl_runner/reporting/exports.py": {"markup that is escaped": ["escaped"]},
    "ssl_runner/reporting/plots.py": {
        "SVG as matplotlib writes it": ["draw_svg", "_suit_page"],
        "words of a caption": ["_across"],
        "columns of metrics.csv, named as wandb has them: part/metric": ["loss_curves", "_part"],
    },
    "ssl_runner/results/result.py": {"a last line without its end": ["read_metrics"]},
    "ssl_runner/evaluation/text/analogies.py": {
        "a file's lines, and its names of sections": ["read_questions", "kind_of"],
    },
    "ssl_runner/evaluation/any/scores.py": {"answers in words": ["", "plain_answer", "answer_f1"]},
    "ssl_runner/evaluation/text/senses.py": {"a file's lines": ["read_uses"]},
    "ssl_runner/evaluation/any/subject.py": {"a setting's value: pooled, or a number": ["named_layer"]},
    "ssl_runner/evaluation/text/data.py": {"files' lines": ["read_conll", "_cells"]},
    "ssl_runner/evaluation/text/minimal_pairs.py": {"a file's lines": ["read_pairs"]},
    "ssl_runner/evaluation/text/sts_tasks.py": {"files' lines": ["read_task", "lines_of"]},
    "ssl_runner/evaluation/text/word_files.py": {"a file's lines": ["_from_text"]},
    "ssl_runner/evaluation/text/word_translation.py": {"a file's lines": ["read_dictionary"]},
    "ssl_runner/evaluation/text/word_similarity.py": {"a file's lines": ["read_pairs"]},
    "ssl_runner/commands/answers.py": {"a word of a command line": ["asked"], "a message": ["_ended"]},
    "ssl_runner/commands/compare.py": {"an option's words": ["_words"]},
    "ssl_runner/commands/evaluate.py": {
        "dotted keys of a config": ["keep_own_settings"],
        "words of a command line": ["main"],
    },
    "scripts/corpora.py": {"a text's paragraphs": ["halves"], "a file's lines": ["stsb_same"]},
    "scripts/methods_run.py": {"words of a command line": ["same_seed"]},
    "ssl_runner/reporting/payoff.py": {"dotted keys of a config": ["_network", "_way", "_is_start"]},
    "ssl_runner/commands/launch.py": {"messages of other libraries": ["is_lost"]},
    "ssl_runner/commands/cli.py": {
        "messages of Hydra, and its words": ["explain", "hydra_main"],
        "dotted keys of a config": ["_keys"],
    },
    "ssl_runner/commands/explain.py": {
        "an argument: group=option, or a dotted key": ["explained"],
        "dotted keys of a config, and its packages": ["_key", "_option", "_at"],
        "a docstring": ["_class"],
    },
    "ssl_runner/commands/python.py": {"a value that is quoted": ["quoted"], "a message": ["_as_guest"]},
    "ssl_runner/commands/runs.py": {"an option's words": ["_words", "_age"]},
    "ssl_runner/commands/sweep.py": {"dotted keys of a config": ["_never_matters", "folder_of"]},
    "scripts/benchmarks/growth.py": {"figures that a process printed": ["process"]},
    "scripts/benchmarks/precision.py": {"words of a command": ["measured"]},
    "scripts/benchmarks/startup.py": {"a line that a command printed": ["first_step"]},
    "scripts/claims.py": {"a command": ["anywhere"]},
    "scripts/claims_tables.py": {"a mark at the end of a cell": ["_by_layer"]},
    "scripts/pictures.py": {"words of a command": ["commands"]},
    "scripts/records.py": {"a command, and dotted keys of a config": ["word_now", "_command"]},
    "scripts/study.py": {"a tag of YAML": ["_Loader"], "a heading, of which an anchor is made": ["heading_link"]},
    "scripts/wandb_report.py": {
        "keys of wandb, which are flat: names.objective, figures/task": ["swept", "_panels"],
        "an address of wandb: entity/project": ["report", "workspace", "_runs"],
    },
}  # fmt: skip


def taken_apart(source: str) -> Iterator[str]:
    """The function of each call that takes text apart. `split` counts where it is that of text, not of tensors."""
    tree = ast.parse(source)
    inside: dict[ast.AST, str] = {}
    for node in ast.walk(tree):
        own = node.name if isinstance(node, ast.FunctionDef | ast.ClassDef) else ""
        for child in ast.iter_child_nodes(node):
            inside[child] = ".".join(filter(None, [inside.get(node, ""), own]))
    for node in ast.walk(tree):
        match node:
            case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name)) if name in PATTERNS:
                yield inside[node]
            case ast.Call(func=ast.Attribute(attr=name)) if name in APART:
                yield inside[node]
            case ast.Call(func=ast.Attribute(attr=name), args=[]) if name in SPLIT:
                yield inside[node]
            case ast.Call(func=ast.Attribute(attr=name), args=[ast.Constant(value=str()), *_]) if name in SPLIT:
                yield inside[node]


def test_no_result_is_read_from_a_name() -> None:
    found = {
        str(path.relative_to(ROOT)): names
        for folder in READ
        for path in sorted((ROOT / folder).rglob("*.py"))
        if (names := set(taken_apart(path.read_text(encoding="utf-8"))))
    }
    stated = {file: {name for names in reasons.values() for name in names} for file, reasons in ALLOWED.items()}
    assert found == stated


def test_what_takes_text_apart_is_seen() -> None:
    source = """
def share(metric):
    return metric.startswith("accuracy")
class A:
    def at(self, name):
        return name.partition("@"), re.match("x", name), name.split(), name.split("@"), tensors.split(3)
"""
    assert sorted(taken_apart(source)) == ["A.at"] * 4 + ["share"]
