import re

import pytest
from treadle import authoring


def test_its_list_of_names_is_what_it_imports() -> None:
    assert authoring.__all__ == sorted(authoring.__all__)
    public = {name for name, value in vars(authoring).items() if hasattr(value, "__module__") and name[0] != "_"}
    assert public == set(authoring.__all__)


@pytest.mark.parametrize("name", authoring.__all__)
def test_every_name_has_an_executed_example_and_stands_in_the_overview(name) -> None:
    assert ">>> " in getattr(authoring, name).__doc__
    assert re.search(rf"`{name}`", authoring.__doc__)
