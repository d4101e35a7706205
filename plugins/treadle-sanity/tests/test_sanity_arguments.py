"""Whatever a user passes that cannot be right is refused where it is passed, by an error that names it and the fix."""

import pytest
from treadle import TreadleError
from treadle_sanity import CHECKS, Check, SanityCheck


def holds(learner):
    return True


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: Check(3, "It holds", True, "Do this."), r"Check\(fn\)"),
        (lambda: Check(None, "It holds", True, "Do this."), r"Check\(fn\)"),
        (lambda: Check(holds, 3, True, "Do this."), r"Check\(name\)"),
        (lambda: Check(holds, "It holds", True, None), r"Check\(message\)"),
        (lambda: Check(holds, "It holds", "yes", "Do this."), r"Check\(throw_error\)"),
        (lambda: Check(holds, "It holds", None, "Do this."), r"Check\(throw_error\)"),
        (lambda: Check(holds, "It holds", True, "Do this.", supervised="no"), r"Check\(supervised\)"),
        (lambda: SanityCheck("x"), r"SanityCheck\(checks\)"),
        (lambda: SanityCheck(3), r"SanityCheck\(checks\)"),
        (lambda: SanityCheck(None), r"SanityCheck\(checks\)"),
        (lambda: SanityCheck(CHECKS[0]), r"SanityCheck\(checks\)"),
        (lambda: SanityCheck([holds]), r"SanityCheck\(checks\)\[0\]"),
        (lambda: SanityCheck([CHECKS[0], "There are training data"]), r"SanityCheck\(checks\)\[1\]"),
        (lambda: SanityCheck([Check]), r"SanityCheck\(checks\)\[0\]"),
        (lambda: SanityCheck((), "no"), r"SanityCheck\(use_default\)"),
        (lambda: SanityCheck((), None), r"SanityCheck\(use_default\)"),
    ],
)
def test_what_cannot_be_right_is_refused_by_a_typed_error_with_a_fix(call, names):
    with pytest.raises(TreadleError, match=names) as caught:
        call()
    assert "\nFix: " in str(caught.value)
