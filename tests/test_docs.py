"""What the documents say is so: commands, options, config keys, figures, links; and the site builds."""

import doctest
import graphlib
import importlib
import json
import os
import pkgutil
import re
import shlex
import subprocess
import sys
import tomllib
from html.parser import HTMLParser

import pytest
import yaml
from support import rooms
from support.documents import DOCS, PAGES, ROOT, assert_shown, blocks, commands
from typer.main import get_command

import coverage_lab
import coverage_lab.schema
from coverage_lab.cli import app
from coverage_lab.config import EvaluateConfig, RunConfig, ServiceConfig
from coverage_lab.service.request import parse_request

README = (ROOT / "README.md").read_text(encoding="utf-8")
FIGURES = (DOCS / "explanation/figures.md").read_text(encoding="utf-8")
CHANGELOG = (ROOT / "CHANGELOG.md").read_text(encoding="utf-8")
COMMAND = get_command(app)
TEXTS = {page.relative_to(ROOT).as_posix(): page.read_text(encoding="utf-8") for page in PAGES}


def cli_commands():
    """Every command of the CLI with its words: `run`, `atlas build`, ..."""
    for name, command in COMMAND.commands.items():
        if hasattr(command, "commands"):
            yield from ((f"{name} {inner}", part) for inner, part in command.commands.items())
        else:
            yield name, command


def documented_calls():
    """Calls of coverage-lab in shell blocks and between backticks, and in the help's examples."""
    helps = "\n".join(command.help or "" for _, command in cli_commands())
    lines = [line for page in PAGES for line in commands(page)]
    lines += [call for text in TEXTS.values() for call in re.findall(r"`(coverage-lab [^`]*)`", text)]
    lines += re.findall(r"Example: `(coverage-lab [^`]*)`", helps)
    for line in lines:
        found = re.search(r"coverage-lab [^#|]*", line)
        if found and "…" not in found.group() and "|" not in line and "pip install" not in line:
            yield found.group().strip()


@pytest.mark.parametrize("call", sorted(set(documented_calls())))
def test_documented_call_exists_with_its_options(call):
    words = shlex.split(call)[1:]
    command = COMMAND
    while words and hasattr(command, "commands") and not words[0].startswith("--"):
        assert words[0] in command.commands, call
        command = command.commands[words.pop(0)]
    options = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
    for word in words:
        if word.startswith("--"):
            assert word in options, f"{call}: no option {word}"


@pytest.mark.parametrize(("name", "command"), list(cli_commands()), ids=[name for name, _ in cli_commands()])
def test_every_command_is_documented(name, command):
    assert any(f"coverage-lab {name}" in text for text in TEXTS.values())
    assert len(command.help or "") > 80, f"{name}: --help does not teach"
    assert "Example: " in command.help
    for parameter in command.params:
        if parameter.name != "help":
            assert parameter.help, f"{name}: {parameter.name} has no help"


def modules():
    for package in (coverage_lab, importlib.import_module("coverage_kernels")):
        for found in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            yield found.name


@pytest.mark.parametrize("name", sorted(modules()))
def test_docstring_examples_run(name):
    module = importlib.import_module(name)
    assert module.__doc__, f"{name}: no docstring"
    assert doctest.testmod(module).failed == 0


def test_extras_that_documents_name_exist_and_each_is_listed():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    extras = set(project["optional-dependencies"])
    texts = TEXTS | {"configs/cluster.yaml": (ROOT / "configs/cluster.yaml").read_text(encoding="utf-8")}
    for page, text in texts.items():
        named = re.findall(r"(?:coverage-lab|\.whl\)|-e '?\.)\[([a-z,]+)\]", text)
        unknown = {extra for names in named for extra in names.split(",")} - extras
        assert not unknown, f"{page}: pyproject.toml has no extra {unknown}"
    listed = re.findall(r"^\| `([a-z]+)` \|", TEXTS["docs/how-to/install.md"], re.MULTILINE)
    assert set(listed) == extras


def shipped_card(encoder):
    return json.loads((ROOT / f"coverage_lab/detect/data/{encoder}.json").read_text())["card"]


@pytest.mark.parametrize("encoder", ["static", "minilm"])
def test_figures_are_those_of_the_shipped_card(encoder):
    card = shipped_card(encoder)
    row = next(line for line in FIGURES.splitlines() if line.startswith(f"| `{encoder}` |"))
    shown = [float(cell) for cell in re.findall(r"\d\.\d+", row)]
    names = ("auroc", "auroc_interval_low", "auroc_interval_high")
    names += ("tpr_1pct", "tpr_1pct_interval_low", "tpr_1pct_interval_high")
    assert f"| {card['size']:,} |" in row
    assert shown == [round(card[name], 2) for name in names]


def test_readme_has_the_same_figures():
    found = re.search(
        r"`static` AUROC (0\.\d+), caught (0\.\d+); `minilm`\s+(0\.\d+) and (0\.\d+)",
        README,
        re.S,
    )
    shown = [float(number) for number in found.groups()]
    cards = [shipped_card(encoder) for encoder in ("static", "minilm")]
    assert shown == [round(card[name], 2) for card in cards for name in ("auroc", "tpr_1pct")]


def rooms_in_contributing():
    """The list of rooms, lowest line last, and the picture."""
    kinds = dict(blocks(ROOT / "CONTRIBUTING.md"))
    return [re.split(r"  +", line)[0].split() for line in kinds["rooms"].splitlines()], kinds["mermaid"]


def test_picture_of_imports_is_that_of_the_code():
    lines, shown = rooms_in_contributing()
    drawn = rooms.picture(rooms.imports(base=set(lines[-1])))
    assert shown == drawn, f"CONTRIBUTING.md: put this in the mermaid block:\n{drawn}"


def test_picture_has_no_circle():
    with pytest.raises(graphlib.CycleError):
        rooms.picture({"detect": {"accounts"}, "accounts": {"atlas"}, "atlas": {"detect"}})


def test_readme_is_short():
    assert len(README.splitlines()) <= 100


def test_changelog_names_every_command():
    for name in COMMAND.commands:
        assert name in CHANGELOG


def test_version_stands_in_one_place():
    (newest, *_) = re.findall(r"^## (\d\S*)", CHANGELOG, re.M)
    assert newest == coverage_lab.__version__
    assert tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dynamic"] == ["version"]


def test_workflow_checks_every_python_that_the_package_names():
    classifiers = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["classifiers"]
    named = [found[1] for name in classifiers if (found := re.search(r":: (3\.\d+)$", name))]
    jobs = yaml.safe_load((ROOT / ".github/workflows/checks.yml").read_text())["jobs"]
    for job in ("linux", "macos"):
        assert jobs[job]["strategy"]["matrix"]["python"] == named
    steps = [step for job in jobs.values() for step in job["steps"]]
    assert all(re.fullmatch(r"actions/[\w-]+@v\d+", step["uses"]) for step in steps if "uses" in step)


TOMLS = [
    pytest.param(text, id=f"{name}-{place}")
    for name in TEXTS
    for place, (kind, text) in enumerate(blocks(ROOT / name))
    if kind == "toml"
]


@pytest.mark.parametrize("text", TOMLS)
def test_documented_config_is_one(text):
    RunConfig.model_validate(tomllib.loads(text))


def test_documented_request_is_one():
    (body,) = [text for kind, text in blocks(DOCS / "how-to/service.md") if kind == "json"]
    assert parse_request(body.encode(), ServiceConfig())


def links(text):
    """Targets of Markdown links and pictures."""
    prose = re.sub(r"^```.*?^```$", "", text, flags=re.S | re.M)
    return re.findall(r"\]\(([^)\s]+)\)", prose)


@pytest.mark.parametrize("name", TEXTS)
def test_links_lead_somewhere(name):
    for link in links(TEXTS[name]):
        target, _, anchor = link.partition("#")
        if target.startswith("http"):
            continue
        path = (ROOT / name).parent / target if target else ROOT / name
        if "generated/" not in link:  # made when the site is built
            assert path.exists(), f"{name}: {link}"
        if anchor:
            headings = re.findall(r"^#+ (.*)", path.read_text(encoding="utf-8"), re.M)
            slugs = [re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings]
            assert anchor in slugs, f"{name}: {link}"


class Loaded(HTMLParser):
    """What a page has the browser load."""

    def __init__(self, text):
        super().__init__()
        self.addresses = []
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        if tag in ("script", "img", "iframe", "source"):
            self.addresses.append(attributes.get("src") or "")
        if tag == "link":
            self.addresses.append(attributes.get("href") or "")


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The built site; a warning fails, and nothing can be fetched from outside."""
    folder = tmp_path_factory.mktemp("site")
    environment = os.environ | dict.fromkeys(("http_proxy", "https_proxy"), "http://127.0.0.1:9")
    words = [sys.executable, "-m", "sphinx", "-q", "-W", "--keep-going", "-d", folder / "doctrees"]
    done = subprocess.run(
        [*words, DOCS, folder / "html"], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "html"


@pytest.mark.slow
def test_site_builds_without_warnings_and_loads_nothing_from_outside(site):
    pages = sorted(site.rglob("*.html"))
    assert len(pages) > 20
    for page in pages:
        for address in Loaded(page.read_text(encoding="utf-8")).addresses:
            assert not re.match(r"(https?:)?//", address), f"{page.name} loads {address}"


def words_of(page):
    """The text of a page."""
    return re.sub(r"<[^>]+>", "", page.read_text(encoding="utf-8"))


@pytest.mark.slow
def test_reference_has_every_command_key_and_column(site):
    text = words_of(site / "reference/generated/command-line.html")
    for name, command in cli_commands():
        assert f"coverage-lab {name}" in text
        for parameter in command.params:
            assert parameter.opts[0] in text
    columns = words_of(site / "reference/generated/tables.html").split()
    assert set(coverage_lab.schema.ACCOUNTS.names) <= set(columns)
    keys = words_of(site / "reference/generated/config.html").split()
    assert {key.rpartition(".")[2] for key, _ in config_keys(RunConfig)} <= set(keys)


def config_keys(model, path=()):
    for name, field in model.model_fields.items():
        if hasattr(field.annotation, "model_fields"):
            yield from config_keys(field.annotation, (*path, name))
        else:
            yield ".".join((*path, name)), field


@pytest.mark.parametrize(("key", "field"), [*config_keys(RunConfig), *config_keys(EvaluateConfig)])
def test_every_config_key_says_what_it_means(key, field):
    assert field.description, key


def test_shown_output_is_compared_line_by_line():
    printed = "one  two\nthree\n 0.5 four\n"
    assert_shown("one two\n0.5 …", printed)
    for wrong in ("three\none two", "one", "five"):
        with pytest.raises(AssertionError, match="not printed"):
            assert_shown(wrong, printed)


def test_picture_is_small():
    assert (DOCS / "growth.png").stat().st_size < 80_000
