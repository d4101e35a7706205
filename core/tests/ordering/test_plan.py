import itertools
import re
import subprocess
import sys
import xml.etree.ElementTree as ET

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from treadle import (
    Callback,
    Event,
    Phase,
    Read,
    TrainingPhase,
    ValidationPhase,
    Write,
    hookimpl,
    run_step,
    throttle,
    toy_learner,
)
from treadle.authoring import differing_entries
from treadle.events import StepEnd
from treadle.plugins.discovery import CALLBACKS


class Keeper(Callback):
    state_access = {"cbstate.kept": Write}

    def on_init(self): ...

    def on_step_end(self): ...


class Announcer(Callback):
    state_access = {"cbstate.kept": Read}

    def on_step_end(self, phase: TrainingPhase): ...


class Odd(Callback):
    """Has a name that every format has to escape."""

    name = 'a "b" <c> \\ `d`'
    run_after = (Keeper,)

    def on_step_end(self, phase: ValidationPhase): ...


def small():
    return toy_learner(Odd(), Announcer(), Keeper()).plan()


def test_as_text() -> None:
    assert str(small()) == repr(small()) == TEXT


TEXT = r"""Outside of the phases
  on_init      Keeper

TrainingPhase
  on_step_end  Keeper > Announcer

ValidationPhase
  on_step_end  Keeper > a "b" <c> \ `d`

Why in this order
  Keeper before Announcer: Announcer reads `cbstate.kept`, which Keeper writes.
  Keeper before a "b" <c> \ `d`: a "b" <c> \ `d`.run_after names Keeper.

Where they come from
  Announcer: not installed as a plugin
  Keeper: not installed as a plugin
  a "b" <c> \ `d`: not installed as a plugin"""


def test_as_a_mermaid_flowchart() -> None:
    assert (
        small().mermaid()
        == r"""flowchart LR
    c0["Announcer"]
    c1["Keeper"]
    c2["a &quot;b&quot; &lt;c&gt; \ d"]
    c1 -->|"Announcer reads cbstate.kept, which Keeper writes"| c0
    c1 -->|"a &quot;b&quot; &lt;c&gt; \ d.run_after names Keeper"| c2"""
    )


def test_in_dot() -> None:
    assert (
        small().dot()
        == r"""digraph plan {
    rankdir=LR;
    node [shape=box, style=rounded];
    c0 [label="Announcer"];
    c1 [label="Keeper"];
    c2 [label="a \"b\" <c> \\ `d`"];
    c1 -> c0 [label="Announcer reads `cbstate.kept`, which Keeper writes"];
    c1 -> c2 [label="a \"b\" <c> \\ `d`.run_after names Keeper"];
}"""
    )


def test_in_a_notebook() -> None:
    odd = "a &quot;b&quot; &lt;c&gt; \\ `d`"
    cells = re.findall(r"<t[hd](?: [^>]*)?>(.*?)</t[hd]>", small()._repr_html_())
    assert [tuple(cells[i : i + 3]) for i in range(0, len(cells), 3)] == [
        ("phase", "event", "callbacks, in order"),
        ("", "on_init", "Keeper"),
        ("TrainingPhase", "on_step_end", "Keeper &gt; Announcer"),
        ("ValidationPhase", "on_step_end", f"Keeper &gt; {odd}"),
        ("first", "then", "why in this order"),
        ("Keeper", "Announcer", "Announcer reads `cbstate.kept`, which Keeper writes"),
        ("Keeper", odd, f"{odd}.run_after names Keeper"),
    ]


def test_no_callbacks() -> None:
    plan = toy_learner().plan()
    assert str(plan) == "No callbacks: nothing runs beside the loop itself."
    assert plan._repr_html_() == "<p>No callbacks: nothing runs beside the loop itself.</p>"
    assert (plan.mermaid(), plan.rows, plan.edges) == ("flowchart LR", [], [])


def test_callbacks_that_handle_nothing() -> None:
    assert str(toy_learner(Callback()).plan()) == (
        "No ordering constraints.\n\nWhere they come from\n  Callback: not installed as a plugin"
    )


def test_where_a_callback_comes_from(install) -> None:
    install(
        "shown-plugin",
        files={"shown_plugin.py": "from treadle import Callback\nclass Shown(Callback): ...\n"},
        entry_points={CALLBACKS: {"shown": "shown_plugin:Shown"}},
        version="0.3",
    )
    assert "  Shown: shown-plugin 0.3" in str(toy_learner("shown").plan())


def test_rows_are_the_phases_and_hooks_with_the_callbacks_in_order() -> None:
    odd, announcer, keeper = Odd(), Announcer(), Keeper()
    assert toy_learner(odd, announcer, keeper).plan().rows == [
        ("", "on_init", (keeper,)),
        ("TrainingPhase", "on_step_end", (keeper, announcer)),
        ("ValidationPhase", "on_step_end", (keeper, odd)),
    ]


def test_edges_name_both_the_reason_and_the_hooks() -> None:
    announcer, keeper = Announcer(), Keeper()
    assert toy_learner(announcer, keeper).plan().edges == [
        (keeper, announcer, "Announcer reads `cbstate.kept`, which Keeper writes", ("on_step_end",))
    ]


def test_every_permutation_gives_the_same_plan() -> None:
    callbacks = [Odd(), Announcer(), Keeper(), throttle(Callback(), StepEnd, freq=2)]
    plans = [toy_learner(*permuted).plan() for permuted in itertools.permutations(callbacks)]
    shown = [(str(p), p.mermaid(), p.dot(), p.svg(), p._repr_html_(), p.edges, p.callbacks) for p in plans]
    assert all(other == shown[0] for other in shown)


class Zweite(Phase):
    """Declared before the other."""

    def step(self, learner, batch):
        with run_step(learner, self):
            pass


class Andere(Zweite):
    """Comes first by its name."""


class NotShown(Phase):
    """Has no step."""


def test_it_shows_the_phases_that_handlers_name_by_their_names() -> None:
    class Mine(Callback):
        def on_step_end(self, phase: Zweite): ...

        def on_step_begin(self, phase: Andere): ...

        def on_epoch_end(self, phase: NotShown): ...

    mine = Mine()
    assert toy_learner(mine).plan().rows == [
        ("Andere", "on_step_begin", (mine,)),
        ("Andere", "on_step_end", (mine,)),
        ("Zweite", "on_step_end", (mine,)),
    ]


class ZuletztGesehen(Event):
    """Declared before the other."""


class Angekommen(Event):
    """Comes first by its name."""


def test_custom_events_come_after_those_of_the_loop_by_their_names() -> None:
    class Mine(Callback):
        def on_zuletzt_gesehen(self): ...

        def on_angekommen(self): ...

        def on_step_end(self): ...

    rows = toy_learner(Mine()).plan().rows
    assert [hook for phase, hook, _ in rows if phase == "TrainingPhase"] == [
        "on_step_end",
        "on_angekommen",
        "on_zuletzt_gesehen",
    ]


@pytest.mark.parametrize("event", ["fit", "change"])
def test_a_plan_that_was_taken_stays_as_it_was(event) -> None:
    learner = toy_learner(Keeper())
    plan = learner.plan()
    before = str(plan)
    learner.fit(1) if event == "fit" else learner.set_callbacks([])
    assert str(plan) == before


# The picture.


def texts(svg: str) -> list[str]:
    return [element.text for element in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def test_as_a_picture() -> None:
    assert texts(small().svg()) == [
        "Outside of the phases",
        "on_init",
        "Keeper",
        "TrainingPhase",
        "on_step_end",
        "Keeper",
        "Announcer",
        "ValidationPhase",
        "on_step_end",
        "Keeper",
        'a "b" <c> \\ `d`',
        "Why in this order",
        "Keeper before Announcer: Announcer reads cbstate.kept, which Keeper writes",
        'Keeper before a "b" <c> \\ `d`: a "b" <c> \\ d.run_after names Keeper',
    ]


def test_the_whole_picture_of_one_callback() -> None:
    font = "font-family='DejaVu Sans Mono, Menlo, Consolas, monospace' font-size='12'"
    box = "width='59.8' height='24' rx='6' fill='#e8f0fe' stroke='#5f6368'/>"
    assert toy_learner(Keeper()).plan([TrainingPhase()]).svg() == (
        "<svg xmlns='http://www.w3.org/2000/svg' width='242' height='183' viewBox='0 0 242 183'>"
        "<rect width='100%' height='100%' fill='white'/>"
        f"<text x='20.0' y='36.0' fill='#202124' {font} font-weight='bold'>Outside of the phases</text>"
        f"<text x='32.0' y='63.2' fill='#80868b' {font}>on_init</text>"
        f"<rect x='170.0' y='47.2' {box}"
        f"<text x='178.0' y='63.2' fill='#202124' {font}>Keeper</text>"
        f"<text x='20.0' y='107.4' fill='#202124' {font} font-weight='bold'>TrainingPhase</text>"
        f"<text x='32.0' y='134.6' fill='#80868b' {font}>on_step_end</text>"
        f"<rect x='170.0' y='118.6' {box}"
        f"<text x='178.0' y='134.6' fill='#202124' {font}>Keeper</text>"
        "</svg>"
    )


def test_an_arrow_joins_a_callback_to_the_next() -> None:
    svg = toy_learner(Announcer(), Keeper()).plan().svg()
    (arrow,) = ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}path")
    assert arrow.get("d").startswith("M235.8 130.6 h16")


def test_the_pictures_boxes_and_words_lie_inside_of_it() -> None:
    root = ET.fromstring(small().svg())
    width, height = float(root.get("width")), float(root.get("height"))
    for element in list(root)[1:]:
        if element.tag.endswith(("text", "rect")):
            assert 0 <= float(element.get("x")) <= width
            assert 0 <= float(element.get("y")) <= height


def test_without_callbacks_the_picture_is_empty() -> None:
    assert texts(toy_learner().plan().svg()) == []


def test_it_shows_only_what_a_phase_performs() -> None:
    class Everywhere(Callback):
        def on_backward_end(self): ...

        def on_loss_begin(self): ...

        def update(self): ...

    class Special(ValidationPhase):
        """Has a backward pass."""

        def step(self, learner, batch): ...

    plan = toy_learner(Everywhere()).plan([TrainingPhase(), ValidationPhase(), Special()])
    assert [(phase, hook) for phase, hook, _ in plan.rows] == [
        ("TrainingPhase", "on_loss_begin"),
        ("TrainingPhase", "on_backward_end"),
        ("TrainingPhase", "update"),
        ("ValidationPhase", "on_loss_begin"),
        ("Special", "on_loss_begin"),
        ("Special", "on_backward_end"),
        ("Special", "update"),
    ]


def drawn(name, handled, paths, *, wrapper):
    """A callback that handles some events in some phase, declares some paths, and may wrap the step."""
    handlers = {
        "on_step_end": lambda self, phase: None,
        "on_epoch_end": lambda self: None,
        "on_step_begin": lambda self, phase: None,
    }
    handlers["on_step_end"].__annotations__ = {"phase": TrainingPhase}
    body = {hook: handlers[hook] for hook in handled}
    if wrapper:

        @hookimpl(wrapper=True)
        def step(self):
            return (yield)

        body["step"] = step
    return type(name, (Callback,), {**body, "state_access": {f"step.{path}": Read for path in paths}})()


CALLBACKS_OF_A_PLAN = st.lists(
    st.builds(
        drawn,
        st.sampled_from(["First", "Second", "Third", "Fourth"]),
        st.sets(st.sampled_from(["on_step_begin", "on_step_end", "on_epoch_end"])),
        st.sets(st.sampled_from(["loss", "xs"])),
        wrapper=st.booleans(),
    ),
    max_size=4,
    unique_by=lambda callback: callback.name,
)


def without_sources(plan):
    """What a plan shows, without where the callbacks come from."""
    return str(plan).partition("Where they come from")[0], sorted(callback.name for callback in plan.callbacks)


@settings(max_examples=50, deadline=None)
@given(first=CALLBACKS_OF_A_PLAN, second=CALLBACKS_OF_A_PLAN, data=st.data())
def test_two_plans_have_one_digest_exactly_if_they_show_the_same(first, second, data) -> None:
    one, other = toy_learner(*first).plan(), toy_learner(*second).plan()
    assert (one.digest == other.digest) == (without_sources(one) == without_sources(other))
    permuted = data.draw(st.permutations(first))
    assert toy_learner(*permuted).plan().digest == one.digest


def test_the_digest_is_16_characters_and_the_same_in_every_process() -> None:
    code = "from treadle import *; print(toy_learner(CustomCallback(print, StepEnd)).plan().digest)"
    digests = {
        subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip()
        for _ in range(2)
    }
    (digest,) = digests
    assert len(digest) == 16
    assert int(digest, 16) >= 0


def test_the_digest_tells_the_reasons_and_who_is_around() -> None:
    class Ring(Callback):
        name = "Announcer"

        @hookimpl(wrapper=True)
        def on_step_end(self):
            return (yield)

    class Free(Announcer):
        name = "Announcer"
        state_access = {}
        run_after = (Keeper,)

    plans = [toy_learner(callback, Keeper()).plan() for callback in (Announcer(), Free(), Ring())]
    assert len({plan.digest for plan in plans}) == 3


# Plans of several processes.


def of_main_process(callback):
    callback.main_process_only = True
    return callback


def test_what_belongs_to_the_main_process_is_in_the_plan_and_not_in_that_of_all_processes() -> None:
    with_it, without = toy_learner(Keeper(), of_main_process(Announcer())).plan(), toy_learner(Keeper()).plan()
    assert "Announcer" in str(with_it)
    assert (str(with_it.everywhere), with_it.everywhere.digest) == (str(without), without.digest)
    assert with_it.everywhere.entries == without.everywhere.entries == without.entries
    assert with_it.digest != without.digest


def test_two_plans_differ_in_the_entries_by_which_their_digests_do() -> None:
    one, other = toy_learner(Keeper(), Announcer()).plan(), toy_learner(Keeper()).plan()
    assert differing_entries(one.entries, other.entries, ("rank 0", "rank 1")) == [
        "callbacks: rank 0 has Announcer, Keeper, rank 1 has Keeper",
        "TrainingPhase, on_step_end: rank 0 has Keeper > Announcer, rank 1 has Keeper",
        "Keeper before Announcer: rank 0 has Announcer reads `cbstate.kept`, which Keeper writes (on_step_end), "
        "rank 1 has none",
    ]
    assert differing_entries(one.entries, one.entries) == []
