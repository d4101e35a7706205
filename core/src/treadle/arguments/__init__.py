"""Arguments: how they are checked and shown."""

from treadle.arguments.batch_weight import batch_weight
from treadle.arguments.guards import (
    file_path,
    function,
    instance_of,
    list_of,
    misfit,
    not_a_learner,
    one_of,
    real_number,
    subclass_of,
    whole_number,
    writable,
)
from treadle.arguments.html import html_table
from treadle.arguments.shown import SHORT, shown_arguments

__all__ = [
    "SHORT",
    "batch_weight",
    "file_path",
    "function",
    "html_table",
    "instance_of",
    "list_of",
    "misfit",
    "not_a_learner",
    "one_of",
    "real_number",
    "shown_arguments",
    "subclass_of",
    "whole_number",
    "writable",
]
