"""Comments of config files as documentation."""

from pathlib import Path

import pytest

from ssl_runner.config.documentation import Choice, Key, document, option

TEXT = """\
# @package evaluation.probe
# A head of two lines,
# of which the first breaks off
defaults:
  - _self_
  - views: ${domain} # which views
  - override /backbone: vit_tiny
  - /objective/views@small: null
_target_: package.Class
plain: 3           # behind
quoted: "a # b"    # after a # in quotes
address: a#b       # a sign within a word begins no comment
two: [1,
      2]           # behind a list over lines
long: x            # goes on
                   # in the next line
# above
above: 1.5e-3
silent: null
nested:            # of a mapping
  # above and indented
  inner: [a, b]    # and behind
block:
  - 1
  - 2
required: ???
"""


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "probe.yaml"
    path.write_text(TEXT)
    return path


def test_comments_belong_to_their_keys(file: Path) -> None:
    found = document(file, "evaluation")
    assert found.package == "evaluation.probe"
    assert found.head == "A head of two lines,\nof which the first breaks off"
    assert found.first_line == "A head of two lines, ..."
    assert found.targets == ["package.Class"]
    assert found.keys == (
        Key("_target_", "package.Class", ""),
        Key("plain", "3", "behind"),
        Key("quoted", '"a # b"', "after a # in quotes"),
        Key("address", "a#b", "a sign within a word begins no comment"),
        Key("two", "[1, 2]", "behind a list over lines"),
        Key("long", "x", "goes on in the next line"),
        Key("above", "1.5e-3", "above"),
        Key("silent", "null", ""),
        Key("nested", None, "of a mapping"),
        Key("nested.inner", "[a, b]", "above and indented and behind"),
        Key("block", "[1, 2]", ""),
        Key("required", "???", ""),
    )


def test_choices_are_named_from_the_root(file: Path) -> None:
    assert document(file, "objective").choices == (
        Choice("objective/views", None, "${domain}", "which views"),
        Choice("backbone", None, "vit_tiny", ""),
        Choice("objective/views", "small", "null", ""),
    )


def test_an_empty_file_and_one_of_comments(tmp_path: Path) -> None:
    for text, head in (("", ""), ("# only this\n", "only this")):
        path = tmp_path / f"{len(text)}.yaml"
        path.write_text(text)
        assert document(path).head == head
        assert document(path).keys == ()


def test_what_a_file_includes_is_part_of_it() -> None:
    frames = {key.name: key for key in option("objective/views", "frames").keys}
    video = {key.name: key for key in option("objective/views", "video").keys}
    assert frames["jitter"].value == "0.0"
    assert frames["jitter"].comment == video["jitter"].comment
    assert frames.keys() == video.keys()
    assert option("evaluation", "image").targets == []
