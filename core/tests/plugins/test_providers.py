import sys

import pytest
from treadle import Callback, CallbackConflictError, Read, toy_learner
from treadle.plugins.discovery import CALLBACKS, DISABLE
from treadle.plugins.providers import providers, written_paths

KEEPER = """
raise AssertionError("imported")
import treadle
from treadle import Callback, Read, Write

class Keeper(Callback):
    '''Keeps.'''
    name = "keeper"
    state_access = {"cbstate.kept": Write, "step.loss": Read}

class Typed(Callback):
    state_access: dict = {"cbstate.typed.deep": treadle.Write}

class Looker(Callback):
    state_access = {"cbstate.kept": Read}

class Computed(Callback):
    @property
    def state_access(self):
        return {"cbstate.kept": Write}
"""


@pytest.fixture
def keeper(install):
    return install(
        "keeper-plugin",
        files={
            "keeper_plugin/__init__.py": "from .exported import Alias\nfrom .callbacks import Keeper",
            "keeper_plugin/callbacks.py": KEEPER,
            "keeper_plugin/exported.py": "from .callbacks import Keeper as Alias",
            "keeper_plugin/absolute.py": "from keeper_plugin.callbacks import Keeper",
            "keeper_plugin/sub/__init__.py": "from ..callbacks import Typed",
            "keeper_plugin/broken.py": "def (:",
        },
        entry_points={
            CALLBACKS: {
                "keeper": "keeper_plugin.callbacks:Keeper",
                "looker": "keeper_plugin.callbacks:Looker",
                "typed": "keeper_plugin.callbacks:Typed",
            }
        },
    )


@pytest.mark.parametrize(
    ("value", "paths"),
    [
        ("keeper_plugin.callbacks:Keeper", {"cbstate.kept"}),
        ("keeper_plugin.callbacks:Typed", {"cbstate.typed.deep"}),
        ("keeper_plugin.callbacks:Looker", set()),
        ("keeper_plugin.callbacks:Computed", set()),
        ("keeper_plugin:Keeper", {"cbstate.kept"}),
        ("keeper_plugin:Alias", {"cbstate.kept"}),
        ("keeper_plugin.exported:Alias", {"cbstate.kept"}),
        ("keeper_plugin.absolute:Keeper", {"cbstate.kept"}),
        ("keeper_plugin.sub:Typed", {"cbstate.typed.deep"}),
        ("keeper_plugin.broken:Keeper", set()),
        ("keeper_plugin.nothing:Keeper", set()),
        ("keeper_plugin.callbacks:Nothing", set()),
        ("nowhere_to_be_found:Keeper", set()),
        ("sys:Keeper", set()),
    ],
)
def test_what_a_class_writes_is_read_from_its_source_without_importing_it(value, paths, keeper) -> None:
    assert written_paths(value) == paths
    assert not any(name.startswith("keeper_plugin") for name in sys.modules)


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("cbstate.kept", ["keeper"]),
        ("cbstate.kept.inside", ["keeper"]),
        ("cbstate.typed", ["typed"]),
        ("cbstate.typed.deep.er", ["typed"]),
        ("cbstate.keptt", []),
        ("cbstate.other", []),
    ],
)
def test_a_provider_writes_a_path_that_overlaps(path, names, keeper) -> None:
    ours = [plugin.name for plugin in providers(path) if plugin.distribution == "keeper-plugin"]
    assert ours == names


def test_a_disabled_plugin_provides_nothing(keeper, monkeypatch) -> None:
    monkeypatch.setenv(DISABLE, "keeper")
    assert providers("cbstate.kept") == []


def test_a_module_in_a_file_of_its_own_is_read_too(install) -> None:
    install(
        "single-plugin",
        files={"single_plugin.py": KEEPER},
        entry_points={CALLBACKS: {"single": "single_plugin:Keeper"}},
    )
    assert [plugin.name for plugin in providers("cbstate.kept")] == ["single"]


class Needs(Callback):
    state_access = {"cbstate.kept": Read}

    def on_step_end(self): ...


def test_a_read_without_a_writer_names_the_callback_that_would_write_it(keeper) -> None:
    with pytest.raises(
        CallbackConflictError,
        match=r"Needs reads `cbstate\.kept`, and no callback writes it\.\n   Fix: add Keeper \(of keeper-plugin\) to "
        r"the learner's callbacks:\n       callbacks=\[\"keeper\", \.\.\.\]",
    ):
        toy_learner(Needs())
    assert not any(name.startswith("keeper_plugin") for name in sys.modules)


def test_without_a_provider_the_fix_is_to_write_one() -> None:
    with pytest.raises(
        CallbackConflictError,
        match=r"Needs reads `cbstate\.kept`.*\n   Fix: add a callback of your own, for no installed one writes it:\n"
        r'       state_access = {"cbstate\.kept": Write}',
    ):
        toy_learner(Needs())
