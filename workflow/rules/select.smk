# Stage 2, last part: keep the best of the pool.

JACCARD, COSINE = (getattr(CONFIG.select.near_duplicates, measure, None) for measure in ("jaccard", "cosine"))

FORMATS = [format for format in CONFIG.select.format if format != "parquet"]  # which is always written
EXPORT = f"{RESULTS}/exported/{{method}}/{{budget}}/seed-{{seed}}"
EXPORTED = of_runs(EXPORT) if FORMATS else []


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
        threshold=JACCARD,
        code=digest("stages.near_duplicates"),
    shell:
        "{PYTHON} -m moesift.stages.near_duplicates --pool {input.pool} --out {output} --threshold {params.threshold}"
        " > {log} 2>&1"


rule semantic_duplicates:
    input:
        pool=f"{RESULTS}/data/pool.parquet",
        representation=list(files_of([REPRESENTATION], RESULTS, "", 0, []).values()),
    output:
        ensure(f"{RESULTS}/data/semantic_duplicates.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/semantic_duplicates.log",
    benchmark:
        f"{RESULTS}/benchmarks/semantic_duplicates.tsv"
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,  # products of large matrices
    params:
        threshold=COSINE,
        code=digest("stages.semantic_duplicates"),
    shell:
        ON_GPUS
        + "{PYTHON} -m moesift.stages.semantic_duplicates --pool {input.pool} --representation {input.representation}"
        " --out {output} --threshold {params.threshold} --threads {threads} > {log} 2>&1"


rule instructions:
    input:
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(f"{RESULTS}/data/instructions.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/instructions.log",
    benchmark:
        f"{RESULTS}/benchmarks/instructions.tsv"
    params:
        code=digest("stages.instructions"),
    shell:
        "{PYTHON} -m moesift.stages.instructions --pool {input.pool} --out {output} > {log} 2>&1"


# Neither may the pool repeat what the methods select for, or what they are measured on.
TARGET_EXAMPLES = expand(f"{RESULTS}/targets/{{target}}/{{part}}.parquet", target=TARGETS, part=["queries", "heldout"])


rule contaminated:
    input:
        pool=f"{RESULTS}/data/pool.parquet",
        tasks=EVALUATION_DATA,
        targets=TARGET_EXAMPLES,
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
        words=WORDS,
        ignore=IGNORED,
        code=digest("stages.contaminated"),
    shell:
        "{PYTHON} -m moesift.stages.contaminated --pool {input.pool} --out {output} {params.folder}"
        " --tasks {params.tasks} --words {params.words} --ignore {params.ignore:q} --targets {input.targets} > {log} 2>&1"


def per_instruction(wildcards):
    """Return how many examples of an instruction are kept; nothing where all are, as in the whole pool."""
    keeps_all = PLAN.methods[wildcards.method].method.keeps == "pool"
    return None if keeps_all else CONFIG.select.per_instruction


def looked_at(wildcards):
    """Return what a selection looks at beside the scores, where the configuration asks for it, by its flag."""
    asked = {
        "contaminated": rules.contaminated.output[0] if CONFIG.select.decontaminate else None,
        "near-duplicates": rules.near_duplicates.output[0] if JACCARD else None,
        "semantic-duplicates": rules.semantic_duplicates.output[0] if COSINE else None,
        "instructions": rules.instructions.output[0] if per_instruction(wildcards) else None,
    }
    columns = {
        "representation": REPRESENTATION if CONFIG.select.diversity is not None else None,
        "tokens": TARGET_TOKENS if wildcards.budget.startswith("tokens-") else None,
    }
    for flag, column in columns.items():
        if column is not None:
            (asked[flag],) = files_of([column], RESULTS, wildcards.seed, CONFIG.warmup.epochs, []).values()
    return {flag: path for flag, path in asked.items() if path}


def added_queries(wildcards):
    """Return the queries that are added to a selection, for a method that says so."""
    chosen = PLAN.methods[wildcards.method]
    return expand(QUERIES, target=chosen.targets) if chosen.add else []


rule select_run:
    input:
        lambda wildcards: list(looked_at(wildcards).values()),
        queries=added_queries,
        scores=SCORES,
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        selection=ensure(SELECTION, non_empty=True),
        dropped=ensure(SELECTION.replace(".parquet", ".dropped.parquet"), non_empty=True),
    log:
        f"{RESULTS}/logs/selected/{{method}}/{{budget}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/selected/{{method}}/{{budget}}/seed-{{seed}}.tsv"
    wildcard_constraints:
        budget="(ratio|tokens)-[0-9.e-]+",
    params:
        looked_at=lambda wildcards: [f"--{flag} {path}" for flag, path in looked_at(wildcards).items()],
        reject=lambda wildcards: json.dumps(PLAN.methods[wildcards.method].reject),
        whole=lambda wildcards: "--whole" if PLAN.methods[wildcards.method].method.keeps == "pool" else "",
        per_instruction=lambda wildcards: [f"--per-instruction {n}" for n in [per_instruction(wildcards)] if n],
        most=most_queries,
        select=keys(CONFIG.select, "drop_top", "quota", "diversity"),
        code=digest("stages.select"),
    shell:
        "{PYTHON} -m moesift.stages.select --scores {input.scores} --pool {input.pool} --out {output.selection}"
        " --dropped {output.dropped} --budget {wildcards.budget} --seed {wildcards.seed} --reject {params.reject}"
        " {params.whole} --queries {input.queries} {params.most} {params.looked_at} {params.per_instruction} --select {params.select:q} > {log} 2>&1"


# What nothing was selected for: the queries alone.
rule select_queries:
    input:
        lambda wildcards: expand(QUERIES, target=PLAN.methods[wildcards.method].targets),
    output:
        selection=ensure(SELECTION.replace("{budget}", "queries"), non_empty=True),
        dropped=ensure(SELECTION.replace("{budget}", "queries").replace(".parquet", ".dropped.parquet"), non_empty=True),
    log:
        f"{RESULTS}/logs/selected/{{method}}/queries/seed-{{seed}}.log",
    params:
        most=most_queries,
        code=digest("stages.select_queries"),
    shell:
        "{PYTHON} -m moesift.stages.select_queries --queries {input} --out {output.selection} --dropped {output.dropped}"
        " {params.most} > {log} 2>&1"


# A selection for another trainer. A rule of its own: another format makes no selection again, and trains nothing.
rule export_run:
    input:
        SELECTION,
    output:
        directory(EXPORT),
    log:
        f"{RESULTS}/logs/exported/{{method}}/{{budget}}/seed-{{seed}}.log",
    localrule: True
    params:
        formats=FORMATS,
        code=digest("stages.export"),
    shell:
        "{PYTHON} -m moesift.stages.export --selection {input} --formats {params.formats} --out {output} > {log} 2>&1"


rule select:
    input:
        MODELS_CHECKED,
        of_runs(SELECTION),
        EXPORTED,
