"""`train_adapter` under FSDP2 on CPU processes: accelerate shards a model over GPUs only, PyTorch over CPUs as well.

`accelerate launch` with config/accelerate/fsdp2.yaml says how to shard, and accelerate does it by itself; it only has
to be told that CPUs will do.
"""

from accelerate import Accelerator, DistributedType, FullyShardedDataParallelPlugin
from accelerate.state import AcceleratorState, PartialState

from moesift import flags
from moesift.stages import train_adapter


def launched(*_) -> Accelerator:
    """Return the accelerator that `launched` would return on GPUs."""
    accelerator = Accelerator(cpu=True)
    PartialState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["distributed_type"] = DistributedType.FSDP
    AcceleratorState._shared_state["fsdp_plugin"] = FullyShardedDataParallelPlugin()
    assert accelerator.is_fsdp2
    return accelerator


if __name__ == "__main__":
    train_adapter.launched = launched
    flags.run(train_adapter.main)
