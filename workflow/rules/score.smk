# Stage 2, first half: measure the pool with the selector, shard by shard, and score it from that by each method. What is
# measured is kept apart from what is made of it: another method reruns no forward pass that has been made.

STATES = {
    "selector": "selector",
    "first": "seed-{seed}/epoch-0",
    "last": f"seed-{{seed}}/epoch-{CONFIG.warmup.epochs}",
}
MEASUREMENT = f"{RESULTS}/measured/{{quantity}}/{{state}}"


def measured_model(wildcards):
    """Return what is measured with: the selector as it came, or an epoch of its warm-up."""
    if wildcards.state == "selector":
        return model("selector")
    return f"{RESULTS}/warmup/{wildcards.state}"


rule measure_shard:
    input:
        model=measured_model,
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        temp(f"{MEASUREMENT}.shards/{{scatteritem}}.parquet"),
    log:
        f"{RESULTS}/logs/measured/{{quantity}}/{{state}}/{{scatteritem}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measured/{{quantity}}/{{state}}/{{scatteritem}}.tsv"
    priority: 10
    threads: CONFIG.throughput.threads
    resources:
        gpu=lambda wildcards: 0 if wildcards.quantity == "tokens" else CONFIG.throughput.gpus,
        token_budget=CONFIG.throughput.score_tokens,
    params:
        model=lambda wildcards: (
            f"--selector {shlex.quote(model_name('selector'))}"
            if wildcards.state == "selector"
            else f"--epoch {RESULTS}/warmup/{wildcards.state}"
        ),
        shard=lambda wildcards: wildcards.scatteritem.replace("-of-", " --shards "),
        data=arguments(CONFIG.data, "max_length"),
        # Which tokens count is a choice for the routers' signals alone.
        tokens=lambda wildcards: CONFIG.score.tokens if wildcards.quantity == "signals" else "response",
        code=digest("measure"),
    shell:
        ON_GPUS
        + "{PYTHON} -m moesift.stages.measure --quantity {wildcards.quantity} {params.model} --pool {input.pool}"
        " --out {output} --shard {params.shard} --threads {threads} --token-budget {resources.token_budget}"
        " {params.data} --tokens {params.tokens} > {log} 2>&1"


rule merge_shards:
    input:
        shards=gather.shard(f"{MEASUREMENT.replace('{', '{{').replace('}', '}}')}.shards/{{scatteritem}}.parquet"),
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(f"{MEASUREMENT}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/measured/{{quantity}}/{{state}}/merge.log",
    params:
        code=digest("merge_shards"),
    shell:
        "{PYTHON} -m moesift.stages.merge_shards --shards {input.shards} --pool {input.pool} --out {output} > {log} 2>&1"


# What a method needs beside what it reads.
METHOD_FLAGS = {
    "router": arguments(CONFIG.score, "layers"),
    "router_untrained": arguments(CONFIG.score, "layers"),
    "reducible": f"--seed {{seed}} --pool {RESULTS}/data/pool.parquet {arguments(CONFIG.warmup, 'examples')}",
    "random": "--seed {seed}",
}


rule score_method:
    input:
        lambda wildcards: [
            MEASUREMENT.format(quantity=reads.quantity, state=STATES[reads.model].format(seed=wildcards.seed))
            + ".parquet"
            for reads in READS[wildcards.method]
        ],
    output:
        ensure(f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/scores/{{method}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scores/{{method}}/seed-{{seed}}.tsv"
    params:
        flags=lambda wildcards: METHOD_FLAGS.get(wildcards.method, "").format(seed=wildcards.seed),
        code=digest("score"),
    shell:
        "{PYTHON} -m moesift.stages.score {wildcards.method} --measured {input} --out {output} {params.flags} > {log} 2>&1"


rule score:
    input:
        expand(f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet", method=CONFIG.methods, seed=CONFIG.seeds),
