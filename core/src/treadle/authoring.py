"""What authors of callbacks and plugins need beside the vocabulary of `treadle` itself.

- Check an argument: `whole_number`, `real_number`, `one_of`, `instance_of`, `subclass_of`, `list_of`, `function`,
  `file_path`, `writable`, `batch_weight`; and guess what a user meant: `did_you_mean`.
- Ask what another callback is and does: `handles`, `handlers`, `handling`, `unwrap`, `overlaps`,
  `why_no_observer`; name callbacks: `by_unique_name`; show in which order all of them run, and why: `plan_of`; or
  callbacks without a learner would, or two of them: `preview`, `pair_of`, `Pair`, `writers_for`; in what two plans
  differ: `differing_entries`.
- Name a phase in a file, a table or a message: `phase_key`, `phase_label`; show something in a notebook: `html_table`.
- Go through one or several models or optimizers: `by_name`; all their parameters or gradients: `named_tensors`.
- Run over the data of an epoch, in a phase of one's own: `batches`, `length_of`; split a batch as the core's phases do:
  `split_batch`; reach every tensor of a batch: `map_tensors`;
  keep something for each epoch that is under way: `OpenEpochs`.
- Ask what an update is of: `update_under_way`; compute its gradients in several backward passes: `keep_gradients`;
  keep something with the gradients, from one batch of an update to the next: `state_of_update`.
- Let a run consist of several processes: `Processes`; say what `forward` applies: `applied_as`; before callbacks
  exchange something by themselves, see whether all go on: `reach_point`.
- Take a number from a device without waiting for it: `DeviceNumber`; the mean of many: `Mean`.
- Leave the random generators as they were: `preserved_random_state`, `RandomState`; find them: `generator_paths`; leave
  a learner's own models, optimizers and callbacks: `preserved_state`; do without a loader's workers: `in_this_process`.
- Capture the state of a run and put it back: `capture_run`, `RunState`, `refuse_unresumable`, `refuse_unsaveable_run`,
  `position_of` (all others read `learner.progress`); of its models alone: `model_state`, `load_model_state`,
  `models_by_name`, `refuse_unsaveable_model`.
- Make plain values and named tensors of a state, for a file: `flatten`, `unflatten`, `has_state`,
  `refuse_unsaveable`.
- Write files that outlast a crash, on every system: `flush_file`, `flush_folder`, `rename`; share them with other
  processes: `lock`, `removes_open_files`, `is_running`; know whether this is the first one of a run: `is_main_process`.

The first-party plugins import these names and no others from inside the core, so whatever they do, yours can do.
"""

from treadle.access import overlaps
from treadle.arguments import (
    batch_weight,
    file_path,
    function,
    html_table,
    instance_of,
    list_of,
    one_of,
    real_number,
    subclass_of,
    whole_number,
    writable,
)
from treadle.callback import handling, unwrap
from treadle.errors import did_you_mean
from treadle.loop.data.batches import batches, length_of
from treadle.loop.data.nested_batch import map_tensors
from treadle.loop.data.processes import Processes, applied_as, reach_point
from treadle.loop.data.split import split_batch
from treadle.loop.inner.open_epochs import OpenEpochs
from treadle.loop.position import position_of
from treadle.loop.update.under_way import keep_gradients, state_of_update, update_under_way
from treadle.ordering.handlers import handlers, handles
from treadle.ordering.observers import why_no_observer
from treadle.ordering.pairs import Pair, pair_of, writers_for
from treadle.ordering.plan import differing_entries, plan_of
from treadle.ordering.preview import preview
from treadle.phases import phase_key, phase_label
from treadle.state.numbers.device_number import DeviceNumber
from treadle.state.numbers.mean import Mean
from treadle.state.propdict import by_name, by_unique_name, named_tensors
from treadle.state.random_state import RandomState, generator_paths, preserved_random_state
from treadle.state.run.capture import capture_run, refuse_unsaveable_model, refuse_unsaveable_run
from treadle.state.run.data.passes import in_this_process
from treadle.state.run.data.refusals import refuse_unresumable
from treadle.state.run.model_state import load_model_state, model_state, models_by_name
from treadle.state.run.objects.preserved import preserved_state
from treadle.state.run.run_state import RunState
from treadle.state.run.values import flatten, has_state, refuse_unsaveable, unflatten
from treadle.system import (
    flush_file,
    flush_folder,
    is_main_process,
    is_running,
    lock,
    removes_open_files,
    rename,
)

__all__ = [
    "DeviceNumber",
    "Mean",
    "OpenEpochs",
    "Pair",
    "Processes",
    "RandomState",
    "RunState",
    "applied_as",
    "batch_weight",
    "batches",
    "by_name",
    "by_unique_name",
    "capture_run",
    "did_you_mean",
    "differing_entries",
    "file_path",
    "flatten",
    "flush_file",
    "flush_folder",
    "function",
    "generator_paths",
    "handlers",
    "handles",
    "handling",
    "has_state",
    "html_table",
    "in_this_process",
    "instance_of",
    "is_main_process",
    "is_running",
    "keep_gradients",
    "length_of",
    "list_of",
    "load_model_state",
    "lock",
    "map_tensors",
    "model_state",
    "models_by_name",
    "named_tensors",
    "one_of",
    "overlaps",
    "pair_of",
    "phase_key",
    "phase_label",
    "plan_of",
    "position_of",
    "preserved_random_state",
    "preserved_state",
    "preview",
    "reach_point",
    "real_number",
    "refuse_unresumable",
    "refuse_unsaveable",
    "refuse_unsaveable_model",
    "refuse_unsaveable_run",
    "removes_open_files",
    "rename",
    "split_batch",
    "state_of_update",
    "subclass_of",
    "unflatten",
    "unwrap",
    "update_under_way",
    "whole_number",
    "why_no_observer",
    "writable",
    "writers_for",
]
