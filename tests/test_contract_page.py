"""The page of the checks says what they do, and quotes messages that they have."""

import inspect
import re
import sys
from pathlib import Path

import pytest
from treadle.testing.contract import CHECKS, CallbackContract

ROOT = Path(__file__).parents[1]

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "docs")
    import contracts

#: Parts of messages that a module of a check puts together, or that a check takes from another one.
PLACEHOLDER = "..."


@pytest.mark.parametrize("name", CHECKS)
def test_a_check_says_how_it_checks_what_which_guarantee_it_is_about_and_its_messages(name: str) -> None:
    sections = contracts.sections_of(CHECKS[name])
    assert set(sections) == {"title", "How", "Guarantee", "Message"}


@pytest.mark.parametrize("name", CHECKS)
def test_a_quoted_message_is_one_that_the_check_has(name: str) -> None:
    source = inspect.getsource(sys.modules[CHECKS[name].__module__])
    code = source.replace(inspect.getdoc(CHECKS[name]) or "", "").replace(str(CHECKS[name].__doc__), "")
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a text that goes on in the next line
    for message in contracts.sections_of(CHECKS[name])["Message"]:
        missing = [part for part in message.split(PLACEHOLDER) if part.strip() and part.strip() not in code]
        assert missing == [], message


@pytest.mark.parametrize("name", CHECKS)
def test_a_guarantee_is_one_of_the_page_of_the_guarantees(name: str) -> None:
    guarantee = contracts.sections_of(CHECKS[name])["Guarantee"][0]
    headings = re.findall(r"^## (.*)$", (ROOT / "docs" / "guarantees.md").read_text(encoding="utf-8"), re.MULTILINE)
    if number := re.match(r"(\d), (the order follows|[\w ]+)", guarantee):
        (heading,) = [heading for heading in headings if heading.startswith(f"{number[1]}. ")]
        assert guarantee[3:].lower().startswith(heading[3:].lower())


def test_every_check_is_a_test_of_the_contract() -> None:
    source = inspect.getsource(CallbackContract)
    assert re.findall(r'self\.check\("(\w+)"\)', source) == list(CHECKS)
