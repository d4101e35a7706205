"""Does it use what it declares?"""

from treadle.access import Write, nested
from treadle.testing.comparison.record import Record
from treadle.testing.kinds import NOISY
from treadle.testing.report import Checked, Finding
from treadle.testing.subject import Subject

UNUSED, ONLY_READ = "is declared and not used", "is declared `Write` and only read"
FIXES = {UNUSED: "remove it from state_access", ONLY_READ: "declare it `Read` in state_access"}


def check(subject: Subject) -> Checked:
    """It uses what it declares, and nothing else.

    How: By a view that records each access. What seems unused is looked for in a larger net with shuffled data, too.
    Guarantee: 2, declarations are true.
    Message: ... is declared and not used
    Message: ... is declared `Write` and only read
    """
    found = {path: what for path, what in unused(subject.full_record).items() if path not in subject.unused_ok}
    if found:  # a larger net and shuffled data may show a use of it
        larger = unused(subject.recorded(NOISY))
        found = {path: what for path, what in found.items() if path in larger}
    if found:
        lines = (
            f"`{path}` {what}.\nFix: {FIXES[what]}, or give the reason why a toy training does not use it:\n"
            f'    unused_ok={{"{path}": "why"}}'
            for path, what in found.items()
        )
        raise Finding("\n".join(lines))
    return Checked(len(subject.full_record.calls), "handler calls")


def unused(record: Record) -> dict[str, str]:
    """The declared paths that were not used as declared, each with what was wrong."""
    found = {}
    for path, permission in record.declared.items():
        if path == "loop":  # which is a right, and no state
            continue
        read = any(other == path or other.startswith(f"{path}.") for other in record.read)
        written = any(nested(path, other) for other in record.written)
        if permission is Write and not written:
            found[path] = ONLY_READ if read else UNUSED
        elif permission is not Write and not read:
            found[path] = UNUSED
    return found
