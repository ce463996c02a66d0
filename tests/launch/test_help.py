"""`nafp VERB --help` lists every flag that the pages use with the verb, and names no path of the machine."""

import dataclasses
import functools
import pathlib
import re
import sys

import pytest

from evaluation.queries import verbs
from evaluation.scores import evaluate
from nafp import cli
from tests import commands

ROOT = pathlib.Path(__file__).parents[2]
PAGES = (ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md")))
COMMAND = re.compile(r"\bnafp ([a-z]+)\b([^`|#\n]*)")
FLAG = re.compile(r"(?<![\w-])--([a-z]\w*)")


@functools.cache
def help_of(verb: str) -> str:
    done = commands.nafp(verb, "--help")
    assert done.returncode == 0, done.stderr
    return done.stdout


def used(text: str, verb: str) -> set[str]:
    """Returns the flags that the commands `nafp VERB ...` of a text use. A backslash continues a command."""
    lines = re.sub(r"\\\n\s*", " ", text)
    return {flag for name, rest in COMMAND.findall(lines) if name == verb for flag in FLAG.findall(rest)}


def listed(text: str) -> set[str]:
    """Returns the flags that a help text lists, with `noX` for every switch X."""
    found = re.findall(r"^  --(\[no\])?(\w+):", text, re.MULTILINE)
    return {"help"} | {prefix + name for no, name in found for prefix in (("", "no") if no else ("",))}


def test_commands_are_found_in_prose_and_across_lines():
    text = "`nafp queries listen --config=c.py --config.data.x=1 --out=a`\n\n"
    text += "    nafp add DB x \\\n      --tag=a=b | sort --u\n"
    assert used(text, "queries") == {"config", "out"}
    assert used(text, "add") == {"tag"}


@pytest.mark.parametrize("verb", cli.available())
def test_the_help_of_a_verb_lists_the_flags_that_the_pages_and_its_own_examples_use(verb):
    texts = [help_of(verb), *(page.read_text() for page in PAGES)]
    assert set().union(*(used(text, verb) for text in texts)) <= listed(help_of(verb))


@pytest.mark.parametrize("verb", cli.available())
def test_the_help_of_a_verb_names_no_path_of_the_machine(verb):
    text = help_of(verb)
    assert f"\nnafp {verb}:\n" in text or "\nflags:\n" not in text
    for folder in (ROOT, pathlib.Path.home(), pathlib.Path(sys.prefix)):
        assert f"{folder}/" not in text


def test_the_help_of_evaluate_and_queries_lists_the_flags_of_their_parts():
    assert {"protocol", "references", "distractors", "checkpoint", "recording", "plan"} <= listed(help_of("evaluate"))
    assert {"source", "conditions", "config", "out"} <= listed(help_of("queries"))
    for verb in ("train", "extract"):
        assert {"coordinator", "processes", "process", "pod"} <= listed(help_of(verb))


@pytest.mark.parametrize(("verb", "request_type"), [("evaluate", evaluate.Request), ("queries", verbs.QueriesRequest)])
def test_the_defaults_that_the_help_names_are_those_of_the_request(verb, request_type):
    texts = dict(re.findall(r"^  --(?:\[no\])?(\w+): ((?:.+\n(?!  --))*.+)", help_of(verb), re.MULTILINE))
    for field in dataclasses.fields(request_type):
        if field.name == "show":  # Progress, which is not a flag.
            continue
        text = " ".join(texts[field.name].partition("\n    (")[0].split())
        assert text.endswith("."), f"{field.name}: {text}"
        if field.default not in (None, (), dataclasses.MISSING) and "Default: the index's" not in text:
            assert f"Default: {named(field.default)}." in text or "no tracks" in text, f"{field.name}: {text}"


def named(default: object) -> str:
    """Writes a default as the help texts do."""
    if isinstance(default, bool):
        return "yes" if default else "no"
    if isinstance(default, tuple):
        return ",".join(map(str, default))
    return f"{default:g}" if isinstance(default, float) else str(default)
