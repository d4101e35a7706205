"""The reference: Markdown from the docstrings, which reads in the repository as on the site."""

from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

with pytest.MonkeyPatch.context() as patch:
    patch.syspath_prepend(ROOT / "docs")
    import api


def sample(first, *rest, where=print, factor=3.0):
    """Do something.

    More about it,
    in two lines.

    Args:
        first: What it is; a text
            that goes on.
        factor: How much. Default: 3.

    Raises:
        ValueError: for something else.

    Example:
        >>> 1 + 1
        2

    Source: A paper,
        of 1998.
    """


class Sample:
    """Keeps something."""

    plain = 3

    def method(self, x):
        """Use it."""

    @property
    def kept(self):
        """What is kept."""

    def without(self): ...

    def _hidden(self):
        """Not shown."""


def test_a_function_is_shown_with_its_arguments_and_every_section() -> None:
    assert "\n".join(api.described("sample", sample, members=True)) == (
        "### `sample`\n"
        "\n"
        "```text\nsample(first, *rest, where=print, factor=3.0)\n```\n"
        "\n"
        "Do something.\n"
        "\n"
        "More about it,\nin two lines.\n"
        "\n"
        "*Args*\n"
        "\n"
        "- `first`: What it is; a text that goes on.\n"
        "- `factor`: How much. Default: 3.\n"
        "\n"
        "*Raises*\n"
        "\n"
        "- `ValueError`: for something else.\n"
        "\n"
        "*Example*\n"
        "\n"
        "```text\n>>> 1 + 1\n2\n```\n"
        "\n"
        "*Source:* A paper, of 1998."
    )


@pytest.mark.parametrize(
    ("members", "headings"), [(True, ["Sample", "Sample.method(x)", "Sample.kept"]), (False, ["Sample"])]
)
def test_a_class_has_its_members_where_they_are_wanted(members, headings) -> None:
    lines = api.described("Sample", Sample, members=members)
    assert [line.strip("#").strip(" `") for line in lines if line.startswith("#")] == headings


def test_what_differs_from_process_to_process_is_not_shown() -> None:
    def function(value=object(), kind=int): ...  # noqa: B008

    assert api.signature(function) == "(value=..., kind=int)"


def test_text_below_a_section_is_text() -> None:
    assert list(api.markdown("Do it.\n\nArgs:\n    x: One.\n\nIt is fine.")) == [
        "Do it.",
        "",
        "*Args*",
        "",
        "- `x`: One.",
        "",
        "It is fine.",
    ]


def test_every_page_of_the_reference_can_be_read_in_the_repository() -> None:
    pages = sorted((ROOT / "docs" / "reference").glob("*.md"))
    assert len(pages) > 15
    assert [page.name for page in pages if "autoclass::" in page.read_text(encoding="utf-8")] == []
