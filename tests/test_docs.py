"""What README and docs say exists: links, anchors, paths, verbs, flags, settings."""

import functools
import pathlib
import re
from collections.abc import Iterator

import pytest

from nafp import cli, config
from nafp.sequences import settings

ROOT = pathlib.Path(__file__).parent.parent
PAGES = sorted(
    path.relative_to(ROOT).as_posix()
    for path in [*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("nafp/weights/*.md")]
)
LINK = re.compile(r"!?\[[^\]]*\]\(([^)\s]+)\)")
HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
FENCE = re.compile(r"^```.*?^```", re.MULTILINE | re.DOTALL)
INCLUDE = re.compile(r"^```\{include\} (\S+)", re.MULTILINE)
# Fenced, indented, or between backticks; a command goes on where a line ends with a backslash.
CODE = re.compile(r"^```[\s\S]*?^```|^ {4}\S(?:.*\\\n)*.*$|`[^`\n]+`", re.MULTILINE)
COMMAND = re.compile(r"\b(nafp|python -m) ([a-z][\w.]*)((?:[^#|`\n\\]|\\\n)*)")
DEFINED = re.compile(r"DEFINE_\w+[(,]\s*\"(\w+)\"|\"(\w+)\": \(flags\.DEFINE_")
NEIGHBOURS = re.compile(r"^from (?:\.|benchmarks|launch) import (.+)$", re.MULTILINE)
OF_ABSL = {"help", "helpfull"}
SETTING = re.compile(r"\bconfig((?:\.[a-z]\w*){2,})")
CHANGE = re.compile(rf"\b((?:{'|'.join(config.default())})(?:\.[a-z]\w*)+)=")
FOLDERS = "nafp|configs|launch|evaluation|tests|benchmarks|docs"
NAMED = re.compile(rf"`((?:{FOLDERS})/[\w./-]+)`")
HOLES = ("VERB", "NAME")  # Which the reader fills.
MOST_WORDS = 1000


def text_of(page: str) -> str:
    return (ROOT / page).read_text()


def links(page: str) -> list[str]:
    found = LINK.findall(FENCE.sub("", text_of(page)))
    return [link for link in found if not link.startswith(("http://", "https://", "mailto:"))]


def anchors(path: pathlib.Path) -> set[str]:
    """Returns the anchors of a page, named as GitHub and the site name them."""
    text = path.read_text()
    for included in INCLUDE.findall(text):
        text += (path.parent / included).read_text()
    headings = (re.sub(r"[*`]", "", heading) for heading in HEADING.findall(FENCE.sub("", text)))
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


def commands(page: str) -> Iterator[tuple[str, str, set[str]]]:
    """Yields (program, verb or module, flags) for each command in the code of a page."""
    for code in CODE.findall(text_of(page)):
        for program, verb, rest in COMMAND.findall(code):
            yield program, verb, set(re.findall(r"--([a-z]\w*)", rest)) - OF_ABSL


@functools.cache
def flags_of(path: pathlib.Path) -> frozenset[str]:
    """Returns the flags that a file and its neighbours define. It reads the files, because running them is slow."""
    text = path.read_text()
    found = {name for names in DEFINED.findall(text) for name in names if name}
    for names in NEIGHBOURS.findall(text):
        for name in re.findall(r"\w+", names):
            neighbour = path.with_name(f"{name}.py")
            if neighbour != path and neighbour.exists():
                found |= flags_of(neighbour)
    return frozenset(found)


@pytest.mark.parametrize("page", PAGES)
def test_every_link_leads_somewhere(page):
    here = ROOT / page
    for link in links(page):
        name, _, anchor = link.partition("#")
        target = (here.parent / name).resolve() if name else here
        assert target.exists(), f"{page}: {link}"
        assert not anchor or anchor in anchors(target), f"{page}: {link}"


def test_the_readme_is_short():
    assert len(text_of("README.md").split()) <= MOST_WORDS


@pytest.mark.parametrize("page", PAGES)
def test_every_command_has_a_verb_and_flags_that_exist(page):
    for program, verb, flags in commands(page):
        assert program != "nafp" or verb in cli.VERBS, f"{page}: nafp {verb}"
        name = f"launch.{verb}" if program == "nafp" else verb
        if name.startswith(("launch.", "benchmarks.", "evaluation.")):
            path = ROOT / f"{name.replace('.', '/')}.py"
            assert path.exists(), f"{page}: {program} {verb}"
            known = flags_of(path)
            unknown = {flag for flag in flags if not {flag, flag.removeprefix("no")} & known}
            assert not unknown, f"{page}: {program} {verb}"


@pytest.mark.parametrize("page", PAGES)
def test_every_setting_exists(page):
    text = text_of(page)
    names = {name.removeprefix(".") for name in SETTING.findall(text)} | set(CHANGE.findall(text))
    for name in names:
        assert any(has(known, name) for known in (config.default(), settings.default())), f"{page}: config.{name}"


def has(known, name: str) -> bool:
    """Returns whether a configuration has a setting, by its full name: the first stage's, or the second's."""
    section, _, rest = name.partition(".")
    return section in known and (not rest or has(known[section], rest))


@pytest.mark.parametrize("page", [page for page in PAGES if page != "CHANGELOG.md"])
def test_every_path_exists(page):
    for path in NAMED.findall(text_of(page)):
        assert pathlib.Path(path).stem in HOLES or (ROOT / path).exists(), f"{page}: {path}"
