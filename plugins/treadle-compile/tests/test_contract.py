"""What every callback promises, for those of this plugin."""

from treadle.testing import CallbackContract
from treadle_compile import Compile, CompiledStep


class TestCompile(CallbackContract):
    options = 'backend="eager"'
    settings = {"nbatches": 4}

    def make(self) -> Compile:
        return Compile(backend="eager")


class TestCompiledStep(CallbackContract):
    options = 'backend="eager"'
    settings = {"nbatches": 4}

    def make(self) -> CompiledStep:
        return CompiledStep(backend="eager")
