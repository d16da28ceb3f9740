# Stage 4: measure each tuned target, and the target as it was.

EVALUATED = {
    "model": model("target"),
    "heldout": f"{RESULTS}/data/heldout.parquet",
    "tasks": EVALUATION_DATA,
}
MEASURED = {
    "model": model_name("target"),
    "tasks_folder": TASKS_FOLDER,
    "data": arguments(CONFIG.data, "max_length"),
    "flags": arguments(CONFIG.evaluate, "tasks"),
    "code": digest("evaluate"),
}
EVALUATE = ON_GPUS + (
    "{PYTHON} -m moesift.stages.evaluate --model {params.model:q} --heldout {input.heldout} --out {output.measured}"
    " --questions {output.questions}"
    " {params.tasks_folder} --threads {threads} --eval-batch-size {resources.batch_size}"
    " --token-budget {resources.token_budget} {params.data} {params.flags}"
)
EVALUATION = {
    "gpu": CONFIG.throughput.gpus,
    "batch_size": CONFIG.throughput.eval_batch_size,
    "token_budget": CONFIG.throughput.score_tokens or 0,
}


rule evaluate_base:
    input:
        **EVALUATED,
    output:
        measured=ensure(f"{RESULTS}/eval/base.json", non_empty=True),
        questions=ensure(f"{RESULTS}/eval/base.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/eval/base.log",
    benchmark:
        f"{RESULTS}/benchmarks/eval/base.tsv"
    threads: CONFIG.throughput.threads
    resources:
        **EVALUATION,
    params:
        **MEASURED,
    shell:
        EVALUATE + ' --label \'{{"method": "base", "ratio": null, "seed": null}}\' > {log} 2>&1'


rule evaluate_adapter:
    input:
        **EVALUATED,
        adapter=rules.train_adapter.output.made,
    output:
        measured=ensure(f"{RESULTS}/eval/{{method}}/ratio-{{ratio}}/seed-{{seed}}.json", non_empty=True),
        questions=ensure(f"{RESULTS}/eval/{{method}}/ratio-{{ratio}}/seed-{{seed}}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/eval/{{method}}/ratio-{{ratio}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/eval/{{method}}/ratio-{{ratio}}/seed-{{seed}}.tsv"
    threads: CONFIG.throughput.threads
    resources:
        **EVALUATION,
    params:
        **MEASURED,
        adapter=ADAPTER,
    shell:
        EVALUATE + " --adapter {params.adapter} --label"
        ' \'{{"method": "{wildcards.method}", "ratio": {wildcards.ratio}, "seed": {wildcards.seed}}}\' > {log} 2>&1'


rule evaluate:
    input:
        measured=[rules.evaluate_base.output.measured, *expand(rules.evaluate_adapter.output.measured, **RUNS)],
        questions=[rules.evaluate_base.output.questions, *expand(rules.evaluate_adapter.output.questions, **RUNS)],
        cards=expand(f"{ADAPTER}/README.md", **RUNS),
