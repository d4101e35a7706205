"""Write what the documentation takes from the code: `python docs/generate.py`, or `--check` to compare only.

Written wholly are callbacks.md, pairs.md and contract.md of docs/reference, and the plans in docs/images. In other
pages it is what stands between `<!-- generated: name -->` and `<!-- end of generated -->`; of these,
`<!-- generated: api module -->` is the reference of a module, from its docstrings.
"""

import contextlib
import functools
import inspect
import io
import re
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import api
import contracts
from first_party import LOOP, ROOT, Example, Pair, distributions, examples, listed, pairs
from treadle import Callback, Learner, Phase, Read, Write, accesses
from treadle.authoring import handling
from treadle.ordering.handlers import handlers

NOTICE = "<!-- Written by docs/generate.py from the declarations of the callbacks. Do not edit it by hand. -->"


def main(*arguments: str) -> int:
    """Write the pages, or with `--check` say which of them are not as they would be written."""
    stale = [path for path, text in generated().items() if (ROOT / path).read_text(encoding="utf-8") != text]
    if arguments == ("--check",):
        for path in stale:
            print(f"{path} is not as docs/generate.py writes it. Run: .venv/bin/python docs/generate.py")
        return bool(stale)
    for path in stale:
        (ROOT / path).write_text(generated()[path], encoding="utf-8")
        print(f"wrote {path}")
    return 0


def generated() -> dict[str, str]:
    """The pages as they should be, by their paths."""
    return {path: "\n".join(page()) + "\n" for path, page in PAGES.items()} | {path: filled(path) for path in FILLED}


def filled(path: str) -> str:
    """A page with its generated parts written anew."""

    def part(match: re.Match[str]) -> str:
        lines = api.api(match[3]) if match[2] == "api" else PARTS[match[2]]()
        return "\n".join([match[1], "", *lines, "", match[4]])

    text = (ROOT / path).read_text(encoding="utf-8")
    pattern = r"^(<!-- generated: (\w+)(?: ([^>\n]*))? -->)$.*?^(<!-- end of generated -->)$"
    return re.sub(pattern, part, text, flags=re.DOTALL | re.MULTILINE)


# The callbacks.


def callbacks_page() -> Iterator[str]:
    yield NOTICE
    yield "# The callbacks and what they declare"
    yield ""
    yield "What each first-party callback reads and writes of the learner, what it runs after, and what it handles."
    yield "Read off the callbacks themselves; a test compares this page with them. [How each pair of them gets"
    yield "on](pairs.md) has a page of its own."
    for distribution in distributions():
        yield from ["", f"## {distribution.name}", "", f"{distribution.description}."]
        yield f"[Reference]({distribution.name.removeprefix('treadle-')}.md)."
        if not distribution.callbacks:
            yield from ["", "It brings no callbacks."]
        for entry_point in sorted(distribution.callbacks):
            yield from section([example for example in examples() if example.entry_point == entry_point])


def section(ways: list[Example]) -> Iterator[str]:
    """A callback's section."""
    plain = ways[0]
    callback = plain.make()
    yield from ["", f"### {plain.cls.__name__}", "", summary(plain.cls), ""]
    yield f"| | `{plain.entry_point}` |"
    yield "|---|---|"
    for heading, value in facts(callback).items():
        yield f"| {heading} | {value} |"
    for example in ways[1:]:
        other = facts(example.make())
        different = [
            f"{heading} {value}" for heading, value in other.items() if value not in ("–", facts(callback)[heading])
        ]
        yield f"| with `{example.options}` | {'; '.join(different)} |"


def summary(cls: type[Callback]) -> str:
    """The first paragraph of a class's docstring."""
    return " ".join(inspect.getdoc(cls).partition("\n\n")[0].split())


def facts(callback: Callback) -> dict[str, str]:
    """What a callback declares and does, by heading."""
    return {
        "reads": listed(sorted(accesses(callback, Read))) or "–",
        "writes": listed(sorted(accesses(callback, Write))) or "–",
        "runs after": listed(run_after(callback)) or "–",
        "handles": ", ".join(taking_part(callback)) or "–",
        "in a conflict": overriding(callback, "resolve_conflict", "has a resolution of its own"),
        "in a checkpoint": overriding(callback, "state_dict", "has state of its own"),
    }


def run_after(callback: Callback) -> list[str]:
    return [entry if isinstance(entry, str) else entry.__name__ for entry in callback.run_after]


def taking_part(callback: Callback) -> Iterator[str]:
    """The hooks of a callback, each with the phases it is restricted to and with how it is handled."""
    for name, handler in sorted(handlers(callback).items(), key=lambda item: LOOP.index(item[0])):
        how = f"`{name}`"
        if not name.startswith("on_"):
            wraps = getattr(getattr(handling(callback), name), "treadle_impl", {}).get("wrapper")
            how = f"{'around' if wraps else 'overrides'} {how}"
        if handler.phases != (Phase,):
            how += f" of {' and '.join(phase.__name__ for phase in handler.phases)}"
        yield how


def overriding(callback: Callback, method: str, yes: str) -> str:
    return "–" if getattr(type(callback), method) is getattr(Callback, method) else yes


def catalogue() -> Iterator[str]:
    """The table of all entry points."""
    yield "| distribution | entry point | class | reads | writes | runs after |"
    yield "|---|---|---|---|---|---|"
    first = {example.entry_point: example for example in reversed(examples())}
    for distribution in distributions():
        for name in sorted(distribution.callbacks):
            facts_of_callback = facts(first[name].make())
            cells = [distribution.name, f"`{name}`", f"`{first[name].cls.__name__}`"]
            yield f"| {' | '.join([*cells, *(facts_of_callback[key] for key in ('reads', 'writes', 'runs after'))])} |"


# The pairs.


def pairs_page() -> Iterator[str]:
    judged = [pair for _, _, pair in pairs()]
    number = len({example.entry_point for example in examples()})
    count = Counter(pair.verdict for pair in judged)
    yield NOTICE
    yield "# How each pair of callbacks combines"
    yield ""
    yield f"The {number} first-party callbacks, some of them also with an option that declares other state, make"
    yield f"{len(judged)} pairs, two of a kind included."
    yield ""
    yield f"- {count['refused']} pairs are **refused**, with the reason."
    yield f"- {count['ordered']} pairs are **ordered**, with the reason."
    yield f"- {count['compatible']} pairs are **compatible**: any order gives the same."
    yield ""
    yield "It comes from the code that orders the callbacks of a learner; a test trains with every pair."
    yield "A pair is judged together with the callbacks that write what it reads of `cbstate`."
    yield from ["", "## Refused", "", "| pair | why |", "|---|---|"]
    for pair in by_name(judged, "refused"):
        yield f"| `{pair.first}`, `{pair.second}` | {pair.reason} |"
    yield from ["", "## Ordered", "", "| runs first | runs second | why | where |", "|---|---|---|---|"]
    for pair in by_name(judged, "ordered"):
        yield f"| `{pair.first}` | `{pair.second}` | {pair.reason} | {listed(pair.hooks)} |"
    yield from ["", "## Compatible", "", "| | with | why |", "|---|---|---|"]
    together: dict[tuple[str, str], list[str]] = {}
    for pair in by_name(judged, "compatible"):
        together.setdefault((pair.first, pair.reason), []).append(pair.second)
    for (first, reason), others in together.items():
        yield f"| `{first}` | {listed(others)} | {reason} |"


def by_name(judged: list[Pair], verdict: str) -> list[Pair]:
    return sorted((p for p in judged if p.verdict == verdict), key=lambda p: (p.first, p.reason, p.second))


# Parts of other pages.


def map_of_distributions() -> Iterator[str]:
    yield "| distribution | what it is for | callbacks |"
    yield "|---|---|---|"
    classes = {example.entry_point: example.cls.__name__ for example in examples()}
    for distribution in distributions():
        callbacks = listed([classes[entry_point] for entry_point in sorted(distribution.callbacks)])
        page = f"reference/{distribution.name.removeprefix('treadle-')}.md"
        yield f"| [`{distribution.name}`]({page}) | {distribution.description} | {callbacks} |"


def digits() -> Iterator[str]:
    yield "```python"
    yield (ROOT / DIGITS).read_text(encoding="utf-8").rstrip()
    yield "```"


@functools.cache
def digits_before_training() -> tuple[Learner, str]:
    """The learner of the example as it is before it trains, and what the example has printed by then."""
    before, _, _ = (ROOT / DIGITS).read_text(encoding="utf-8").partition("learner.fit(")
    names: dict[str, Any] = {}
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(before, names)
    return names["learner"], printed.getvalue()


def plan() -> Iterator[str]:
    yield "```text"
    yield digits_before_training()[1].rstrip()
    yield "```"


def picture_of_the_plan() -> str:
    return digits_before_training()[0].plan().svg()


def picture_of_the_first_plan() -> str:
    """The plan of the README's example, which is run as far as its learner."""
    example = re.search(
        r"```python\n(.*?)^learner\.fit", (ROOT / "README.md").read_text(encoding="utf-8"), re.DOTALL | re.M
    )
    assert example, "README.md has no example that ends with learner.fit"
    names: dict[str, Any] = {}
    exec(example[1], names)
    return names["learner"].plan().svg()


DIGITS = "plugins/treadle-cli/src/treadle_cli/digits.py"
PAGES: dict[str, Callable[[], Iterable[str]]] = {
    "docs/reference/callbacks.md": callbacks_page,
    "docs/reference/pairs.md": pairs_page,
    "docs/reference/contract.md": contracts.page,
    "docs/images/digits-plan.svg": lambda: [picture_of_the_plan()],
    "docs/images/plan.svg": lambda: [picture_of_the_first_plan()],
}
PARTS = {"catalogue": catalogue, "digits": digits, "distributions": map_of_distributions, "plan": plan}
REFERENCE = tuple(
    sorted(
        str(page.relative_to(ROOT))
        for page in (ROOT / "docs").rglob("*.md")
        if "<!-- generated: api " in page.read_text(encoding="utf-8")
    )
)
FILLED = ("docs/demo.md", "docs/plugins.md", *REFERENCE)

if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
