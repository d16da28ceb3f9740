# The selector and the target, wherever they come from: the hub, a directory, a pinned wheel, or made here.

# The models are looked at by a job of the highest priority, which stops a run that cannot end well. No job waits for it: an
# `ancient` input that is made anew hides from Snakemake whatever else has changed for the jobs that read it.
MODELS_CHECKED = f"{RESULTS}/models.json"
NAMED = {"selector": CONFIG.selector.model, "target": CONFIG.target.model}
NAMED |= {"reward": CONFIG.reward.model} if PLAN.rewards else {}


def as_named(role):
    """Return the model that the configuration names, as a stage loads it: a directory, or a name on the hub."""
    made_here = {EMBEDDED: f"{RESULTS}/embedded/{role}", SMOLLM2: f"{RESULTS}/smollm2"}
    return made_here.get(NAMED[role], NAMED[role])


def files_named(role):
    """Return what a job that reads it as it is named waits for: nothing for a hub name, a file of a user's directory."""
    path = as_named(role)
    if NAMED[role] in (EMBEDDED, SMOLLM2):
        return path
    return f"{path}/config.json" if os.path.isdir(path) else []


def watched(role):
    """Return a digest of the files of a user's directory: weights, tokenizer, chat template. Of the hub nothing is known."""
    made_here = NAMED[role] in (EMBEDDED, SMOLLM2)  # which a rule waits for
    return "" if made_here else content(NAMED[role])


def model_flags(role, weights=True, upcycled=True):
    """Return the flags that tell a stage what to load, upcycled where the configuration says so, and its weights' precision."""
    made_moe = upcycled and role == "selector" and CONFIG.selector.upcycle
    path = f"{RESULTS}/upcycled" if made_moe else as_named(role)
    dtype = getattr(getattr(CONFIG, role), "dtype", None) if weights else None  # `reward` has none
    return f"--model {shlex.quote(path)}" + (f" --dtype {dtype}" if dtype else "")


def model_files(role):
    """Return what a job that reads this model waits for, upcycled where the configuration says so."""
    return f"{RESULTS}/upcycled" if role == "selector" and CONFIG.selector.upcycle else files_named(role)


# It takes seconds, and `check`, which lists all problems at once, needs it.
rule pretrain_tokenizer:
    output:
        tokenizer=directory(f"{RESULTS}/embedded/tokenizer"),
        corpus=f"{RESULTS}/embedded/corpus.safetensors",
    log:
        f"{RESULTS}/logs/pretrain_tokenizer.log",
    params:
        embedded=keys(CONFIG.embedded, "corpus", "vocabulary", "seed"),
        code=digest("demo.pretrain_tokenizer"),
    shell:
        "{PYTHON} -m moesift.demo.pretrain_tokenizer --out {output.tokenizer} --corpus {output.corpus}"
        " --embedded {params.embedded:q} > {log} 2>&1"


rule pretrain_model:
    input:
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
        embedded=keys(CONFIG.embedded, "tokens", "learning_rate", "seed"),
        code=digest("demo.pretrain_model"),
    shell:
        ON_GPUS + "{PYTHON} -m moesift.demo.pretrain_model --role {wildcards.role} --tokenizer {input.tokenizer}"
        " --corpus {input.corpus} --out {output.model} --log {output.losses} --threads {threads}"
        " --embedded {params.embedded:q} > {log} 2>&1"


rule smollm2:
    output:
        directory(f"{RESULTS}/smollm2"),
    log:
        f"{RESULTS}/logs/smollm2.log",
    params:
        code=digest("demo.smollm2"),
    shell:
        "{PYTHON} -m moesift.demo.smollm2 --out {output} > {log} 2>&1"


if CONFIG.selector.upcycle is not None:

    rule upcycle:
        input:
            files_named("selector"),
        output:
            directory(f"{RESULTS}/upcycled"),
        log:
            f"{RESULTS}/logs/upcycle.log",
        benchmark:
            f"{RESULTS}/benchmarks/upcycle.tsv"
        priority: 10
        params:
            model=model_flags("selector", upcycled=False),
            watched=watched("selector"),
            upcycle=keys(CONFIG.selector.upcycle),
            code=digest("stages.upcycle"),
        shell:
            "{PYTHON} -m moesift.stages.upcycle {params.model} --out {output} --upcycle {params.upcycle:q}"
            " > {log} 2>&1"
