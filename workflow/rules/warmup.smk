# Stage 1: train the routers, on the pool, or (`on-{target}/`) on the queries of a target instead. One epoch is one job, so
# that more epochs run only the new ones. The priority lets these jobs, which most others wait for, go before the training
# of baselines.

WARMUP = f"{RESULTS}/warmup/seed-{{seed}}/{{on}}"


def trained_on(wildcards):
    """Return the pool that a warm-up draws from."""
    target = wildcards.on.removeprefix("on-").removesuffix("/")
    return QUERIES.format(target=target) if target else f"{RESULTS}/data/pool.parquet"


def drawn_from(wildcards):
    """Return how many examples it draws: of queries all."""
    return '{"examples": null}' if wildcards.on else keys(CONFIG.warmup, "examples")


rule warmup_examples:
    input:
        pool=trained_on,
    output:
        ensure(f"{WARMUP}examples.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/warmup/seed-{{seed}}/{{on}}examples.log",
    priority: 10
    params:
        warmup=drawn_from,
        code=digest("stages.warmup_examples"),
    shell:
        "{PYTHON} -m moesift.stages.warmup_examples --pool {input.pool} --out {output} --seed {wildcards.seed}"
        " --warmup {params.warmup:q} > {log} 2>&1"


rule warmup_start:
    input:
        model=model_files("selector"),
    output:
        directory(f"{WARMUP}epoch-0"),
    log:
        f"{RESULTS}/logs/warmup/seed-{{seed}}/{{on}}epoch-0.log",
    priority: 10
    params:
        model=model_flags("selector"),
        watched=watched("selector"),
        warmup=keys(CONFIG.warmup, "objective", "expert_role", "trash_ratio"),
        code=digest("stages.warmup_start"),
    shell:
        "{PYTHON} -m moesift.stages.warmup_start {params.model} --out {output} --seed {wildcards.seed}"
        " --warmup {params.warmup:q} > {log} 2>&1"


rule warmup_epoch:
    input:
        previous=lambda wildcards: f"{WARMUP}epoch-{int(wildcards.epoch) - 1}".format(**wildcards),
        pool=trained_on,
        examples=f"{WARMUP}examples.parquet",
    output:
        checkpoint=directory(f"{WARMUP}epoch-{{epoch}}"),
        curve=f"{WARMUP}epoch-{{epoch}}.jsonl",
    log:
        f"{RESULTS}/logs/warmup/seed-{{seed}}/{{on}}epoch-{{epoch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/warmup/seed-{{seed}}/{{on}}epoch-{{epoch}}.tsv"
    priority: 10
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        nodes=1,
        micro_batch=CONFIG.throughput.micro_batch,
        save_every=CONFIG.throughput.save_every,
        recompute="--recompute" if CONFIG.throughput.activations == "recompute" else "",
        live=live_view("warmup/seed-{seed}/{on}"),
    params:
        accelerate=CONFIG.warmup.accelerate,
        watched=content(*files_of_launch(CONFIG.warmup.accelerate)),
        warmup=keys(CONFIG.warmup, without=["accelerate", "epochs", "examples", "expert_role", "trash_ratio"]),
        max_length=CONFIG.data.max_length,
        code=digest("stages.warmup_epoch"),
    shell:
        LAUNCHED + " moesift.stages.warmup_epoch --previous {input.previous} --pool {input.pool}"
        " --examples {input.examples} --out {output.checkpoint} --log {output.curve} --epoch {wildcards.epoch}"
        " --seed {wildcards.seed} --threads {threads} --micro-batch {resources.micro_batch} {resources.recompute}"
        " --state {output.checkpoint}.state --save-every {resources.save_every} {resources.live}"
        " --accelerate {params.accelerate:q} --max-length {params.max_length} --warmup {params.warmup:q} > {log} 2>&1"


rule warmup:
    input:
        MODELS_CHECKED,
        expand(f"{RESULTS}/warmup/seed-{{seed}}/epoch-{CONFIG.warmup.epochs}", seed=CONFIG.seeds),
