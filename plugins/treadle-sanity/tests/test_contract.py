"""What every callback promises, for the one of this plugin."""

from treadle.testing import CallbackContract
from treadle_sanity import SanityCheck


class TestSanityCheck(CallbackContract):
    settings = {"nbatches": 4}

    def make(self):
        return SanityCheck()
