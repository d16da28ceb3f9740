"""`train_adapter` under FSDP2 on CPU processes: accelerate spreads a model over GPUs alone, PyTorch over CPUs as well.

`accelerate launch` on config/accelerate/fsdp2.yaml tells what FSDP is to do, and all that accelerate then does is its
own. It is only told that CPUs do.
"""

from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState

from moesift.errors import run
from moesift.stages import train_adapter


def launched(*_) -> Accelerator:
    """Return the accelerator that `launched` would give on GPUs."""
    accelerator = Accelerator(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin()
    assert accelerator.is_fsdp2
    return accelerator


if __name__ == "__main__":
    train_adapter.launched = launched
    run(train_adapter.main)
