"""What is printed: broken between words where a person reads it, and nowhere where a program does."""

import io

import pytest

from ssl_runner.runtime.terminal import Terminal, say, write_line

WORDS = "skipped: samples: objective=rotation does not support it; objectives that do: vae, vector_vae"
PATH = "outputs/" + "deep/" * 10 + "report.html"


class Screen(io.StringIO):
    def isatty(self) -> bool:
        return True


def printed(text: str, **settings) -> str:
    file = io.StringIO()
    write_line(Terminal(file=file, **settings), text)
    return file.getvalue()


def test_a_terminal_breaks_lines_between_words_only():
    lines = printed(WORDS, force_terminal=True, width=40).splitlines()
    assert len(lines) == 3
    assert max(map(len, lines)) <= 40
    assert " ".join(lines) == WORDS


def test_a_path_stays_whole_in_a_terminal():
    assert PATH in printed(f"report: {PATH} is new", force_terminal=True, width=40).splitlines()


def test_further_lines_are_indented_as_the_first():
    assert printed("  one two three", force_terminal=True, width=10).splitlines() == ["  one two", "  three"]


def test_a_pipe_gets_one_line():
    assert printed(WORDS, width=40) == WORDS + "\n"


@pytest.mark.parametrize("name", ["FORCE_COLOR", "TTY_COMPATIBLE"])
def test_a_pipe_is_no_terminal_whatever_the_environment_says(monkeypatch, name):
    monkeypatch.setenv(name, "1")
    assert not Terminal(file=io.StringIO()).is_terminal
    assert printed(WORDS) == WORDS + "\n"
    assert Terminal(file=Screen()).is_terminal


@pytest.mark.parametrize(("file", "lines"), [(Screen(), 3), (io.StringIO(), 1)])
def test_messages_are_broken_in_a_terminal_alone(monkeypatch, file, lines):
    monkeypatch.setenv("COLUMNS", "40")
    say(WORDS, file)
    assert len(file.getvalue().splitlines()) == lines
    assert " ".join(file.getvalue().splitlines()) == WORDS
