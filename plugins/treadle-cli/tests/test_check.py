"""`treadle check`; that all first-party callbacks are well is tests/test_cli_page.py."""

import json
import re

import pytest
from treadle import plugins

PLUGIN = """
from treadle import Callback, NotDefined, Read, Unresolvable, Write

class Keeper(Callback):
    state_access = {"cbstate.acme": Write}
    def on_step_end(self): ...

class Announcer(Callback):
    state_access = {"cbstate.acme": Read}
    def on_step_end(self): ...

class Refuses(Callback):
    state_access = {"cbstate.acme": Write}
    def on_step_end(self): ...
    def resolve_conflict(self, other):
        return Unresolvable("There is one acme.") if type(other).__name__ == "Keeper" else NotDefined()

class Rival(Callback):
    state_access = {"cbstate.acme": Write}
    def on_step_end(self): ...

class Raises(Callback):
    state_access = {"cbstate.acme": Write}
    def on_step_end(self): ...
    def resolve_conflict(self, other):
        raise ZeroDivisionError("in resolve_conflict")

class Lonely(Callback):
    state_access = {"cbstate.of_nobody": Read}
    def on_step_end(self): ...

class Needs(Callback):
    def __init__(self, n): ...
"""


@pytest.fixture
def check(treadle, install):
    """Installs callbacks of the module above, checks, and gives the exit status and what is there of them."""

    def run(**names):
        install("acme-check", PLUGIN, **names)
        done = treadle("check", "--json")
        found = json.loads(done.out)
        pairs = {(p["first"], p["second"]): p for p in found["pairs"] if {p["first"], p["second"]} <= names.keys()}
        return done.status, pairs, found

    return run


def test_a_pair_is_ordered_with_the_reason_and_all_is_well(check) -> None:
    status, pairs, _ = check(keeper="Keeper", announcer="Announcer")
    assert (status, list(pairs)) == (0, [("keeper", "announcer")])
    pair = pairs["keeper", "announcer"]
    assert (pair["verdict"], pair["hooks"], pair["fix"]) == ("ordered", ["on_step_end"], "")
    assert pair["reason"] == "Announcer reads `cbstate.acme`, which Keeper writes"


def test_a_pair_that_says_unresolvable_is_well(check) -> None:
    status, pairs, _ = check(keeper="Keeper", refuses="Refuses")
    assert (status, pairs["keeper", "refuses"]["verdict"]) == (0, "refused")


def test_a_reader_takes_the_writer_that_fits_the_other(check) -> None:
    status, pairs, _ = check(announcer="Announcer", keeper="Keeper", refuses="Refuses")
    assert status == 0
    assert {names: pair["verdict"] for names, pair in pairs.items()} == {
        ("keeper", "announcer"): "ordered",
        ("refuses", "announcer"): "ordered",
        ("keeper", "refuses"): "refused",
    }


def test_a_conflict_that_nobody_resolves_ends_with_1_and_says_how_to_fix_it(check, treadle) -> None:
    status, pairs, _ = check(keeper="Keeper", rival="Rival")
    assert (status, pairs["keeper", "rival"]["verdict"]) == (1, "unresolved")
    done = treadle("check")
    assert done.status == 1
    assert re.search(
        r"unresolved: keeper and rival: Keeper and Rival both write `cbstate\.acme`, and nothing orders them\.\n"
        r"Fix: leave one of them out, or choose which runs first",
        done.out,
    )
    assert re.search(r"\d+ callbacks, \d+ pairs: \d+ ordered, \d+ compatible, \d+ refused, 1 unresolved\.\n$", done.out)


def test_a_resolution_that_raises_is_no_resolution(check) -> None:
    status, pairs, _ = check(keeper="Keeper", raises="Raises")
    pair = pairs["keeper", "raises"]
    assert (status, pair["verdict"], pair["reason"]) == (1, "unresolved", "ZeroDivisionError: in resolve_conflict")


def test_one_that_reads_what_nobody_writes_is_not_usable_and_makes_no_pair(check, treadle) -> None:
    status, pairs, found = check(lonely="Lonely", keeper="Keeper")
    assert (status, pairs) == (1, {})
    (problem,) = found["problems"]
    assert (problem["name"], problem["what"]) == (
        "lonely",
        "Lonely reads `cbstate.of_nobody`, and no callback writes it.",
    )
    assert "not usable: lonely: Lonely reads `cbstate.of_nobody`" in treadle("check").out


def test_one_alone_is_checked_by_itself(check) -> None:
    status, pairs, found = check(keeper="Keeper")
    assert (status, pairs, found["problems"]) == (0, {}, [])


def test_a_broken_plugin_ends_with_1_and_a_disabled_one_does_not(treadle, install, monkeypatch) -> None:
    install("acme-broken", "import nowhere", broken="It")
    done = treadle("check")
    assert done.status == 1
    assert "broken: broken (acme-broken 1.2.3): " in done.out
    monkeypatch.setenv(plugins.DISABLE, "broken,keeper")
    install("acme-check", PLUGIN, keeper="Keeper", announcer="Announcer", rival="Rival")
    done = treadle("check")
    assert done.status == 0
    assert "not checked: broken (acme-broken 1.2.3): TREADLE_DISABLE_PLUGINS leaves it out" in done.out


def test_one_that_needs_arguments_is_named_as_not_checked(check, treadle) -> None:
    status, pairs, found = check(keeper="Keeper", needs="Needs")
    assert (status, pairs) == (0, {})
    (left_out,) = found["not_checked"]
    assert left_out["name"] == "needs"
    assert "Needs.example() raises TypeError" in left_out["reason"]
    assert "not checked: needs (acme-check 1.2.3): Needs.example() raises TypeError" in treadle("check").out


def test_where_there_is_nothing_to_check_it_does_not_say_that_all_is_well(treadle, monkeypatch) -> None:
    monkeypatch.setenv(plugins.DISABLE, "all")
    done = treadle("check")
    assert (done.status, done.out) == (2, "")
    assert re.search(r"There is nothing to check: .*\nFix: install some", done.err)
