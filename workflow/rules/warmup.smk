# Stage 1: train the routers. One epoch is one job, so that more epochs run only the new ones. The priority lets these
# jobs, which most others wait for, go before the training of baselines.


# What changes how an epoch is trained.
WARMUP_KEYS = (
    "accelerate",
    "objective",
    "examples",
    "balance",
    "learning_rate",
    "batch_size",
    "trash_share",
    "dual_rate",
    "damping",
    "margin",
    "twins",
)


rule warmup_start:
    input:
        MODELS_CHECKED,
        model=model("selector"),
    output:
        directory(f"{RESULTS}/warmup/seed-{{seed}}/epoch-0"),
    log:
        f"{RESULTS}/logs/warmup/seed-{{seed}}/epoch-0.log",
    priority: 10
    params:
        model=model_name("selector"),
        flags=arguments(CONFIG.warmup, "objective", "expert_role", "trash_ratio"),
        code=digest("warmup_start"),
    shell:
        "{PYTHON} -m moesift.stages.warmup_start --model {params.model:q} --out {output} --seed {wildcards.seed}"
        " {params.flags} > {log} 2>&1"


rule warmup_epoch:
    input:
        previous=lambda wildcards: f"{RESULTS}/warmup/seed-{wildcards.seed}/epoch-{int(wildcards.epoch) - 1}",
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        checkpoint=directory(f"{RESULTS}/warmup/seed-{{seed}}/epoch-{{epoch}}"),
        curve=f"{RESULTS}/warmup/seed-{{seed}}/epoch-{{epoch}}.jsonl",
    log:
        f"{RESULTS}/logs/warmup/seed-{{seed}}/epoch-{{epoch}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/warmup/seed-{{seed}}/epoch-{{epoch}}.tsv"
    priority: 10
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        nodes=1,
        micro_batch=CONFIG.throughput.micro_batch,
        save_every=CONFIG.throughput.save_every,
        recompute=int(CONFIG.throughput.activations == "recompute"),
        live=live_view("warmup/seed-{seed}"),
    params:
        accelerate=CONFIG.warmup.accelerate,
        data=arguments(CONFIG.data, "max_length"),
        flags=arguments(CONFIG.warmup, *WARMUP_KEYS),
        code=digest("warmup_epoch"),
    shell:
        LAUNCHED + " moesift.stages.warmup_epoch --previous {input.previous} --pool {input.pool}"
        " --out {output.checkpoint} --log {output.curve} --epoch {wildcards.epoch} --seed {wildcards.seed}"
        " --threads {threads} --micro-batch {resources.micro_batch} --recompute {resources.recompute} --state {output.checkpoint}.state"
        " --save-every {resources.save_every} {resources.live} {params.data} {params.flags} > {log} 2>&1"


rule warmup:
    input:
        expand(f"{RESULTS}/warmup/seed-{{seed}}/epoch-{CONFIG.warmup.epochs}", seed=CONFIG.seeds),
