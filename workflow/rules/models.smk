# The tiny models that stand in for real ones where the configuration says `embedded`.

# The models are looked at before anything is trained; that look must not retrain what is there.
MODELS_CHECKED = ancient(f"{RESULTS}/models.json")


def model(name, key):
    """Return what a model's users read: nothing for a hub name, a file of a local directory, or the embedded model."""
    if name == EMBEDDED:
        return f"{RESULTS}/embedded/{key}"
    return f"{name}/config.json" if os.path.isdir(name) else []


def model_name(name, key):
    """Return what a stage is told to load."""
    return f"{RESULTS}/embedded/{key}" if name == EMBEDDED else name


rule pretrain_tokenizer:
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
        "{PYTHON} -m moesift.stages.pretrain model --shape {params.shape} --tokenizer {input.tokenizer}"
        " --corpus {input.corpus} --out {output.model} --log {output.losses} --threads {threads} {params.flags}"
        " > {log} 2>&1"
