"""The whole workflow through `--profile slurm` on a real Slurm: two nodes on this host, with fake GPUs."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from given import slurm
from given.markdown import blocks

from moesift.models.loading import FAKE_GPUS

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(slurm.missing() is not None, reason=f"no Slurm can be started here: {slurm.missing()}"),
]

# 21 jobs: each costs snakemake's start twice.
SMALLER = {
    "methods": ["router"],
    "warmup": {"epochs": 1, "examples": 32, "batch_size": 8},
    "train": {"epochs": 1, "accelerate": "config/accelerate/zero2_cpu.yaml"},
    "throughput": {"shards": 2, "gpus": 1},
}
PATIENCE = 1800  # seconds
LAST_WORDS = "what it had said when it froze"


@pytest.fixture(scope="module")
def ran(tmp_path_factory, copy, plugin):
    """Run the workflow; meanwhile cancel its first `evaluation_data` and freeze its first `pretrain_model` of a target.

    Returns the checkout and Slurm's jobs by what they are, oldest first.
    """
    checkout = copy(tmp_path_factory.mktemp("slurm") / "moe sift")
    edited(checkout.folder / "profiles" / "slurm" / "config.yaml")
    environment = os.environ | {
        "PYTHONPATH": f"{checkout.folder / 'src'}:{plugin}",
        "HF_HUB_OFFLINE": "1",
        FAKE_GPUS: "1",
    }
    command = ["setpriv", "--pdeathsig", "TERM", sys.executable, "-m", "snakemake", "--profile", "slurm"]
    command += ["--configfile", checkout.configured("tiny", **SMALLER)]
    said = checkout.folder / "said"
    with slurm.cluster(tmp_path_factory.mktemp("cluster")):
        with said.open("w") as words:
            run = subprocess.Popen(command, cwd=checkout.folder, env=environment, stdout=words, stderr=words)
        try:
            disturb(run, checkout.folder / "results" / "tiny" / "logs" / "pretrain_target.log")
            jobs = slurm.jobs()
        finally:
            run.terminate()
            run.wait()
    assert run.returncode == 0, said.read_text()[-8000:]
    by_comment: dict[str, list[dict[str, str]]] = {}
    for job in sorted(jobs, key=lambda job: int(job["JobId"])):
        by_comment.setdefault(job["Comment"], []).append(job)
    return checkout, by_comment


def edited(profile: Path) -> None:
    """Edit the profile as a site would: threads that are there, a partition, and one time limit to run into.

    The training gets two nodes, in the words of profiles/README.md.
    """
    settings = yaml.safe_load(profile.read_text())
    settings["set-threads"] = dict.fromkeys(settings["set-threads"], 1)
    settings["default-resources"]["slurm_partition"] = "fake"
    settings["set-resources"]["pretrain_model"]["runtime"] = "1 * attempt if wildcards.role == 'target' else 60"
    settings["set-resources"]["train_adapter"] |= yaml.safe_load(blocks("profiles/README.md", "yaml")[0])[
        "set-resources"
    ]["train_adapter"]
    settings["slurm-init-seconds-before-status-checks"] = 1
    profile.write_text(yaml.safe_dump(settings))


def disturb(run: subprocess.Popen, log: Path) -> None:
    """Wait for the end of the run, and do to the first of two jobs what happens to jobs on a cluster.

    The one that is frozen, which so has nothing to say, gets last words in its log.
    """
    end = time.monotonic() + PATIENCE
    cancelled = frozen = False
    while run.poll() is None and time.monotonic() < end:
        running = {job["Comment"]: job["JobId"] for job in slurm.jobs() if job["JobState"] == "RUNNING"}
        if not cancelled and "rule_evaluation_data" in running:
            subprocess.run(["scancel", running["rule_evaluation_data"]], check=True)
            cancelled = True
        if not frozen and "rule_pretrain_model_wildcards_target" in running:
            frozen = freeze(running["rule_pretrain_model_wildcards_target"], "moesift.demo.pretrain_model")
            if frozen:
                log.write_text(f"{LAST_WORDS}\n")
        time.sleep(0.3)


def freeze(job: str, module: str) -> bool:
    """Stop the processes of a Slurm job that run this module, for ever; return whether there was one."""
    stopped = False
    for process in Path("/proc").glob("[0-9]*"):
        try:
            words = (process / "cmdline").read_bytes().split(b"\0")
            variables = (process / "environ").read_bytes().split(b"\0")
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            continue  # it has ended
        if module.encode() in words and f"SLURM_JOB_ID={job}".encode() in variables:
            os.kill(int(process.name), signal.SIGSTOP)
            stopped = True
    return stopped


def test_the_workflow_ends_with_its_report(ran):
    checkout, _ = ran
    results = checkout.folder / "results" / "tiny"
    assert (results / "report/index.html").is_file()
    rows = json.loads((results / "results.json").read_text())["outcomes"]
    assert {row["method"] for row in rows if row["value"] is not None} == {"router", "base"}


def test_each_job_went_through_the_queue_and_ended_well(ran):
    _, jobs = ran
    assert len(jobs) == 21
    assert {attempts[-1]["JobState"] for attempts in jobs.values()} == {"COMPLETED"}
    assert {job["Partition"] for attempts in jobs.values() for job in attempts} == {"fake"}


def test_what_runs_a_model_asks_for_its_gpu_and_nothing_else_does(ran):
    _, jobs = ran
    asked = {comment for comment, attempts in jobs.items() if attempts[-1].get("TresPerJob") == "gres:gpu:1"}
    runs_a_model = ("pretrain_model", "warmup_epoch", "run_pass_wildcards_seed", "evaluate_run")
    assert asked == {comment for comment in jobs if comment.startswith(tuple(f"rule_{rule}" for rule in runs_a_model))}
    assert len(asked) == 7
    (training,) = (attempts[-1] for comment, attempts in jobs.items() if comment.startswith("rule_train_adapter"))
    assert training["TresPerJob"] == "gres:gpu:2"


def test_a_cancelled_job_comes_back_with_twice_the_memory_and_time(ran):
    _, jobs = ran
    first, second = jobs["rule_evaluation_data"]
    assert (first["JobState"], second["JobState"]) == ("CANCELLED", "COMPLETED")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("01:00:00", "02:00:00")
    assert (first["MinMemoryNode"], second["MinMemoryNode"]) == ("16000M", "32000M")


def test_a_job_that_holds_the_whole_pool_gets_more_memory(ran):
    _, jobs = ran
    asked = {rule: jobs[f"rule_{rule}"][-1]["MinMemoryNode"] for rule in ("prepare", "report", "check_models")}
    assert asked == {"prepare": "32000M", "report": "32000M", "check_models": "16000M"}


def test_a_job_that_ran_out_of_time_comes_back_with_more(ran):
    _, jobs = ran
    first, second = jobs["rule_pretrain_model_wildcards_target"]
    assert (first["JobState"], second["JobState"]) == ("TIMEOUT", "COMPLETED")
    assert (first["TimeLimit"], second["TimeLimit"]) == ("00:01:00", "00:02:00")


def test_the_training_on_two_nodes_is_that_of_one_process(ran):
    checkout, jobs = ran
    adapter = "results/tiny/adapters/router/ratio-0.25/seed-0"
    (attempts,) = (attempts for comment, attempts in jobs.items() if comment.startswith("rule_train_adapter"))
    assert (attempts[-1]["NumNodes"], attempts[-1]["NodeList"]) == ("2", "n[1-2]")
    two = json.loads((checkout.folder / adapter / "training.json").read_text())
    assert (two["processes"], two["distributed"]) == (2, "DEEPSPEED")
    alone = SMALLER | {"train": {"epochs": 1}, "throughput": {"shards": 2}}
    checkout.snakemake(
        f"{adapter}/adapter_model.safetensors", "--cores", "1", "--configfile", checkout.configured("alone", **alone)
    )
    one = json.loads((checkout.folder / adapter / "training.json").read_text())
    assert (one["processes"], len(one["nll_per_step"])) == (1, two["steps"])
    assert two["nll_per_step"] == pytest.approx(one["nll_per_step"], abs=1e-4)


def test_slurms_logs_are_kept(ran):
    checkout, _ = ran
    kept = checkout.folder / "logs" / "slurm"
    assert list(kept.glob("rule_report/*.log"))
    assert len(list(kept.glob("rule_evaluation_data/*.log"))) == 2


def test_what_a_failed_job_had_said_is_shown(ran):
    """The profile of every run asks for it; here the job was on another node."""
    checkout, _ = ran
    said = (checkout.folder / "said").read_text()
    _, shown, after = said.partition("Logfile results/tiny/logs/pretrain_target.log:")
    assert shown
    assert LAST_WORDS in after[:1000]
