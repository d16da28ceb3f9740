# Stage 2, first part: read the pool, shard by shard. A pass is one reading by one state of one model, and another method
# repeats none that was made. A state is a model as it came, or an epoch of the warm-up of a seed.

PASS = f"{RESULTS}/passes/{{state}}/{{pass_name}}"


wildcard_constraints:
    state="selector|target|seed-[0-9]+/epoch-[0-9]+",
    pass_name="[a-z_]+",


def model_of_state(wildcards):
    """Return what a stage is told to load."""
    of_role = wildcards.state in ("selector", "target")
    return model_name(wildcards.state) if of_role else f"{RESULTS}/warmup/{wildcards.state}"


def files_of_state(wildcards):
    """Return what a job that reads by this state waits for."""
    of_role = wildcards.state in ("selector", "target")
    return model_files(wildcards.state) if of_role else f"{RESULTS}/warmup/{wildcards.state}"


def watched_of_state(wildcards):
    """Return a digest of the files of a model as it came; an epoch of the warm-up is an input."""
    return watched(wildcards.state) if wildcards.state in ("selector", "target") else ""


rule run_pass:
    input:
        model=files_of_state,
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        temp(f"{PASS}.shards/{{scatteritem}}.parquet"),
    log:
        f"{RESULTS}/logs/passes/{{state}}/{{pass_name}}/{{scatteritem}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/passes/{{state}}/{{pass_name}}/{{scatteritem}}.tsv"
    priority: 10
    threads: CONFIG.throughput.threads
    resources:
        # Tokens take the tokenizer alone.
        gpu=lambda wildcards: 0 if wildcards.pass_name == "tokens" else CONFIG.throughput.gpus,
        token_budget=CONFIG.throughput.score_tokens or 0,
    params:
        model=model_of_state,
        watched=watched_of_state,
        is_epoch=lambda wildcards: "--is-epoch" if wildcards.state.startswith("seed-") else "",
        max_length=CONFIG.data.max_length,
        code=lambda wildcards: digest("stages.run_pass", f"passes.{wildcards.pass_name}"),
    shell:
        ON_GPUS + "{PYTHON} -m moesift.stages.run_pass --pass-name {wildcards.pass_name} --model {params.model:q}"
        " {params.is_epoch} --pool {input.pool} --out {output} --shard {wildcards.scatteritem} --threads {threads}"
        " --max-length {params.max_length} --token-budget {resources.token_budget} > {log} 2>&1"


rule merge_pass:
    input:
        shards=gather.shard(f"{PASS.replace('{', '{{').replace('}', '}}')}.shards/{{scatteritem}}.parquet"),
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(f"{PASS}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/passes/{{state}}/{{pass_name}}/merge.log",
    params:
        # Not their names, which would be too long for one command where there are a thousand.
        shards=f"{PASS}.shards",
        number=CONFIG.throughput.shards,
        # The shards are gone when it is made: what they were made by is asked of it.
        watched=watched_of_state,
        code=digest("stages.merge_pass"),
    shell:
        "{PYTHON} -m moesift.stages.merge_pass --shards {params.shards} --number {params.number}"
        " --pool {input.pool} --out {output} > {log} 2>&1"
