"""Checks of the accelerate file in one process; the tests of the stages start real ones."""

import pytest
import torch

from moesift.errors import UserError
from moesift.gpus import GIVEN
from moesift.training import accelerator


def test_a_file_for_cpus_is_refused_in_a_job_with_gpus(tmp_path, monkeypatch):
    file = tmp_path / "accelerate.yaml"
    file.write_text("distributed_type: 'NO'\nnum_processes: 1\nuse_cpu: true\n")
    monkeypatch.setattr(accelerator, "device", lambda: torch.device("cuda"))
    monkeypatch.setenv(GIVEN, "2")
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")  # as accelerate tells its processes
    with pytest.raises(UserError, match="use_cpu is true, but the job asks for GPUs: 2"):
        accelerator.launched(file, micro_batch=1)
