"""The plan as a picture."""

import xml.etree.ElementTree as ET

from treadle import Callback, Read, TrainingPhase, ValidationPhase, Write, toy_learner


class Keeper(Callback):
    state_access = {"cbstate.kept": Write}

    def on_init(self): ...

    def on_step_end(self): ...


class Announcer(Callback):
    state_access = {"cbstate.kept": Read}

    def on_step_end(self, phase: TrainingPhase): ...


class Odd(Callback):
    """Has a name that has to be escaped."""

    name = 'a "b" <c> \\ `d`'
    run_after = (Keeper,)

    def on_step_end(self, phase: ValidationPhase): ...


def small():
    return toy_learner(Odd(), Announcer(), Keeper()).plan()


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


def test_who_runs_before_whom_is_joined_by_an_arrow() -> None:
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


def test_without_callbacks_it_is_empty() -> None:
    assert texts(toy_learner().plan().svg()) == []
