# Stage 3: tune the target on each selection, by LoRA or in full.

# The files and not their folder, which has a card as well (rule cards). Who reads one of them asks for all, since a job of
# which no file that is asked for is missing does not run for another `train.method`.
WEIGHTS = {
    "lora": ["adapter_model.safetensors", "adapter_config.json"],
    "full": ["model.safetensors", "config.json", "tokenizer.json"],
}
TUNED = [f"{ADAPTER}/{name}" for name in (*WEIGHTS[CONFIG.train.method], "training.json")]


rule train_adapter:
    input:
        model=model_files("target"),
        selection=SELECTION,
    output:
        ensure(TUNED, non_empty=True),
    log:
        f"{RESULTS}/logs/adapters/{{method}}/{{budget}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/adapters/{{method}}/{{budget}}/seed-{{seed}}.tsv"
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        nodes=1,
        micro_batch=CONFIG.throughput.micro_batch,
        save_every=CONFIG.throughput.save_every,
        recompute="--recompute" if CONFIG.throughput.activations == "recompute" else "",
        live=live_view("adapters/{method}/{budget}/seed-{seed}"),
    params:
        out=ADAPTER,
        model=model_flags("target"),
        accelerate=CONFIG.train.accelerate,
        watched=[watched("target"), content(*files_of_launch(CONFIG.train.accelerate))],
        train=keys(CONFIG.train, without=CONFIG.train.unread),
        max_length=CONFIG.data.max_length,
        code=digest("stages.train_adapter"),
    shell:
        LAUNCHED + " moesift.stages.train_adapter {params.model} --selection {input.selection}"
        " --out {params.out} --seed {wildcards.seed} --threads {threads} --micro-batch {resources.micro_batch}"
        " {resources.recompute} --state {params.out}.state --save-every {resources.save_every} {resources.live}"
        " --max-length {params.max_length} --train {params.train:q} > {log} 2>&1"


rule train:
    input:
        MODELS_CHECKED,
        [file for path in TUNED for file in of_runs(path)],
