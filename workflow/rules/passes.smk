# Stage 2, first part: read the pool, shard by shard. A pass is one reading by one state of one model, and another method
# repeats none that was made. A state is a model as it came, or an epoch of the warm-up of a seed.

PASS = f"{RESULTS}/passes/{{state}}/{{pass_name}}"


wildcard_constraints:
    state="selector|target|seed-[0-9]+/(epoch|lora)-[0-9]+",
    pass_name="[a-z_]+",


def model_of_state(wildcards):
    """Return what a stage is told to load."""
    if "epoch-" in wildcards.state:
        return f"{RESULTS}/warmup/{wildcards.state}"
    return model_name("selector" if "lora-" in wildcards.state else wildcards.state)


def files_of_state(wildcards):
    """Return what a job that reads by this state waits for."""
    if "epoch-" in wildcards.state:
        return f"{RESULTS}/warmup/{wildcards.state}"
    return model_files("selector" if "lora-" in wildcards.state else wildcards.state)


rule run_pass:
    input:
        model=files_of_state,
        adapter=lambda wildcards: f"{RESULTS}/gradients/{wildcards.state}" if "lora-" in wildcards.state else [],
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
        is_epoch=lambda wildcards: "--is-epoch" if "epoch-" in wildcards.state else "",
        lora=lambda wildcards: (
            f"--adapter {RESULTS}/gradients/{wildcards.state} --dimension {CONFIG.gradients.dimension}"
            if "lora-" in wildcards.state
            else ""
        ),
        max_length=CONFIG.data.max_length,
        code=lambda wildcards: digest("stages.run_pass", f"passes.{wildcards.pass_name}"),
    shell:
        ON_GPUS + "{PYTHON} -m moesift.stages.run_pass --pass-name {wildcards.pass_name} --model {params.model:q}"
        " {params.is_epoch} {params.lora} --pool {input.pool} --out {output} --shard {wildcards.scatteritem} --threads {threads}"
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
        code=digest("stages.merge_pass"),
    shell:
        "{PYTHON} -m moesift.stages.merge_pass --shards {params.shards} --number {params.number}"
        " --pool {input.pool} --out {output} > {log} 2>&1"
