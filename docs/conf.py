"""Settings of the documentation's site; `make docs` builds it."""

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
autodoc_typehints = "description"
autodoc_typehints_description_target = "documented"
# The headings that a callback's docstring has beside Google's: the state it uses, and where it comes from.
napoleon_custom_sections = ["Reads", "Writes", "Source"]
napoleon_google_docstring = True
napoleon_numpy_docstring = False
