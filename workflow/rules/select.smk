# Stage 2, second half: keep the best of the pool.

SELECTION = f"{RESULTS}/selected/{{method}}/ratio-{{ratio}}/seed-{{seed}}.parquet"
SELECTION_CARD = f"{RESULTS}/selected/{{method}}/ratio-{{ratio}}/README.md"


rule near_duplicates:
    input:
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(f"{RESULTS}/data/near_duplicates.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/near_duplicates.log",
    benchmark:
        f"{RESULTS}/benchmarks/near_duplicates.tsv"
    params:
        flags=arguments(CONFIG.select, "near_duplicates"),
        code=digest("near_duplicates"),
    shell:
        "{PYTHON} -m moesift.stages.near_duplicates --pool {input.pool} --out {output} {params.flags} > {log} 2>&1"


rule contaminated:
    input:
        pool=f"{RESULTS}/data/pool.parquet",
        tasks=EVALUATION_DATA,
    output:
        ensure(f"{RESULTS}/data/contaminated.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/contaminated.log",
    benchmark:
        f"{RESULTS}/benchmarks/contaminated.tsv"
    params:
        folder=TASKS_FOLDER,
        # Their names alone: a limit changes how many questions are asked, not which must stay unseen.
        tasks=[task.name for task in CONFIG.evaluate.tasks],
        flags=arguments(CONFIG.select, "decontaminate"),
        code=digest("contaminated"),
    shell:
        "{PYTHON} -m moesift.stages.contaminated --pool {input.pool} --out {output} {params.folder}"
        " --tasks {params.tasks} {params.flags} > {log} 2>&1"


# What a selection looks at beside the scores, where the configuration asks for it.
LOOKED_AT = {
    "contaminated": rules.contaminated.output[0] if CONFIG.select.decontaminate else None,
    "near-duplicates": rules.near_duplicates.output[0] if CONFIG.select.near_duplicates else None,
}
LOOKED_AT = {name: path for name, path in LOOKED_AT.items() if path}


rule select_ratio:
    input:
        *LOOKED_AT.values(),
        *([lambda wildcards: read(USAGE, wildcards.seed)[0]] if USAGE in READ else []),
        scores=f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet",
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        selection=ensure(SELECTION, non_empty=True),
        dropped=ensure(SELECTION.replace(".parquet", ".dropped.parquet"), non_empty=True),
        jsonl=[SELECTION.replace(".parquet", ".jsonl")] if CONFIG.select.format == "jsonl" else [],
    log:
        f"{RESULTS}/logs/selected/{{method}}/ratio-{{ratio}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/selected/{{method}}/ratio-{{ratio}}/seed-{{seed}}.tsv"
    params:
        looked_at=[f"--{name} {path}" for name, path in LOOKED_AT.items()],
        usage=lambda wildcards: f"--usage {' '.join(read(USAGE, wildcards.seed))}" if USAGE in READ else "",
        flags=arguments(CONFIG.select, "format", "drop_top", "quota", "reject", "diversity"),
        code=digest("select_ratio"),
    shell:
        "{PYTHON} -m moesift.stages.select_ratio --scores {input.scores} --pool {input.pool} --out {output.selection}"
        " --dropped {output.dropped} --ratio {wildcards.ratio} --seed {wildcards.seed} {params.looked_at} {params.usage}"
        " {params.flags} > {log} 2>&1"


rule select:
    input:
        expand(SELECTION, **RUNS),
        expand(SELECTION_CARD, method=CONFIG.methods, ratio=RATIOS),
