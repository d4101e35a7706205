"""Checks of model, data and loss before a Treadle run spends any compute."""

from treadle_sanity.check import Check, SanityCheckException, SkipCheck
from treadle_sanity.checks import CHECKS
from treadle_sanity.sanity_check import SanityCheck

__all__ = ["CHECKS", "Check", "SanityCheck", "SanityCheckException", "SkipCheck"]
