"""The pages docs/*/transforms.md hold every operator, with its arguments and their defaults."""

import inspect
import re

import pytest
import yaml

from ppcls.config.numbers import parse_number
from ppcls.config.schema import Faults, check_component
from ppcls.registry import BATCH_TRANSFORMS, TRANSFORMS

PAGES = ("docs/en/transforms.md", "docs/zh_CN/transforms.md")
_REQUIRED = inspect.Parameter.empty


def rows(page) -> "dict[str, dict]":
    """{operator: {argument: default}} of the tables whose first column names operators."""
    found = {}
    known = {*TRANSFORMS.names(), *BATCH_TRANSFORMS.names()}
    for line in page.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.split("|")]
        if len(cells) < 4 or not known & set(re.findall(r"`(\w+)`", cells[1])):
            continue
        arguments = dict(map(argument, re.findall(r"`([^`]+)`", cells[2])))
        for name in re.findall(r"`(\w+)`", cells[1]):
            assert name not in found, f"{name} stands twice"
            found[name] = arguments
    return found


def argument(text: str) -> tuple:
    name, equals, default = text.partition("=")
    return name, plain(yaml.safe_load(default)) if equals else _REQUIRED


def plain(value):
    """Lists for tuples, and numbers for fractions written as text."""
    if isinstance(value, (list, tuple)):
        return [plain(item) for item in value]
    if isinstance(value, str) and re.fullmatch(r"\d+/\d+", value):
        return parse_number(value)
    return value


@pytest.mark.parametrize("page", PAGES)
def test_every_operator_stands_on_the_page(repo_root, page):
    documented = rows(repo_root / page)
    expected = {}
    for registry in (TRANSFORMS, BATCH_TRANSFORMS):
        for name in registry.names():
            parameters = inspect.signature(registry.get(name)).parameters.values()
            expected[name] = {
                parameter.name: plain(parameter.default)
                for parameter in parameters
                if parameter.name not in registry.runtime
                and parameter.kind is not inspect.Parameter.VAR_KEYWORD
            }
    assert documented == expected


def test_the_pages_have_the_same_sections(repo_root):
    english, chinese = ((repo_root / page).read_text(encoding="utf-8") for page in PAGES)
    assert english.count("\n## ") == chinese.count("\n## ")
    assert english.count("\n- ") == chinese.count("\n- ")
    assert yaml_blocks(english) == yaml_blocks(chinese)


def test_the_examples_are_accepted(repo_root):
    for block in yaml_blocks((repo_root / PAGES[0]).read_text(encoding="utf-8")):
        operators = {"transform": block}
        if isinstance(block, dict):
            operators = {"batch transform": block["batch_transform_ops"]}
        faults = Faults()
        for kind, specs in operators.items():
            for spec in specs:
                check_component(kind, spec, "", faults)
        assert faults.messages == []


def yaml_blocks(text: str) -> list:
    return [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", text, re.DOTALL)]
