# Before the passes that read gradients, or that compare two models: a short LoRA warm-up of the selector on a share of the
# pool, or (`on-{target}/`) on the queries of a target, whose epochs are their states.

TUNED = f"{RESULTS}/gradients/seed-{{seed}}/{{on}}"


rule lora_warmup:
    input:
        model=model_files("selector"),
        pool=trained_on,
    output:
        [directory(f"{TUNED}lora-{n}") for n in range(1, CONFIG.gradients.train.epochs + 1)],
    log:
        f"{RESULTS}/logs/gradients/seed-{{seed}}/{{on}}lora.log",
    benchmark:
        f"{RESULTS}/benchmarks/gradients/seed-{{seed}}/{{on}}lora.tsv"
    priority: 10
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        nodes=1,
        micro_batch=CONFIG.throughput.micro_batch,
        save_every=CONFIG.throughput.save_every,
        recompute="--recompute" if CONFIG.throughput.activations == "recompute" else "",
        live=live_view("gradients/seed-{seed}/{on}"),
    params:
        out=TUNED,
        model=model_flags("selector"),
        accelerate=CONFIG.gradients.train.accelerate,
        watched=[watched("selector"), content(*files_of_launch(CONFIG.gradients.train.accelerate))],
        share=lambda wildcards: 1 if wildcards.on else CONFIG.gradients.share,
        train=keys(CONFIG.gradients.train),
        max_length=CONFIG.data.max_length,
        code=digest("stages.lora_warmup"),
    shell:
        LAUNCHED + " moesift.stages.lora_warmup {params.model} --pool {input.pool} --out {params.out}"
        " --seed {wildcards.seed} --threads {threads} --micro-batch {resources.micro_batch} {resources.recompute}"
        " --state {params.out}lora.state --save-every {resources.save_every} {resources.live}"
        " --max-length {params.max_length} --share {params.share} --train {params.train:q} > {log} 2>&1"
