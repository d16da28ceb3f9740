# The study: does a score find what is wrong with an example, and is training on what it keeps better than on a random
# part? Pools with hidden labels, many methods, several seeds. A case is one pool: its noise (share of corrupted examples),
# the half of the kinds that it is corrupted by, and the seed of everything in it. The contrastive warm-up learns from negatives
# of the other half, so that it is judged on kinds that it never saw. The rules are those of the workflow, on other paths.

STUDY = f"{RESULTS}/study"
DOSES = CONFIG.study.doses
STUDY_FIGURES = [
    "auroc",
    *(["doses"] if DOSES is not None and any(DOSES.noise) else []),
    *(["training"] if CONFIG.study.arms else []),
    *(["layers"] if "router" in CONFIG.study.methods else []),
]
CASE = f"{STUDY}/noise-{{noise}}/half-{{half}}/seed-{{seed}}"
HUMAN = f"{STUDY}/human"


def cases(noises, seeds):
    """Return the folders of the cases of these shares of noise and seeds, of all halves."""
    written = [f"{noise:g}" for noise in noises]
    return expand(CASE, noise=written, half=range(len(CONFIG.study.halves)), seed=seeds)


CASES = cases([CONFIG.study.noise], [*CONFIG.study.validation_seeds, *CONFIG.study.test_seeds])
# Choices are made on what the scores see; nothing is trained for them.
TRAINED = cases([CONFIG.study.noise], CONFIG.study.test_seeds) if CONFIG.study.arms else []
if DOSES is not None:
    CASES += cases(filter(None, DOSES.noise), DOSES.seeds)  # without noise there is nothing to find
    TRAINED += cases(DOSES.noise, DOSES.seeds) if DOSES.arms else []
DUPLICATES = (
    expand(f"{STUDY}/duplicates/seed-{{seed}}.json", seed=CONFIG.study.test_seeds) if CONFIG.study.duplicates else []
)
# What the probe is made from, and what it and the methods read.
INPUTS = Measured("inputs", "first")
STUDY_READ = {INPUTS, *what_is_read(CONFIG.study.methods, diverse=False)}


wildcard_constraints:
    noise="[0-9.]+",
    half="[0-9]+",


def reseeded(section, **keys):
    """Return a section of the configuration with other values of some keys."""
    return section.model_copy(update=keys)


def study_model(role, seed):
    """Return the directory of a model of the study: the embedded ones are made anew for each seed."""
    name = {"selector": CONFIG.selector.model, "target": CONFIG.target.model}[role]
    return f"{STUDY}/{role}/seed-{seed}" if name == EMBEDDED else model_name(role)


def study_files(role, seed):
    """Return what a job that reads this model waits for."""
    name = {"selector": CONFIG.selector.model, "target": CONFIG.target.model}[role]
    return study_model(role, seed) if name == EMBEDDED else model(role)


def study_read(reads, case):
    """Return the parquet that holds a quantity of a case, and its column."""
    folder = "selector" if reads.model == "selector" else "epochs"
    return measured(reads, f"{case}/measured/{folder}", STUDY_READ)


def study_measured(case):
    """Return a function of the wildcards: the flags that say where a method's quantities are."""
    return lambda wildcards: [
        f"--measured {' '.join(study_read(reads, case.format(**wildcards)))}" for reads in READS[wildcards.method]
    ]


def study_measurements(case):
    """Return a function of the wildcards: the files that a method's quantities are in."""
    return lambda wildcards: sorted(
        {study_read(reads, case.format(**wildcards))[0] for reads in READS[wildcards.method]}
    )


def study_flags(method, **case):
    """Return what a method needs beside what it reads, of a case: what its warm-up trained on is in its pool."""
    return METHOD_FLAGS.get(method, "").replace(f"{RESULTS}/data", CASE).format(**case)


use rule prepare as study_pool with:
    output:
        pool=ensure(f"{CASE}/pool.parquet", non_empty=True),
        heldout=ensure(f"{CASE}/heldout.parquet", non_empty=True),
        rejected=ensure(f"{CASE}/rejected.parquet", non_empty=True),
    log:
        f"{CASE}/logs/pool.log",
    benchmark:
        f"{CASE}/benchmarks/pool.tsv"
    params:
        flags=lambda wildcards: arguments(
            reseeded(
                CONFIG.data,
                corrupt=float(wildcards.noise),
                corruptions=CONFIG.study.halves[int(wildcards.half)] + [CONFIG.study.control],
                seed=int(wildcards.seed),
            ),
            "sources",
            "heldout",
            "corrupt",
            "corruptions",
            "seed",
        ),
        code=digest("prepare"),


use rule pretrain_model as study_pretrain with:
    output:
        model=directory(f"{STUDY}/{{role}}/seed-{{seed}}"),
        losses=f"{STUDY}/{{role}}/seed-{{seed}}.jsonl",
    log:
        f"{STUDY}/logs/pretrain-{{role}}-{{seed}}.log",
    benchmark:
        f"{STUDY}/benchmarks/pretrain-{{role}}-{{seed}}.tsv"
    priority: 20
    params:
        shape=lambda wildcards: {"selector": "moe", "target": "dense"}[wildcards.role],
        flags=lambda wildcards: arguments(
            reseeded(CONFIG.embedded, seed=int(wildcards.seed)), "tokens", "learning_rate", "seed"
        ),
        code=digest("pretrain"),


use rule warmup_start as study_warmup_start with:
    input:
        MODELS_CHECKED,
        model=lambda wildcards: study_files("selector", wildcards.seed),
    output:
        directory(f"{CASE}/epoch-0"),
    log:
        f"{CASE}/logs/epoch-0.log",
    benchmark:
        f"{CASE}/benchmarks/epoch-0.tsv"
    params:
        model=lambda wildcards: study_model("selector", wildcards.seed),
        flags=arguments(CONFIG.warmup, "objective", "expert_role", "trash_ratio"),
        code=digest("warmup_start"),


use rule warmup_epoch as study_warmup_epoch with:
    input:
        previous=lambda wildcards: f"{CASE}/epoch-{int(wildcards.epoch) - 1}".format(**wildcards),
        pool=f"{CASE}/pool.parquet",
    output:
        checkpoint=directory(f"{CASE}/epoch-{{epoch}}"),
        curve=f"{CASE}/epoch-{{epoch}}.jsonl",
    log:
        f"{CASE}/logs/epoch-{{epoch}}.log",
    benchmark:
        f"{CASE}/benchmarks/epoch-{{epoch}}.tsv"
    resources:
        gpu=CONFIG.throughput.gpus,
        nodes=1,
        micro_batch=CONFIG.throughput.micro_batch,
        save_every=CONFIG.throughput.save_every,
        recompute=int(CONFIG.throughput.activations == "recompute"),
        live=live_view("study/noise-{noise}/half-{half}/seed-{seed}"),
    params:
        accelerate=CONFIG.warmup.accelerate,
        data=rules.warmup_epoch.params.data,
        flags=lambda wildcards: arguments(
            reseeded(
                CONFIG.warmup,
                negatives=[
                    kind
                    for number, kinds in enumerate(CONFIG.study.halves)
                    if number != int(wildcards.half)
                    for kind in kinds
                ],
            ),
            *WARMUP_KEYS,
        ),
        code=digest("warmup_epoch"),


use rule measure_epochs as study_measure with:
    input:
        model=lambda wildcards: (
            [f"{CASE}/{epoch}".format(**wildcards) for epoch in epochs_of(wildcards)]
            if wildcards.reader == "epochs"
            else study_files(wildcards.reader, wildcards.seed)
        ),
        pool=f"{CASE}/pool.parquet",
    output:
        ensure(f"{CASE}/measured/{{reader}}/{{quantities}}.parquet", non_empty=True),
    log:
        f"{CASE}/logs/{{reader}}-{{quantities}}.log",
    benchmark:
        f"{CASE}/benchmarks/{{reader}}-{{quantities}}.tsv"
    wildcard_constraints:
        reader="selector|target|epochs",
    params:
        model=lambda wildcards: (
            CASE.format(**wildcards) if wildcards.reader == "epochs" else study_model(wildcards.reader, wildcards.seed)
        ),
        pool=f"{CASE}/pool.parquet",
        quantities="{quantities}",
        shard="1-of-1",
        data=rules.measure_selector.params.data,
        code=digest("measure"),


use rule score_method as study_score with:
    input:
        study_measurements(CASE),
    output:
        ensure(f"{CASE}/scores/{{method}}.parquet", non_empty=True),
    log:
        f"{CASE}/logs/score-{{method}}.log",
    benchmark:
        f"{CASE}/benchmarks/score-{{method}}.tsv"
    params:
        measured=study_measured(CASE),
        flags=lambda wildcards: study_flags(**wildcards),
        code=digest("score"),


STUDY_SCORES = [f"{CASE}/scores/{method}.parquet" for method in CONFIG.study.methods]


rule study_case:
    input:
        pool=f"{CASE}/pool.parquet",
        scores=STUDY_SCORES,
        inputs=lambda wildcards: study_read(INPUTS, CASE.format(**wildcards))[0],
        reference=f"{CASE}/measured/target/nats.parquet",
    output:
        ensure(f"{CASE}/examples.parquet", non_empty=True),
    log:
        f"{CASE}/logs/case.log",
    benchmark:
        f"{CASE}/benchmarks/case.tsv"
    threads: CONFIG.throughput.threads
    params:
        inputs=column(INPUTS),
        kinds=lambda wildcards: " ".join(CONFIG.study.halves[int(wildcards.half)]),
        control=CONFIG.study.control,
        code=digest("study_case"),
    shell:
        "{PYTHON} -m moesift.stages.study_case --pool {input.pool} --scores {input.scores} --inputs {input.inputs} {params.inputs}"
        " --reference {input.reference} --kinds {params.kinds} --control {params.control} --seed {wildcards.seed}"
        " --threads {threads} --out {output} > {log} 2>&1"


rule study_train:
    input:
        model=lambda wildcards: study_files("target", wildcards.seed),
        pool=f"{CASE}/pool.parquet",
        heldout=f"{CASE}/heldout.parquet",
        scores=STUDY_SCORES,
    output:
        trained=ensure(f"{CASE}/trained.parquet", non_empty=True),
        runs=ensure(f"{CASE}/trained.json", non_empty=True),
    log:
        f"{CASE}/logs/train.log",
    benchmark:
        f"{CASE}/benchmarks/train.tsv"
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        token_budget=CONFIG.throughput.score_tokens or 0,
    params:
        model=lambda wildcards: study_model("target", wildcards.seed),
        flags=lambda wildcards: arguments(
            (
                CONFIG.study
                if float(wildcards.noise) == CONFIG.study.noise
                else reseeded(CONFIG.study, arms=DOSES.arms, ratios=DOSES.ratios)
            ),
            "arms",
            "default",
            "reject",
            "ratios",
            "tokens",
        ),
        data=arguments(CONFIG.data, "max_length"),
        train=arguments(
            CONFIG.train,
            "learning_rate",
            "warmup_ratio",
            "batch_size",
            "lora_rank",
            "lora_alpha",
            "lora_dropout",
            "lora_targets",
        ),
        code=digest("study_train"),
    shell:
        ON_GPUS
        + "{PYTHON} -m moesift.stages.study_train --model {params.model:q} --pool {input.pool} --heldout {input.heldout}"
        " --scores {input.scores} --seed {wildcards.seed} --threads {threads} --token-budget {resources.token_budget}"
        " --out {output.trained} --log {output.runs} {params.flags} {params.data} {params.train} > {log} 2>&1"


# What experts preferred: by the selector of the first test seed, as it came and as the routers of its first case are.
if CONFIG.study.human is not None:
    JUDGE = dict(noise=f"{CONFIG.study.noise:g}", half=0, seed=CONFIG.study.test_seeds[0])

    rule study_pairs:
        output:
            ensure(f"{HUMAN}/pool.parquet", non_empty=True),
        log:
            f"{HUMAN}/logs/pool.log",
        params:
            flags=arguments(CONFIG.study.human, "path", "pairs"),
            seed=JUDGE["seed"],
            code=digest("study_pairs"),
        shell:
            "{PYTHON} -m moesift.stages.study_pairs --seed {params.seed} --out {output} {params.flags} > {log} 2>&1"

    use rule measure_epochs as human_measure with:
        input:
            model=lambda wildcards: (
                [f"{CASE.format(**JUDGE)}/{epoch}" for epoch in epochs_of(wildcards)]
                if wildcards.reader == "epochs"
                else study_files(wildcards.reader, JUDGE["seed"])
            ),
            pool=f"{HUMAN}/pool.parquet",
        output:
            ensure(f"{HUMAN}/measured/{{reader}}/{{quantities}}.parquet", non_empty=True),
        log:
            f"{HUMAN}/logs/{{reader}}-{{quantities}}.log",
        benchmark:
            f"{HUMAN}/benchmarks/{{reader}}-{{quantities}}.tsv"
        wildcard_constraints:
            reader="selector|epochs",
        params:
            model=lambda wildcards: (
                CASE.format(**JUDGE) if wildcards.reader == "epochs" else study_model(wildcards.reader, JUDGE["seed"])
            ),
            pool=f"{HUMAN}/pool.parquet",
            quantities="{quantities}",
            shard="1-of-1",
            data=rules.measure_selector.params.data,
            code=digest("measure"),

    use rule score_method as human_score with:
        input:
            study_measurements(HUMAN),
        output:
            ensure(f"{HUMAN}/scores/{{method}}.parquet", non_empty=True),
        log:
            f"{HUMAN}/logs/score-{{method}}.log",
        benchmark:
            f"{HUMAN}/benchmarks/score-{{method}}.tsv"
        params:
            measured=study_measured(HUMAN),
            flags=lambda wildcards: study_flags(wildcards.method, **JUDGE),
            code=digest("score"),

    rule study_human:
        input:
            pool=f"{HUMAN}/pool.parquet",
            scores=[f"{HUMAN}/scores/{method}.parquet" for method in CONFIG.study.methods],
        output:
            ensure(f"{HUMAN}/agreement.json", non_empty=True),
        log:
            f"{HUMAN}/logs/agreement.log",
        params:
            flags=arguments(CONFIG.study, "resamples"),
            code=digest("study_human"),
        shell:
            "{PYTHON} -m moesift.stages.study_human --pool {input.pool} --scores {input.scores} --out {output}"
            " {params.flags} > {log} 2>&1"


rule study_duplicates:
    input:
        f"{STUDY}/noise-{CONFIG.study.noise:g}/half-0/seed-{{seed}}/pool.parquet",
    output:
        ensure(f"{STUDY}/duplicates/seed-{{seed}}.json", non_empty=True),
    log:
        f"{STUDY}/logs/duplicates-{{seed}}.log",
    params:
        flags=arguments(CONFIG.study, "duplicates"),
        code=digest("study_duplicates"),
    shell:
        "{PYTHON} -m moesift.stages.study_duplicates --pool {input} --seed {wildcards.seed} --out {output}"
        " {params.flags} > {log} 2>&1"


rule study_results:
    input:
        expand("{case}/examples.parquet", case=CASES),
        expand(["{case}/trained.parquet", "{case}/trained.json"], case=TRAINED),
        human=rules.study_human.output if CONFIG.study.human is not None else [],
        duplicates=DUPLICATES,
    output:
        ensure(f"{STUDY}/study.json", non_empty=True),
    log:
        f"{STUDY}/logs/results.log",
    params:
        cases=sorted({*CASES, *TRAINED}),
        study=CONFIG.study.model_dump_json(),
        made_from=json.dumps(
            {
                "command": f"snakemake study --cores all --configfile {' '.join(map(os.path.relpath, workflow.overwrite_configfiles))}",
                "selector": CONFIG.selector.model,
                "target": CONFIG.target.model,
                "objective": CONFIG.warmup.objective,
            }
        ),
        code=digest("study_results"),
    shell:
        "{PYTHON} -m moesift.stages.study_results --cases {params.cases} --benchmarks {STUDY} --study {params.study:q}"
        " --human {input.human} --duplicates {input.duplicates} --made-from {params.made_from:q} --out {output} > {log} 2>&1"


STUDY_PAGE = (
    "{PYTHON} -m moesift.stages.study_page --study {input} --page {output.page} --figures $(dirname {output.page})"
    " 2> {log} | tee -a {log}"
)


rule study:
    input:
        rules.study_results.output,
    output:
        page=f"{STUDY}/page/results.md",
        figures=[f"{STUDY}/page/study-{name}.png" for name in STUDY_FIGURES],
    log:
        f"{STUDY}/logs/page.log",
    params:
        code=digest("study_page"),
    shell:
        STUDY_PAGE


# The same into the documentation, for who keeps it: `snakemake study_docs --configfile config/study.yaml`.
rule study_docs:
    input:
        rules.study_results.output,
    output:
        page="docs/results.md",
        figures=[f"docs/study-{name}.png" for name in STUDY_FIGURES],
    log:
        f"{STUDY}/logs/docs.log",
    params:
        code=digest("study_page"),
    shell:
        STUDY_PAGE
