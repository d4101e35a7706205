"""Version ranges are read as `packaging`, and so pip, reads them."""

import packaging
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from packaging.specifiers import SpecifierSet
from packaging.version import Version
from treadle.plugins.version_range import allows

RELEASES = st.lists(st.integers(0, 3), min_size=1, max_size=4).map(lambda parts: ".".join(map(str, parts)))
SUFFIXES = st.sampled_from(["", "", "a1", "b2", "rc1", ".dev0", ".post1", "a1.dev2", ".post1.dev3", "-2", "rc1.post2"])
VERSIONS = st.builds("{}{}{}".format, st.sampled_from(["", "", "", "1!"]), RELEASES, SUFFIXES)
CLAUSES = st.one_of(
    st.builds("{}{}".format, st.sampled_from(["==", "!=", "<=", ">=", "<", ">"]), VERSIONS),
    st.builds("{}{}.*".format, st.sampled_from(["==", "!="]), RELEASES),
    st.builds("~={}.{}".format, st.integers(0, 3), RELEASES),
)


@pytest.mark.skipif(
    Version(packaging.__version__) < Version("26"), reason="before packaging 26, `>0a1` leaves out 0.post1"
)
@settings(max_examples=100, derandomize=True)
@given(ranges=st.lists(CLAUSES, max_size=3).map(", ".join), version=VERSIONS)
@example(ranges=">=0.1,<0.2", version="0.2.0.dev0")
@example(ranges="<0.2", version="0.2rc1")
@example(ranges=">0.1", version="0.1.post1")
@example(ranges=">0a1", version="0.post1")
@example(ranges="<0.2.post2", version="0.2a1")
@example(ranges=">0.dev1", version="0.post1")
@example(ranges="~=0.1.2", version="0.1.10")
def test_the_verdict_is_that_of_packaging(ranges, version) -> None:
    assert allows(ranges, version) == SpecifierSet(ranges).contains(version, prereleases=True)


def test_what_was_built_locally_counts_as_the_version_it_is_built_from() -> None:
    assert allows(">=0.1,<=0.1.0", "0.1.0+local.3")


@pytest.mark.parametrize(
    ("version_range", "version"),
    [("about 1", "1.0"), (">=", "1.0"), (">=1.0", "unknown"), ("~=1", "1.0"), (">=1.*", "1.0"), ("===1.0", "1.0")],
)
def test_what_cannot_be_read_gives_no_verdict(version_range, version) -> None:
    assert allows(version_range, version) is None
