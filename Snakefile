"""moesift: decide which part of an instruction pool is worth training on.

snakemake --cores all            everything, up to the report
snakemake -n                     what would run, and why
snakemake select --cores all     up to the selected parquet (likewise warmup, score, train, evaluate, report)
snakemake --cores all --configfile config/mine.yaml
snakemake archive --cores all    one zip with settings, results and report, for who wants to check them
snakemake study --cores all --configfile config/study.yaml     what the scores are worth, with labels and intervals
"""

import functools
import json
import os
import shlex
import sys
from pathlib import Path

from snakemake.exceptions import WorkflowError

from moesift.config import EMBEDDED, HUB, SMOLLM2, WHEEL, ConfigError, repeated_keys, validated
from moesift.flags import arguments
from moesift.scoring.measurements import READS, USAGE, Measured, planned, what_is_read
from moesift.provenance import digest


configfile: "config/config.yaml"


for file in workflow.configfiles:
    if repeated := repeated_keys(Path(file).read_text(encoding="utf-8")):
        raise WorkflowError(f"{file}: a key stands twice in its section; keep one of\n" + "\n".join(repeated))

try:
    CONFIG = validated(config)
except ConfigError as error:
    raise WorkflowError(f"the configuration cannot be used:\n{error}") from None

PYTHON = sys.executable
# Before the command of a rule that runs a model: its GPUs are its own.
ON_GPUS = "{PYTHON} -m moesift.gpus {resources.gpu} "
# Before the module of a rule that trains on several processes: they are started on its GPUs, on every node of its job.
LAUNCHED = (
    "{PYTHON} -m moesift.launch --nodes {resources.nodes} --gpus {resources.gpu} --threads {threads}"
    " --config {params.accelerate:q}"
)
RESULTS = f"results/{CONFIG.experiment}"
RATIOS = [f"{ratio:g}" for ratio in CONFIG.select.ratio]
# What every compared number is made of: one point of this grid.
RUNS = {"method": CONFIG.methods, "ratio": RATIOS, "seed": CONFIG.seeds}

# What the methods and the selection read of the pool. Where it is the selector as it came alone, there is no warm-up,
# and a dense one will do.
READ = what_is_read(CONFIG.methods, CONFIG.select.diversity is not None)
WARMED = any(reads.model != "selector" for reads in READ)


def live_view(run):
    """Return, as a resource of a rule, the flag that asks for a live view of a run, or nothing."""
    return lambda wildcards: f"--live {RESULTS}/live/{run.format(**wildcards)}" if CONFIG.throughput.live else ""


if CONFIG.throughput.gpus == 0:
    os.environ["CUDA_VISIBLE_DEVICES"] = ""  # without this, every job would take the first GPU that it sees


wildcard_constraints:
    method="[a-z_]+",
    ratio="[0-9.e-]+",
    seed="[0-9]+",  # so that seed-0.dropped.parquet is no seed
    epoch="[1-9][0-9]*",


scattergather:
    shard=CONFIG.throughput.shards,


include: "workflow/rules/prepare.smk"
include: "workflow/rules/models.smk"
include: "workflow/rules/warmup.smk"
include: "workflow/rules/score.smk"
include: "workflow/rules/select.smk"
include: "workflow/rules/train.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/report.smk"
include: "workflow/rules/archive.smk"
include: "workflow/rules/check.smk"


if CONFIG.study is not None:

    include: "workflow/rules/study.smk"


rule all:
    default_target: True
    input:
        rules.report.output,
        rules.selection_cards.output,
        rules.adapter_cards.output,
