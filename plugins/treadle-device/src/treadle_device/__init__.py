"""Moving models, data and optimizer state to an accelerator, and collecting garbage, for Treadle."""

from treadle.authoring import map_tensors

from treadle_device.garbage_collect import GarbageCollect
from treadle_device.to_device import ToDevice
from treadle_device.to_gpu import ToGPU

__all__ = ["GarbageCollect", "ToDevice", "ToGPU", "map_tensors"]
