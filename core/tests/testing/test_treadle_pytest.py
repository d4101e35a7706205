import importlib.util
import subprocess
import sys

import pytest
import treadle_pytest
from treadle import PluginError, plugins

CALLBACK = "from treadle import Callback\nclass {0}(Callback):\n    def on_step_end(self): ...\n"


@pytest.fixture
def two_plugins(install):
    """Two distributions with a callback each: `first` of first-plugin, `second` of second-plugin."""
    for name in ("first", "second"):
        install(
            f"{name}-plugin",
            files={f"{name}_plugin.py": CALLBACK.format(name.title())},
            entry_points={"treadle.callbacks": {name: f"{name}_plugin:{name.title()}"}},
        )


def test_importing_it_imports_no_torch():
    code = "import sys, treadle_pytest; sys.exit('torch' in sys.modules or 'treadle' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0


def test_the_toy_learner_is_a_fixture(toy_learner):
    assert toy_learner(nbatches=2).fit(1).steps == 2


@pytest.mark.parametrize("name", ["first", "first-plugin"])
def test_other_plugins_than_those_named_cannot_be_found(name, two_plugins, only_plugins):
    only_plugins(name)
    assert [plugin.name for plugin in plugins.installed() if not plugin.disabled] == ["first"]
    assert plugins.load("first").__name__ == "First"
    with pytest.raises(PluginError, match="is disabled"):
        plugins.load("second")


def test_without_a_name_all_are_disabled(two_plugins, only_plugins, toy_learner):
    only_plugins()
    assert all(plugin.disabled for plugin in plugins.installed())
    assert toy_learner(use_default_callbacks=True).callbacks == ()


def test_a_name_that_is_not_installed_is_an_error(two_plugins, only_plugins):
    with pytest.raises(
        PluginError, match=r"The plugin 'frist' is not installed\.\nFix: name one that is\. Did you mean `first`\?"
    ):
        only_plugins("frist")


def test_after_the_test_nothing_is_disabled(two_plugins):
    with pytest.MonkeyPatch.context() as patch:
        treadle_pytest.isolate(patch, "first")
        assert plugins.find("second").disabled
    assert not plugins.find("second").disabled


CONTRACT = """
from treadle import Callback, Read, TrainingPhase
from treadle.testing import CallbackContract


class Peak(Callback):
    state_access = {"step.loss": Read}

    def on_step_end(self, learner, phase: TrainingPhase):
        learner.step.loss.detach()


class TestPeak(CallbackContract):
    def make(self):
        return Peak()
"""


#: The core's tests run with pytest alone too, as somebody has it who installed nothing else.
IN_PROCESSES = pytest.param(
    ["-n", "1"], marks=pytest.mark.skipif(importlib.util.find_spec("xdist") is None, reason="needs pytest-xdist")
)


@pytest.mark.parametrize("options", [[], IN_PROCESSES, ["-W", "error"]])
def test_what_a_contract_remarks_is_shown_and_fails_nothing(tmp_path, options):
    (tmp_path / "test_peak.py").write_text(CONTRACT)
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-k", "declares or setups", *options]
    done = subprocess.run(run, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 0, done.stdout
    assert "remarks on a callback" in done.stdout
    assert done.stdout.count("Peak, setups: on_step_end is called in TrainingPhase and its subclasses") == 1
