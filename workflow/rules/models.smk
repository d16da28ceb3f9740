# The selector and the target, wherever they come from: the hub, a directory, a pinned wheel, or made here.

# The models are looked at before anything is trained; that look must not retrain what is there.
MODELS_CHECKED = ancient(f"{RESULTS}/models.json")

MADE_HERE = {
    "selector": {EMBEDDED: f"{RESULTS}/embedded/selector", SMOLLM2: f"{RESULTS}/smollm2"},
    "target": {EMBEDDED: f"{RESULTS}/embedded/target", SMOLLM2: f"{RESULTS}/smollm2"},
}


def as_named(role):
    """Return the model that the configuration names, as a stage loads it: a directory, or a name on the hub."""
    name = {"selector": CONFIG.selector.model, "target": CONFIG.target.model}[role]
    return MADE_HERE[role].get(name, name)


def files_of(role):
    """Return what a job that reads this model waits for: nothing for a hub name, a file of a user's directory."""
    path = as_named(role)
    if path in MADE_HERE[role].values():
        return path
    return f"{path}/config.json" if os.path.isdir(path) else []


def model_name(role):
    """Return what a stage is told to load, upcycled where the configuration says so."""
    return f"{RESULTS}/upcycled" if role == "selector" and CONFIG.selector.upcycle else as_named(role)


def model(role):
    """Return what a job that reads this model waits for, upcycled where the configuration says so."""
    return f"{RESULTS}/upcycled" if role == "selector" and CONFIG.selector.upcycle else files_of(role)


rule pretrain_tokenizer:
    input:
        MODELS_CHECKED,
    output:
        tokenizer=directory(f"{RESULTS}/embedded/tokenizer"),
        corpus=f"{RESULTS}/embedded/corpus.safetensors",
    log:
        f"{RESULTS}/logs/pretrain_tokenizer.log",
    params:
        flags=arguments(CONFIG.embedded, "corpus", "vocabulary", "seed"),
        code=digest("pretrain"),
    shell:
        "{PYTHON} -m moesift.stages.pretrain tokenizer --out {output.tokenizer} --corpus-out {output.corpus}"
        " {params.flags} > {log} 2>&1"


rule pretrain_model:
    input:
        MODELS_CHECKED,
        tokenizer=f"{RESULTS}/embedded/tokenizer",
        corpus=f"{RESULTS}/embedded/corpus.safetensors",
    output:
        model=directory(f"{RESULTS}/embedded/{{role}}"),
        losses=f"{RESULTS}/embedded/{{role}}.jsonl",
    log:
        f"{RESULTS}/logs/pretrain_{{role}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/pretrain_{{role}}.tsv"
    wildcard_constraints:
        role="selector|target",
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
    params:
        shape=lambda wildcards: {"selector": "moe", "target": "dense"}[wildcards.role],
        flags=arguments(CONFIG.embedded, "tokens", "learning_rate", "seed"),
        code=digest("pretrain"),
    shell:
        ON_GPUS + "{PYTHON} -m moesift.stages.pretrain model --shape {params.shape} --tokenizer {input.tokenizer}"
        " --corpus {input.corpus} --out {output.model} --log {output.losses} --threads {threads} {params.flags}"
        " > {log} 2>&1"


rule smollm2:
    output:
        directory(f"{RESULTS}/smollm2"),
    log:
        f"{RESULTS}/logs/smollm2.log",
    params:
        code=digest("smollm2"),
    shell:
        "{PYTHON} -m moesift.stages.smollm2 --out {output} > {log} 2>&1"


if CONFIG.selector.upcycle is not None:

    rule upcycle:
        input:
            MODELS_CHECKED,
            files_of("selector"),
        output:
            directory(f"{RESULTS}/upcycled"),
        log:
            f"{RESULTS}/logs/upcycle.log",
        benchmark:
            f"{RESULTS}/benchmarks/upcycle.tsv"
        priority: 10
        params:
            model=as_named("selector"),
            flags=arguments(CONFIG.selector.upcycle, "experts", "experts_per_token", "seed", "dtype"),
            code=digest("upcycle"),
        shell:
            "{PYTHON} -m moesift.stages.upcycle --model {params.model:q} --out {output} {params.flags} > {log} 2>&1"
