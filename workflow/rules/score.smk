# Stage 2, second part: score the pool by each method, a pure function of columns of the passes.

SCORES = f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet"


def files_read(wildcards, of=None):
    """Return the parquet of each pass that a method reads, by pass and state, of the pool or of the queries of a target."""
    chosen = PLAN.methods[wildcards.method]
    columns = {*chosen.columns.values(), N_TOKENS} if of is None else set(chosen.query_columns.values())
    columns = {*columns, Column(POOL, "source")}
    return files_of(columns, RESULTS, wildcards.seed, CONFIG.warmup.epochs, chosen.targets, of, chosen.file)


def queries_read(wildcards):
    """Return the same of the queries of each target, by its name; nothing for a method that has no queries."""
    chosen = PLAN.methods[wildcards.method]
    return {target: files_read(wildcards, of=target) for target in chosen.targets if chosen.method.targeted}


def paths_in(*read):
    """Return all paths; of a state on a target there is one for each."""
    values = [value for files in read for value in files.values()]
    return [path for value in values for path in ([value] if isinstance(value, str) else value)]


def stage_of(wildcards):
    """Return the stage that scores: methods with queries have one of their own."""
    return "score_targeted" if PLAN.methods[wildcards.method].method.targeted else "score"


def queries_flag(wildcards):
    """Return what that stage is told besides."""
    read = queries_read(wildcards)
    return f"--queries {shlex.quote(json.dumps(read))} {most_queries(wildcards)}" if read else ""


def most_queries(wildcards):
    """Return the flag that says how many queries of each target are read, or nothing where it is all of them."""
    most = PLAN.methods[wildcards.method].queries
    return "" if most is None else f"--most {most}"


rule score_method:
    input:
        lambda wildcards: paths_in(files_read(wildcards), *queries_read(wildcards).values()),
    output:
        ensure(SCORES, non_empty=True),
    log:
        f"{RESULTS}/logs/scores/{{method}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scores/{{method}}/seed-{{seed}}.tsv"
    threads: CONFIG.throughput.threads
    resources:
        # Similarities are products of large matrices.
        gpu=lambda wildcards: CONFIG.throughput.gpus if queries_read(wildcards) else 0,
        as_threads=lambda wildcards, threads: f"--threads {threads}" if queries_read(wildcards) else "",
    params:
        stage=stage_of,
        method=lambda wildcards: PLAN.methods[wildcards.method].method.name,
        parameters=lambda wildcards: PLAN.methods[wildcards.method].parameters.model_dump_json(),
        files=lambda wildcards: json.dumps(files_read(wildcards)),
        queries=queries_flag,
        code=lambda wildcards: digest(f"stages.{stage_of(wildcards)}", *PLAN.methods[wildcards.method].modules),
    shell:
        ON_GPUS
        + "{PYTHON} -m moesift.stages.{params.stage} --method {params.method} --parameters {params.parameters:q}"
        " --files {params.files:q} {params.queries} {resources.as_threads} --out {output} --seed {wildcards.seed} > {log} 2>&1"


rule score:
    input:
        MODELS_CHECKED,
        expand(SCORES, method=PLAN.methods, seed=CONFIG.seeds),
