"""Settings of the documentation's site; `make docs` builds it."""

import re

project = "Treadle"
author = "The Treadle authors"
copyright = "2026, The Treadle authors"

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
exclude_patterns = ["_build", "examples"]

html_theme = "furo"
html_title = "Treadle"

myst_enable_extensions = ["colon_fence", "deflist", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
# Of a property that replaces a plain attribute, inheriting would show the docstring of `dict`.
autodoc_inherit_docstrings = False
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# `name` in a docstring is a link where there is such a name, and code everywhere.
default_role = "py:obj"
# The headings that a callback's docstring has beside Google's: the state it uses, and where it comes from.
napoleon_custom_sections = ["Reads", "Writes", "Source"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
# `Attributes` become a list: as entries of their own they would double those that autodoc finds.
napoleon_use_ivar = True


def open_short_sections(app, what, name, obj, options, lines):
    """Turn a section that stands on the line of its heading, `Source: a paper`, into what napoleon reads."""
    inside = False
    result = []
    for line in lines:
        if heading := re.match(rf"({'|'.join(napoleon_custom_sections)}): +(\S.*)", line):
            result += [f"{heading[1]}:", f"    {heading[2]}"]
            inside = True
        else:
            inside = inside and line.strip() != "" and not re.match(r"\w+:\s*$", line)
            result.append(f"    {line}" if inside else line)
    lines[:] = result


#: How the page of a distribution opens in the repository, where nothing can be included.
OPENING = re.compile(r"\A# treadle-[\w-]+\n\nWhat it is for, with examples: \[its README\]\((\S+)\)\.\n")


def include_readme(app, docname, source):
    """Let the page of a distribution open with its README, where the repository has a link to it."""
    source[0] = OPENING.sub(r"```{include} \1\n```\n", source[0])


def link_to_pages(app, relative_docname, parent_docname, source):
    """Let the links between READMEs, which work in the repository, lead to the pages that include them."""
    source[0] = re.sub(r"\]\(\.\./treadle-([\w-]+)/README\.md", r"](\1.md", source[0])
    source[0] = source[0].replace("](../../docs/", "](../").replace("](core/README.md", "](reference/core.md")


def setup(app):
    """Called by Sphinx; the sections are opened before napoleon, whose priority is 500, reads them."""
    app.connect("autodoc-process-docstring", open_short_sections, priority=400)
    app.connect("source-read", include_readme)
    app.connect("include-read", link_to_pages)
