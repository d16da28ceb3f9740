# Stage 3: LoRA-tune the target on each selection.


rule train_adapter:
    input:
        MODELS_CHECKED,
        model=model("target"),
        selection=SELECTION,
    output:
        directory(f"{RESULTS}/adapters/{{method}}/ratio-{{ratio}}/seed-{{seed}}"),
    log:
        f"{RESULTS}/logs/adapters/{{method}}/ratio-{{ratio}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/adapters/{{method}}/ratio-{{ratio}}/seed-{{seed}}.tsv"
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        nodes=1,
        micro_batch=CONFIG.throughput.micro_batch,
        save_every=CONFIG.throughput.save_every,
    params:
        model=model_name("target"),
        accelerate=CONFIG.train.accelerate,
        data=arguments(CONFIG.data, "max_length"),
        flags=arguments(
            CONFIG.train,
            "accelerate",
            "epochs",
            "learning_rate",
            "warmup_ratio",
            "batch_size",
            "lora_rank",
            "lora_alpha",
            "lora_dropout",
            "lora_targets",
        ),
        code=digest("train_adapter"),
    shell:
        LAUNCHED + " moesift.stages.train_adapter --model {params.model:q}"
        " --selection {input.selection} --out {output} --seed {wildcards.seed} --threads {threads}"
        " --micro-batch {resources.micro_batch} --state {output}.state --save-every {resources.save_every}"
        " {params.data} {params.flags} > {log} 2>&1"


rule train:
    input:
        expand(rules.train_adapter.output, **RUNS),
