# Stage 4: measure each tuned target, and the target as it was, which is the run called `base`.


wildcard_constraints:
    run="base|[^/]+/(queries|(ratio|tokens)-[0-9.e-]+)/seed-[0-9]+",


def tuned_of(wildcards):
    """Return what a run was trained to, nothing for the target as it was."""
    folder = f"{RESULTS}/adapters/{wildcards.run}"
    return [] if wildcards.run == "base" else [f"{folder}/{Path(path).name}" for path in TUNED]


def label_of(wildcards):
    """Return what a run is called in its results."""
    method, budget, seed = ("base", None, None) if wildcards.run == "base" else wildcards.run.split("/")
    seed = None if seed is None else int(seed.removeprefix("seed-"))
    return json.dumps({"method": method, "budget": budget, "seed": seed})


TARGETS_HELDOUT = {
    name: f"{RESULTS}/targets/{name}/heldout.parquet" for name, target in TARGETS.items() if target.heldout > 0
}


def targets_of(run):
    """Return the held-out examples that a run is measured on: those of its own target where it was selected for one."""
    chosen = PLAN.methods.get(run.partition("/")[0])
    own = chosen.targets[0] if chosen and chosen.each else None
    return {own: TARGETS_HELDOUT[own]} if own in TARGETS_HELDOUT else TARGETS_HELDOUT


rule evaluate_run:
    input:
        model=model_files("target"),
        heldout=f"{RESULTS}/data/heldout.parquet",
        targets=lambda wildcards: list(targets_of(wildcards.run).values()),
        tasks=EVALUATION_DATA,
        tuned=tuned_of,
    output:
        measured=ensure(f"{RESULTS}/eval/{{run}}.json", non_empty=True),
        questions=ensure(f"{RESULTS}/eval/{{run}}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/eval/{{run}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/eval/{{run}}.tsv"
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        batch_size=CONFIG.throughput.eval_batch_size,
        token_budget=CONFIG.throughput.score_tokens or 0,
    params:
        model=model_flags("target"),
        watched=watched("target"),
        tuned=lambda wildcards: "" if wildcards.run == "base" else f"--tuned {RESULTS}/adapters/{wildcards.run}",
        label=label_of,
        targets=lambda wildcards: json.dumps(targets_of(wildcards.run)),
        tasks_folder=TASKS_FOLDER,
        max_length=CONFIG.data.max_length,
        evaluate=keys(CONFIG.evaluate, "tasks"),
        code=digest("stages.evaluate"),
    shell:
        ON_GPUS + "{PYTHON} -m moesift.stages.evaluate {params.model} {params.tuned}"
        " --heldout {input.heldout} --targets {params.targets:q} --out {output.measured} --questions {output.questions} {params.tasks_folder}"
        " --label {params.label:q} --threads {threads} --batch-size {resources.batch_size}"
        " --token-budget {resources.token_budget} --max-length {params.max_length} --evaluate {params.evaluate:q}"
        " > {log} 2>&1"


EVALUATED = ["base", *of_runs("{method}/{budget}/seed-{seed}")]


rule evaluate:
    input:
        MODELS_CHECKED,
        expand(rules.evaluate_run.output, run=EVALUATED),
