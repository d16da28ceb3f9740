# Stage 2, first half: score the pool, shard by shard.


def checkpoint(wildcards):
    """Return the epoch whose routers a method scores with."""
    epoch = {"router": CONFIG.warmup.epochs, "router_untrained": 0}[wildcards.method]
    return f"{RESULTS}/warmup/seed-{wildcards.seed}/epoch-{epoch}"


rule score_shard:
    input:
        checkpoint=checkpoint,
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        temp(f"{RESULTS}/scores/{{method}}/seed-{{seed}}.shards/{{scatteritem}}.parquet"),
    log:
        f"{RESULTS}/logs/scores/{{method}}/seed-{{seed}}/{{scatteritem}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scores/{{method}}/seed-{{seed}}/{{scatteritem}}.tsv"
    priority: 10
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        token_budget=CONFIG.throughput.score_tokens,
    params:
        shard=lambda wildcards: wildcards.scatteritem.replace("-of-", " --shards "),
        data=arguments(CONFIG.data, "max_length"),
        flags=arguments(CONFIG.score, "layers", "tokens"),
        code=digest("score"),
    shell:
        "{PYTHON} -m moesift.stages.score --checkpoint {input.checkpoint} --pool {input.pool} --out {output}"
        " --shard {params.shard} --threads {threads} --token-budget {resources.token_budget} {params.data}"
        " {params.flags} > {log} 2>&1"


rule merge_scores:
    input:
        shards=gather.shard(f"{RESULTS}/scores/{{{{method}}}}/seed-{{{{seed}}}}.shards/{{scatteritem}}.parquet"),
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/scores/{{method}}/seed-{{seed}}/merge.log",
    wildcard_constraints:
        method="router|router_untrained",
    params:
        code=digest("merge_scores"),
    shell:
        "{PYTHON} -m moesift.stages.merge_scores --shards {input.shards} --pool {input.pool} --out {output} > {log} 2>&1"


rule score_baseline:
    input:
        model=model(CONFIG.selector.model, "selector"),
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/scores/{{method}}/seed-{{seed}}.log",
    wildcard_constraints:
        method="random|length",
    params:
        tokenizer=model_name(CONFIG.selector.model, "selector"),
        data=arguments(CONFIG.data, "max_length"),
        code=digest("score_baseline"),
    shell:
        "{PYTHON} -m moesift.stages.score_baseline --method {wildcards.method} --tokenizer {params.tokenizer:q}"
        " --pool {input.pool} --out {output} --seed {wildcards.seed} {params.data} > {log} 2>&1"


rule score:
    input:
        expand(f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet", method=CONFIG.methods, seed=CONFIG.seeds),
