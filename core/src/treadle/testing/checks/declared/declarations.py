"""Are the declarations valid?"""

from treadle.access import checked
from treadle.ordering.graph import callback_graph
from treadle.testing.report import Checked, Finding
from treadle.testing.subject import Subject


def check(subject: Subject) -> Checked:
    """Its declarations are valid.

    How: Two callbacks are made and compared, and the order is computed, with the partners.
    Guarantee: 1, the order follows from the declarations.
    Message: Two callbacks that were made alike differ in their name or state_access.
    Message: The function returned the same callback twice.
    """
    again = subject.make()
    if again is subject.callback:
        raise Finding("The function returned the same callback twice.\nFix: make a new callback at each call.")
    if again.name != subject.name or checked(again.state_access, again.name) != subject.declared:
        raise Finding(
            "Two callbacks that were made alike differ in their name or state_access.\n"
            "Fix: let both depend on nothing but the arguments."
        )
    return Checked(len(callback_graph([subject.callback, *subject.make_partners()])), "callbacks in order")
