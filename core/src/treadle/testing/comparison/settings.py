"""Settings of the process that other callbacks and the loop find as one callback leaves them.

What an import may change, such as the filters of warnings and the environment variables, is not among them.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch


@dataclass(frozen=True)
class Setting:
    """A setting of the process.

    Args:
        what: Its name in a message.
        get: What it is now.
        code: How to have it for a few lines only, or how to do without it.
    """

    what: str
    get: Callable[[], Any]
    code: str


def device() -> str:
    """The device on which new tensors are made."""
    return str(torch.get_default_device())


def deterministic() -> tuple[bool, bool]:
    """Whether torch uses deterministic algorithms, and only warns where it has none."""
    return torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()


def cudnn() -> tuple[bool, ...]:
    """The flags of cuDNN."""
    backend = torch.backends.cudnn
    return backend.enabled, backend.benchmark, backend.deterministic


def autocast() -> tuple[Any, ...]:
    """Whether operations are cast to a lower precision, and to which."""
    kinds = ("cpu", "cuda")
    return tuple((torch.is_autocast_enabled(kind), str(torch.get_autocast_dtype(kind))) for kind in kinds)


def anomalies() -> tuple[bool, bool]:
    """Whether the backward pass looks for anomalies, and for NaN."""
    return torch.is_anomaly_enabled(), torch.is_anomaly_check_nan_enabled()


def signals() -> dict[str, Any]:
    """The handlers of the signals that end a program."""
    names = ("SIGINT", "SIGTERM", "SIGHUP", "SIGUSR1", "SIGUSR2", "SIGALRM")
    numbers = {name: getattr(signal, name) for name in names if hasattr(signal, name)}
    return {name: signal.getsignal(number) for name, number in numbers.items()}


GENERAL = "put back what was there:\n    before = {get}\n    try: ...\n    finally: {put}"

SETTINGS = (
    Setting("torch's gradient mode", torch.is_grad_enabled, "restore it:\n    with torch.no_grad(): ..."),
    Setting(
        "torch's inference mode", torch.is_inference_mode_enabled, "leave it:\n    with torch.inference_mode(): ..."
    ),
    Setting(
        "torch's default dtype",
        lambda: str(torch.get_default_dtype()),
        "leave it as it is, and name the dtype where a tensor is made:\n    torch.zeros(3, dtype=torch.float64)",
    ),
    Setting("torch's default device", device, "use it for a few lines only:\n    with torch.device(device): ..."),
    Setting(
        "torch's deterministic algorithms",
        deterministic,
        GENERAL.format(
            get="torch.are_deterministic_algorithms_enabled()", put="torch.use_deterministic_algorithms(before)"
        ),
    ),
    Setting(
        "torch's number of threads",
        torch.get_num_threads,
        GENERAL.format(get="torch.get_num_threads()", put="torch.set_num_threads(before)"),
    ),
    Setting(
        "torch's precision of float32 products",
        torch.get_float32_matmul_precision,
        GENERAL.format(get="torch.get_float32_matmul_precision()", put="torch.set_float32_matmul_precision(before)"),
    ),
    Setting(
        "the flags of cuDNN",
        cudnn,
        "set them for a few lines only:\n    with torch.backends.cudnn.flags(benchmark=True): ...",
    ),
    Setting(
        "torch's autocast",
        autocast,
        "wrap the operation:\n    @hookimpl(wrapper=True)\n    def forward(self):\n"
        '        with torch.autocast("cpu"):\n            return (yield)',
    ),
    Setting(
        "torch's anomaly detection",
        anomalies,
        "use it for a few lines only:\n    with torch.autograd.detect_anomaly(): ...",
    ),
    Setting(
        "the working directory",
        os.getcwd,
        "leave it as it is, and use whole paths:\n    pathlib.Path(folder).resolve()",
    ),
    Setting(
        "the handlers of signals",
        signals,
        "set them in on_fit_begin and put them back in on_fit_end:\n    signal.signal(signal.SIGTERM, self.before)",
    ),
)

#: How to do without a change of each.
FIXES = {setting.what: setting.code for setting in SETTINGS}
