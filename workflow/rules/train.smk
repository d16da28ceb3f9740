# Stage 3: LoRA-tune the target on each selection.

ADAPTER = f"{RESULTS}/adapters/{{method}}/ratio-{{ratio}}/seed-{{seed}}"


rule train_adapter:
    input:
        MODELS_CHECKED,
        model=model("target"),
        selection=SELECTION,
    output:
        # The files and not their folder, which has a card as well (rule adapter_cards).
        ensure(f"{ADAPTER}/adapter_model.safetensors", non_empty=True),
        f"{ADAPTER}/adapter_config.json",
        made=f"{ADAPTER}/training.json",
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
        recompute=int(CONFIG.throughput.activations == "recompute"),
        live=live_view("adapters/{method}/ratio-{ratio}/seed-{seed}"),
    params:
        out=ADAPTER,
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
        " --selection {input.selection} --out {params.out} --seed {wildcards.seed} --threads {threads}"
        " --micro-batch {resources.micro_batch} --recompute {resources.recompute} --state {params.out}.state"
        " --save-every {resources.save_every}"
        " {resources.live} {params.data} {params.flags} > {log} 2>&1"


rule train:
    input:
        expand(rules.train_adapter.output, **RUNS),
