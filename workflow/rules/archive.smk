# What travels: a card beside each selection and each adapter, and one zip by which another person can check it all.

# What made the selections, and what made the adapters of them. Of licences nothing depends but the cards.
SELECTED_BY = {"experiment", "data", "embedded", "selector", "warmup", "score", "select"}
LICENSES = json.dumps({source.name: source.license for source in CONFIG.data.sources})


rule selection_cards:
    input:
        template="src/moesift/report/template/selection.md.j2",  # part of the code, which the digest of modules does not see
        pool=f"{RESULTS}/data/pool.parquet",
        selections=expand(SELECTION, **RUNS),
    output:
        expand(SELECTION_CARD, method=CONFIG.methods, ratio=RATIOS),
    log:
        f"{RESULTS}/logs/selection_cards.log",
    localrule: True
    params:
        config=CONFIG.model_dump_json(include=SELECTED_BY),
        licenses=LICENSES,
        code=digest("selection_cards"),
    shell:
        "{PYTHON} -m moesift.stages.selection_cards --selections {input.selections} --pool {input.pool}"
        " --config {params.config:q} --licenses {params.licenses:q} > {log} 2>&1"


rule adapter_cards:
    input:
        template="src/moesift/report/template/adapter.md.j2",
        adapters=expand(rules.train_adapter.output.made, **RUNS),
        selections=expand(SELECTION, **RUNS),
        evaluations=expand(rules.evaluate_adapter.output.measured, **RUNS),
        base=rules.evaluate_base.output.measured,
    output:
        expand(f"{ADAPTER}/README.md", **RUNS),
    log:
        f"{RESULTS}/logs/adapter_cards.log",
    localrule: True
    params:
        config=CONFIG.model_dump_json(include=SELECTED_BY | {"target", "train", "evaluate"}),
        licenses=LICENSES,
        code=digest("adapter_cards"),
    shell:
        "{PYTHON} -m moesift.stages.adapter_cards --adapters {input.adapters} --selections {input.selections}"
        " --evaluations {input.evaluations} --base {input.base} --config {params.config:q}"
        " --licenses {params.licenses:q} > {log} 2>&1"


rule archive:
    input:
        template="src/moesift/report/template/archive.md.j2",
        selections=expand(SELECTION, **RUNS),
        files=[
            *rules.report.output,
            *rules.evaluate.input.measured,
            *rules.evaluate.input.questions,
            *rules.report.input.dropped,
            *rules.report.input.curves,
            *rules.adapter_cards.input.adapters,
            *rules.selection_cards.output,
            *rules.adapter_cards.output,
        ],
    output:
        f"{RESULTS}/{CONFIG.experiment}.zip",
    log:
        f"{RESULTS}/logs/archive.log",
    localrule: True
    params:
        # As it was given, for who repeats it; what changes no result is not part of it.
        config=json.dumps({key: value for key, value in config.items() if key not in ("throughput", "estimate")}),
        code=digest("archive"),
    shell:
        "{PYTHON} -m moesift.stages.archive --results {RESULTS} --selections {input.selections} --files {input.files}"
        " --config {params.config:q} --out {output} > {log} 2>&1"
