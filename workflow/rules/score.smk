# Stage 2, first half: measure the pool, shard by shard, and score it by each method from that. What is measured is kept
# apart from what is made of it: another method reruns no forward pass that has been made.
#
# A reader of the pool is the selector as it came, or the epochs of one seed's warm-up. One job measures all that the
# methods ask of its reader, of one shard. Those are as many jobs as shards times seeds, most of a large plan, which takes
# time for each input and each function of the wildcards that they have.

EPOCHS = {"first": 0, "last": CONFIG.warmup.epochs}
MEASUREMENT = f"{RESULTS}/measured/{{reader}}/{{quantities}}"


wildcard_constraints:
    reader="selector|seed-[0-9]+",
    quantities="[a-z0-9_.+-]+",


def column(reads):
    """Return how a quantity is called in the measurements. Which tokens count is a choice for the routers' signals."""
    quantity = "signals_all" if reads.quantity == "signals" and CONFIG.score.tokens == "all" else reads.quantity
    return quantity if reads.model == "selector" else f"epoch-{EPOCHS[reads.model]}.{quantity}"


@functools.cache
def measurements(folder, wanted):
    """Return the parquet of each wanted quantity: from a measurement that is there or was begun, else from a new one."""
    made = sorted(path.stem for path in Path(folder).glob("*.parquet"))
    begun = sorted(path.stem for path in Path(folder).glob("*.shards") if wanted.issuperset(path.stem.split("+")))
    return {quantity: f"{folder}/{name}.parquet" for quantity, name in planned(made + begun, wanted).items()}


def measured(reads, folder, everything):
    """Return the parquet below the folder of its reader that holds a quantity, and its column there."""
    wanted = frozenset(
        column(other) for other in everything if (other.model == "selector") == (reads.model == "selector")
    )
    return measurements(folder, wanted)[column(reads)], column(reads)


def read(reads, seed):
    """Return the parquet that holds a quantity of a seed, and its column."""
    folder = "selector" if reads.model == "selector" else f"seed-{seed}"
    return measured(reads, f"{RESULTS}/measured/{folder}", READ)


def epochs_of(wildcards):
    """Return the names of the epochs that quantities are of, the last one last."""
    epochs = {quantity.partition(".")[0] for quantity in wildcards.quantities.split("+")}
    return sorted(epochs, key=lambda epoch: int(epoch.removeprefix("epoch-")))


def made_for_epochs(wildcards):
    """Return what a measurement by epochs waits for.

    The last one is made after the pool and the earlier ones, and again when one of them is, so it stands for all of
    them; but the untrained one is made of the selector alone.
    """
    last = epochs_of(wildcards)[-1]
    pool = [f"{RESULTS}/data/pool.parquet"] if last == "epoch-0" else []
    return [f"{RESULTS}/warmup/{wildcards.reader}/{last}", *pool]


rule measure_selector:
    input:
        model=model("selector"),
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        temp(f"{RESULTS}/measured/selector/{{quantities}}.shards/{{scatteritem}}.parquet"),
    log:
        f"{RESULTS}/logs/measured/selector/{{quantities}}/{{scatteritem}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measured/selector/{{quantities}}/{{scatteritem}}.tsv"
    wildcard_constraints:
        quantities="(nats|sketch).*",
    priority: 10
    threads: CONFIG.throughput.threads
    resources:
        gpu=CONFIG.throughput.gpus,
        token_budget=CONFIG.throughput.score_tokens or 0,
    params:
        model=model_name("selector"),
        pool=f"{RESULTS}/data/pool.parquet",
        quantities="{quantities}",
        shard="{scatteritem}",
        data=arguments(CONFIG.data, "max_length"),
        code=digest("measure"),
    shell:
        ON_GPUS + "{PYTHON} -m moesift.stages.measure --model {params.model:q} --quantities {params.quantities}"
        " --pool {params.pool} --out {output} --shard {params.shard} --threads {threads}"
        " --token-budget {resources.token_budget} {params.data} > {log} 2>&1"


use rule measure_selector as measure_tokens with:
    output:
        temp(f"{RESULTS}/measured/selector/{{quantities}}.shards/{{scatteritem}}.parquet"),
    wildcard_constraints:
        quantities="tokens",
    resources:
        gpu=0,  # it takes the tokenizer alone
        token_budget=CONFIG.throughput.score_tokens or 0,


use rule measure_selector as measure_epochs with:
    input:
        made_for_epochs,
    output:
        temp(f"{MEASUREMENT}.shards/{{scatteritem}}.parquet"),
    log:
        f"{RESULTS}/logs/measured/{{reader}}/{{quantities}}/{{scatteritem}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/measured/{{reader}}/{{quantities}}/{{scatteritem}}.tsv"
    wildcard_constraints:
        reader="seed-[0-9]+",
        quantities="epoch-.*",
    params:
        model=f"{RESULTS}/warmup/{{reader}}",
        pool=f"{RESULTS}/data/pool.parquet",
        quantities="{quantities}",
        shard="{scatteritem}",
        data=arguments(CONFIG.data, "max_length"),
        code=digest("measure"),


rule merge_shards:
    input:
        shards=gather.shard(f"{MEASUREMENT.replace('{', '{{').replace('}', '}}')}.shards/{{scatteritem}}.parquet"),
        pool=f"{RESULTS}/data/pool.parquet",
    output:
        ensure(f"{MEASUREMENT}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/measured/{{reader}}/{{quantities}}/merge.log",
    benchmark:
        f"{RESULTS}/benchmarks/measured/{{reader}}/{{quantities}}/merge.tsv"
    params:
        # Not their names, which would be too long for one command where there are a thousand.
        shards=f"{MEASUREMENT}.shards",
        code=digest("merge_shards"),
    shell:
        "{PYTHON} -m moesift.stages.merge_shards --shards {params.shards} --of {CONFIG.throughput.shards}"
        " --pool {input.pool} --out {output} > {log} 2>&1"


# What a method needs beside what it reads.
METHOD_FLAGS = {
    "router": arguments(CONFIG.score, "layers"),
    "router_untrained": arguments(CONFIG.score, "layers"),
    "reducible": f"--seed {{seed}} --pool {RESULTS}/data/pool.parquet {arguments(CONFIG.warmup, 'examples')}",
    "random": "--seed {seed}",
}


rule score_method:
    input:
        lambda wildcards: sorted({read(reads, wildcards.seed)[0] for reads in READS[wildcards.method]}),
    output:
        ensure(f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/scores/{{method}}/seed-{{seed}}.log",
    benchmark:
        f"{RESULTS}/benchmarks/scores/{{method}}/seed-{{seed}}.tsv"
    params:
        measured=lambda wildcards: [
            f"--measured {' '.join(read(reads, wildcards.seed))}" for reads in READS[wildcards.method]
        ],
        flags=lambda wildcards: METHOD_FLAGS.get(wildcards.method, "").format(seed=wildcards.seed),
        code=digest("score"),
    shell:
        "{PYTHON} -m moesift.stages.score {wildcards.method} {params.measured} --out {output} {params.flags}"
        " > {log} 2>&1"


rule score:
    input:
        expand(f"{RESULTS}/scores/{{method}}/seed-{{seed}}.parquet", method=CONFIG.methods, seed=CONFIG.seeds),
