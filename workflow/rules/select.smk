# Stage 2, second half: keep the best of the pool.

SELECTION = f"{RESULTS}/selected/{{method}}/ratio-{{ratio}}/seed-{{seed}}.parquet"


rule select_ratio:
    input:
        scores=f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet",
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(SELECTION, non_empty=True),
        *([SELECTION.replace(".parquet", ".jsonl")] if CONFIG.select.format == "jsonl" else []),
    log:
        f"{RESULTS}/logs/selected/{{method}}/ratio-{{ratio}}/seed-{{seed}}.log",
    params:
        flags=arguments(CONFIG.select, "format"),
        code=digest("select_ratio"),
    shell:
        "{PYTHON} -m moesift.stages.select_ratio --scores {input.scores} --pool {input.pool} --out {output[0]}"
        " --ratio {wildcards.ratio} {params.flags} > {log} 2>&1"


rule select:
    input:
        expand(SELECTION, **RUNS),
