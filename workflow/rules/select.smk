# Stage 2, second half: keep the best of the pool.

SELECTION = f"{RESULTS}/selected/{{method}}/ratio-{{ratio}}/seed-{{seed}}.parquet"


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
    "usage": (
        f"{RESULTS}/measured/usage/seed-{{seed}}/epoch-{CONFIG.warmup.epochs}.parquet"
        if CONFIG.select.diversity
        else None
    ),
}


rule select_ratio:
    input:
        *[path for path in LOOKED_AT.values() if path],
        scores=f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet",
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        selection=ensure(SELECTION, non_empty=True),
        dropped=ensure(SELECTION.replace(".parquet", ".dropped.parquet"), non_empty=True),
        jsonl=[SELECTION.replace(".parquet", ".jsonl")] if CONFIG.select.format == "jsonl" else [],
    log:
        f"{RESULTS}/logs/selected/{{method}}/ratio-{{ratio}}/seed-{{seed}}.log",
    params:
        looked_at=lambda wildcards: " ".join(
            f"--{name} {path.format(seed=wildcards.seed)}" for name, path in LOOKED_AT.items() if path
        ),
        flags=arguments(CONFIG.select, "format", "drop_top", "quota", "reject", "diversity"),
        code=digest("select_ratio"),
    shell:
        "{PYTHON} -m moesift.stages.select_ratio --scores {input.scores} --pool {input.pool} --out {output.selection}"
        " --dropped {output.dropped} --ratio {wildcards.ratio} --seed {wildcards.seed} {params.looked_at} {params.flags} > {log} 2>&1"


rule select:
    input:
        expand(SELECTION, **RUNS),
