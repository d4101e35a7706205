"""Plugins: callbacks and hook modules of other distributions, found through entry points.

Installing a distribution makes its callbacks available; naming one makes it active. Nothing is
imported until it is asked for by name, and a plugin that cannot be used is data until then.

Entry-point groups:
    `treadle.callbacks`: a name and the class of a callback.
    `treadle.plugins`: a name and a module with functions marked `@hookimpl`; it is used when a
    callback of its distribution is, or when it is named among a learner's callbacks.
"""

from treadle.plugins.by_name import make
from treadle.plugins.discovery import DISABLE, Plugin, find, installed, load
from treadle.plugins.metadata import CALLBACKS, PLUGINS
from treadle.plugins.selection import DEFAULTS

__all__ = ["CALLBACKS", "DEFAULTS", "DISABLE", "PLUGINS", "Plugin", "find", "installed", "load", "make"]
