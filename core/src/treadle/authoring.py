"""What authors of callbacks and plugins need beside the vocabulary of `treadle` itself.

- Check an argument: `whole_number`, `real_number`, `one_of`, `instance_of`, `subclass_of`, `list_of`, `function`,
  `file_path`, `writable`; and guess what a user meant: `did_you_mean`.
- Ask what another callback is and does: `handles`, `handlers`, `unwrap`, `overlaps`.
- Name a phase in a file, a table or a message: `phase_key`, `phase_label`.
- Go through one or several models or optimizers: `by_name`.
- Run over the data of an epoch, in a phase of one's own: `batches`, `length_of`.
- Take a number from a device without waiting for it: `DeviceNumber`.
- Save and resume runs: `position_of`. All others read `learner.progress`.
- Leave the random generators as they were: `preserved_random_state`, `RandomState`.

The first-party plugins import these names and no others from inside the core, so whatever they do, yours can do.
"""

from treadle.access import overlaps
from treadle.arguments import (
    file_path,
    function,
    instance_of,
    list_of,
    one_of,
    real_number,
    subclass_of,
    whole_number,
    writable,
)
from treadle.callback import unwrap
from treadle.errors import did_you_mean
from treadle.loop.batches import batches, length_of
from treadle.loop.position import position_of
from treadle.ordering.handlers import handlers, handles
from treadle.phases import phase_key, phase_label
from treadle.state.device_number import DeviceNumber
from treadle.state.propdict import by_name
from treadle.state.random_state import RandomState, preserved_random_state

__all__ = [
    "DeviceNumber",
    "RandomState",
    "batches",
    "by_name",
    "did_you_mean",
    "file_path",
    "function",
    "handlers",
    "handles",
    "instance_of",
    "length_of",
    "list_of",
    "one_of",
    "overlaps",
    "phase_key",
    "phase_label",
    "position_of",
    "preserved_random_state",
    "real_number",
    "subclass_of",
    "unwrap",
    "whole_number",
    "writable",
]
