# Stage 1: train the routers. One epoch is one job, so that more epochs run only the new ones. The priority lets these
# jobs, which most others wait for, go before the training of baselines.


rule warmup_examples:
    input:
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(f"{RESULTS}/warmup/seed-{{seed}}/examples.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/warmup/seed-{{seed}}/examples.log",
    priority: 10
    params:
        warmup=keys(CONFIG.warmup, "examples"),
        code=digest("stages.warmup_examples"),
    shell:
        "{PYTHON} -m moesift.stages.warmup_examples --pool {input.pool} --out {output} --seed {wildcards.seed}"
        " --warmup {params.warmup:q} > {log} 2>&1"


rule warmup_start:
    input:
        MODELS_CHECKED,
        model=model_files("selector"),
    output:
        directory(f"{RESULTS}/warmup/seed-{{seed}}/epoch-0"),
    log:
        f"{RESULTS}/logs/warmup/seed-{{seed}}/epoch-0.log",
    priority: 10
    params:
        model=model_name("selector"),
        watched=watched("selector"),
        warmup=keys(CONFIG.warmup, "objective", "expert_role", "trash_ratio"),
        code=digest("stages.warmup_start"),
    shell:
        "{PYTHON} -m moesift.stages.warmup_start --model {params.model:q} --out {output} --seed {wildcards.seed}"
        " --warmup {params.warmup:q} > {log} 2>&1"


rule warmup_epoch:
    input:
        previous=lambda wildcards: f"{RESULTS}/warmup/seed-{wildcards.seed}/epoch-{int(wildcards.epoch) - 1}",
        pool=f"{RESULTS}/data/pool.parquet",
        examples=f"{RESULTS}/warmup/seed-{{seed}}/examples.parquet",
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
        recompute="--recompute" if CONFIG.throughput.activations == "recompute" else "",
        live=live_view("warmup/seed-{seed}"),
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
        expand(f"{RESULTS}/warmup/seed-{{seed}}/epoch-{CONFIG.warmup.epochs}", seed=CONFIG.seeds),
