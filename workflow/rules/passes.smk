# Stage 2, first part: read the pool, shard by shard. A pass is one reading by one state of one model, and another method
# repeats none that was made. A state is a model as it came, or an epoch of the warm-up of a seed.

PASS = f"{RESULTS}/passes/{{state}}/{{pass_name}}"


wildcard_constraints:
    state="selector|target|reward|seed-[0-9]+/(on-[^/]+/)?(epoch|lora)-[0-9]+",
    pass_name="[a-z_]+",


def model_of_state(wildcards):
    """Return the flags that tell a stage what to load."""
    if "/" not in wildcards.state:
        return model_flags(wildcards.state, weights=wildcards.pass_name != "tokens")
    return model_flags("selector") if "/lora-" in wildcards.state else f"--model {RESULTS}/warmup/{wildcards.state}"


def state_of_model(wildcards):
    """Return the flags that say in which state: none for a model as it came."""
    if "/lora-" in wildcards.state:
        return f"--adapter {RESULTS}/gradients/{wildcards.state} --dimension {CONFIG.gradients.dimension}"
    return "--is-epoch" if "/" in wildcards.state else ""


def files_of_state(wildcards):
    """Return what a job that reads by this state waits for."""
    if "/" not in wildcards.state:
        return model_files(wildcards.state)
    if "/lora-" in wildcards.state:
        return [model_files("selector"), f"{RESULTS}/gradients/{wildcards.state}"]
    return f"{RESULTS}/warmup/{wildcards.state}"


READ = (
    ON_GPUS + "{PYTHON} -m moesift.stages.run_pass --pass-name {wildcards.pass_name} {params.model}"
    " {params.state} --pool {input.pool} --out {output} --threads {threads} --max-length {params.max_length}"
    " --token-budget {resources.token_budget}"
)


def watched_of_state(wildcards):
    """Return a digest of the files of a model as it came; an epoch of the warm-up is an input."""
    if "/lora-" in wildcards.state:
        return watched("selector")
    return watched(wildcards.state) if "/" not in wildcards.state else ""


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
        state=state_of_model,
        max_length=CONFIG.data.max_length,
        code=lambda wildcards: digest("stages.run_pass", f"passes.{wildcards.pass_name}"),
    shell:
        READ + " --shard {wildcards.scatteritem} > {log} 2>&1"


# The same of the queries of a target, which are few.
rule run_query_pass:
    input:
        model=files_of_state,
        pool=QUERIES,
    output:
        ensure(f"{RESULTS}/targets/{{target}}/passes/{{state}}/{{pass_name}}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/targets/{{target}}/passes/{{state}}/{{pass_name}}.log",
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        token_budget=CONFIG.throughput.score_tokens or 0,
    params:
        model=model_of_state,
        watched=watched_of_state,
        state=state_of_model,
        max_length=CONFIG.data.max_length,
        code=lambda wildcards: digest("stages.run_pass", f"passes.{wildcards.pass_name}"),
    shell:
        READ + " --shard 1-of-1 > {log} 2>&1"


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
