# What a configuration costs, counted before anything is spent. It loads no weights and needs no GPU.

POOL = f"{RESULTS}/data/pool.parquet"


rule count_costs:
    input:
        # Models that the workflow makes are made first; a pool that is there is counted, and none is made for this.
        selector=model("selector"),
        target=model("target"),
        pool=[POOL] if os.path.isfile(POOL) else [],
    output:
        f"{RESULTS}/estimate.txt",
    log:
        f"{RESULTS}/logs/estimate.log",
    params:
        selector=model_name("selector"),
        target=model_name("target"),
        pool=f"--pool {POOL}" if os.path.isfile(POOL) else "",
        config=CONFIG.model_dump_json(),
        code=digest("estimate"),
    shell:
        "{PYTHON} -m moesift.stages.estimate --selector {params.selector:q} --target {params.target:q} {params.pool}"
        " --config {params.config:q} --out {output} > {log} 2>&1"


rule estimate:
    input:
        rules.count_costs.output,
    log:
        f"{RESULTS}/logs/estimate_shown.log",
    localrule: True
    shell:
        "cat {input} 2> {log}"
