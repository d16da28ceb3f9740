"""What a process that accelerate started makes of its file; the stages' tests start real ones."""

import pytest
import torch

from moesift.errors import UserError
from moesift.gpus import GIVEN


def test_gpus_that_a_file_would_leave_idle_are_refused(tmp_path, monkeypatch):
    file = tmp_path / "accelerate.yaml"
    file.write_text("distributed_type: 'NO'\nnum_processes: 1\nuse_cpu: true\n")
    monkeypatch.setattr(launch, "device", lambda: torch.device("cuda"))
    monkeypatch.setenv(GIVEN, "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # as accelerate tells its processes
    with pytest.raises(UserError, match="use_cpu is true, but the job asks for GPUs: 2"):
        launch.launched(file, micro_batch=1)
