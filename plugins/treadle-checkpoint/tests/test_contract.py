"""What every callback promises, for the one of this plugin."""

import tempfile

from treadle.testing import CallbackContract
from treadle_checkpoint import Checkpointer

FOLDER = tempfile.TemporaryDirectory()


class TestCheckpointer(CallbackContract):
    skip = {"runners": "each run has a name of its own, which is part of the state"}
    settings = {"nbatches": 4}

    def make(self, **options):
        return Checkpointer(tempfile.mkdtemp(dir=FOLDER.name), **options)


class TestCheckpointerEveryFewSteps(TestCheckpointer):
    options = "every_steps=..."

    def make(self):
        return super().make(every_steps=2)
