# Stage 2, second part: score the pool by each method, a pure function of columns of the passes.

SCORES = f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet"


def files_read(wildcards):
    """Return the parquet of each pass that a method reads, by pass and state; the pool's and the tokens' are always."""
    columns = PLAN.methods[wildcards.method].columns.values()
    always = [Column("pool", "source"), Column("tokens", "n_tokens")]
    return files_of([*columns, *always], RESULTS, wildcards.seed, CONFIG.warmup.epochs)


rule score_method:
    input:
        lambda wildcards: list(files_read(wildcards).values()),
    output:
        ensure(SCORES, non_empty=True),
    log:
        f"{RESULTS}/logs/scores/{{method}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scores/{{method}}/seed-{{seed}}.tsv"
    params:
        method=lambda wildcards: PLAN.methods[wildcards.method].method.name,
        parameters=lambda wildcards: parameters_json(PLAN.methods[wildcards.method]),
        files=lambda wildcards: json.dumps(files_read(wildcards)),
        code=lambda wildcards: digest("stages.score", *PLAN.methods[wildcards.method].modules),
    shell:
        "{PYTHON} -m moesift.stages.score --method {params.method} --parameters {params.parameters:q}"
        " --files {params.files:q} --out {output} --seed {wildcards.seed} > {log} 2>&1"


rule score:
    input:
        expand(SCORES, method=PLAN.methods, seed=CONFIG.seeds),
