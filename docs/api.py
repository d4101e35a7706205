"""The reference of public names as Markdown, from their docstrings: it reads in the repository as on the site."""

import functools
import importlib
import inspect
import re
import textwrap
from collections.abc import Iterator
from typing import Any

#: Headings of a docstring whose lines are entries, `name: text`, and those of which the text is a paragraph.
ENTRIES = ("Args", "Attributes", "Raises")
PARAGRAPHS = ("Returns", "Yields", "Reads", "Writes", "Source")
SECTION = re.compile(rf"^({'|'.join((*ENTRIES, *PARAGRAPHS, 'Example', 'Examples'))}):(?: +(\S.*))?$")


def api(arguments: str) -> Iterator[str]:
    """The reference of names of a module.

    Args:
        arguments: The module, and which names: `treadle: Learner.* fit`, where `.*` means with its methods. Without
            names those of `__all__`, with their methods.
    """
    module_name, _, chosen = arguments.partition(":")
    module = importlib.import_module(module_name.strip())
    names = chosen.split() or [f"{name}.*" for name in module.__all__]
    blocks = []
    for name in names:
        value = getattr(module, name.removesuffix(".*"))
        blocks.append("\n".join(described(name.removesuffix(".*"), value, members=name.endswith(".*"))))
    yield from "\n\n".join(blocks).split("\n")


def described(name: str, value: Any, *, members: bool) -> Iterator[str]:
    """The section of a public name."""
    yield f"### `{name}`"
    yield ""
    if callable(value) and not (isinstance(value, type) and issubclass(value, BaseException)):
        yield from code(f"{name}{signature(value)}")
    yield from markdown(docstring(value))
    if isinstance(value, type) and members:
        for member, part in vars(value).items():
            if not member.startswith("_") and (text := docstring(part)):
                shown = f"{member}{signature(part)}" if is_method(part) else member
                yield from ["", f"#### `{name}.{shown}`", ""]
                yield from markdown(text)


def docstring(value: Any) -> str:
    """What stands in the source of a name, nothing inherited."""
    text = getattr(value, "__doc__", None)
    return inspect.cleandoc(text) if isinstance(text, str) and (is_documented(value)) else ""


def is_documented(value: Any) -> bool:
    """Whether a docstring is one of its own: a plain value has that of its class."""
    kinds = (type, property, functools.cached_property, classmethod, staticmethod)
    return isinstance(value, kinds) or inspect.isroutine(value)


def is_method(value: Any) -> bool:
    """Whether a member is called."""
    return inspect.isroutine(value) or isinstance(value, (classmethod, staticmethod))


def signature(value: Any) -> str:
    """The arguments with their defaults, without annotations."""
    function = value.__func__ if isinstance(value, (classmethod, staticmethod)) else value
    try:
        found = inspect.signature(function)
    except (TypeError, ValueError):
        return ""
    parameters = [
        parameter.replace(annotation=inspect.Parameter.empty, default=shown(parameter.default))
        for name, parameter in found.parameters.items()
        if name not in ("self", "cls")
    ]
    return str(found.replace(parameters=parameters, return_annotation=inspect.Signature.empty))


class Shown:
    """A default as it is written."""

    def __init__(self, text: str) -> None:
        self.text = text

    def __repr__(self) -> str:
        return self.text


def shown(default: Any) -> Any:
    """A default that is shown the same in every process."""
    if default is inspect.Parameter.empty or not repr(default).startswith("<"):
        return default
    return Shown(getattr(default, "__name__", "..."))


def code(text: str) -> Iterator[str]:
    """A block that is shown and not run: the examples are run where they stand."""
    yield from ["```text", *textwrap.wrap(text, 110, subsequent_indent="    ", break_long_words=False), "```", ""]


def markdown(text: str) -> Iterator[str]:
    """A docstring, section by section."""
    heading, lines = "", list[str]()
    for line in [*text.split("\n"), None]:
        match = SECTION.match(line) if line is not None else None
        if line is None or match:
            yield from section(heading, lines)
            heading, lines = (match[1], [match[2]] if match[2] else []) if match else ("", [])
        elif heading and line and not line.startswith(" "):  # text below a section
            yield from section(heading, lines)
            yield ""
            heading, lines = "", [line]
        else:
            lines.append(line)


def section(heading: str, lines: list[str]) -> Iterator[str]:
    """A part of a docstring below its heading, without which it is the text above them all."""
    first, *rest = [*lines, ""]
    indented = first.startswith(" ")
    body = textwrap.dedent("\n".join(lines if indented else rest)).strip("\n")
    body = body if indented else f"{first}\n{body}".strip("\n")
    if not heading:
        yield from (line.rstrip() for line in "\n".join(lines).strip("\n").split("\n"))
    elif not body:
        return
    elif heading.startswith("Example"):
        yield from ["", "*Example*", "", "```text", *(line.rstrip() for line in body.split("\n")), "```"]
    elif heading in ENTRIES:
        yield from ["", f"*{heading}*", "", *entries(body)]
    else:
        yield from ["", f"*{heading}:* {' '.join(body.split())}"]


def entries(body: str) -> Iterator[str]:
    """The entries of a section, each with the lines that belong to it."""
    found: list[str] = []
    for line in body.split("\n"):
        if line.startswith(" ") and found:
            found[-1] += f" {line.strip()}"
        elif line.strip():
            found.append(line.strip())
    for entry in found:
        name, colon, text = entry.partition(": ")
        yield f"- `{name}`: {text}" if colon else f"- {entry}"
