"""moesift: decide which part of an instruction pool is worth training on.

snakemake --cores all            everything, up to the report
snakemake -n                     what would run, and why
snakemake select --cores all     up to the selected parquet (likewise warmup, score, train, evaluate, report)
snakemake --cores all --configfile config/mine.yaml
snakemake archive --cores all    one zip with settings, results and report, for who wants to check them
"""

import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from moesift.config import EMBEDDED, HUB, SMOLLM2, WHEEL
from moesift.fields import WILDCARD, ConfigError
from moesift.flags import keys
from moesift.methods import N_TOKENS, Column
from moesift.passes.columns import POOL
from moesift.plan import REPRESENTATION, TARGET_TOKENS, describe, files_of, passes_of, planned
from moesift.launch import files_of_launch
from moesift.provenance import content, digest
from moesift.validation import repeated_keys, validated


configfile: "config/config.yaml"


for file in workflow.configfiles:
    if repeated := repeated_keys(Path(file).read_text(encoding="utf-8")):
        raise WorkflowError(f"{file}: duplicate keys in a section; keep one of\n" + "\n".join(repeated))

try:
    CONFIG = validated(config)
    PLAN = planned(CONFIG)
except ConfigError as error:
    raise WorkflowError(f"the configuration cannot be used:\n{error}") from None

PYTHON = shlex.quote(sys.executable)  # a folder may have a space in its name
# Before the command of a rule that runs a model: its GPUs are its own.
ON_GPUS = "{PYTHON} -m moesift.gpus {resources.gpu} "
# Before the module of a rule that trains on several processes: they are started on its GPUs, on every node of its job.
LAUNCHED = (
    "{PYTHON} -m moesift.launch --nodes {resources.nodes} --gpus {resources.gpu} --threads {threads}"
    " --config {params.accelerate:q}"
)
RESULTS = f"results/{CONFIG.experiment}"
SELECTION = f"{RESULTS}/selected/{{method}}/{{budget}}/seed-{{seed}}.parquet"
ADAPTER = f"{RESULTS}/adapters/{{method}}/{{budget}}/seed-{{seed}}"
TARGETS = {target.name: target for target in CONFIG.targets}
QUERIES = f"{RESULTS}/targets/{{target}}/queries.parquet"


def of_runs(path):
    """Return a path of every run that is compared."""
    return [path.format(**run._asdict()) for run in PLAN.runs]


def live_view(run):
    """Return, as a resource of a rule, the flag that asks for a live view of a run, or nothing."""
    return lambda wildcards: f"--live {RESULTS}/live/{run.format(**wildcards)}" if CONFIG.throughput.live else ""


if CONFIG.throughput.gpus == 0:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # without this, every job would take the first GPU that it sees


wildcard_constraints:
    method="[A-Za-z0-9][A-Za-z0-9_.-]*",
    budget="(ratio|tokens)-[0-9.e-]+|queries",
    seed="[0-9]+",  # so that seed-0.dropped.parquet is no seed
    epoch="[1-9][0-9]*",
    target="[A-Za-z0-9][A-Za-z0-9_.-]*",
    on="(on-[^/]+/)?",  # of a warm-up: the queries of a target, or the pool


scattergather:
    shard=CONFIG.throughput.shards,


include: "workflow/rules/prepare.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/warmup.smk"
include: "workflow/rules/gradients.smk"
include: "workflow/rules/passes.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/check.smk"


rule all:
    default_target: True
    input:
        MODELS_CHECKED,
        rules.report.output,
        rules.cards.output,
        EXPORTED,
