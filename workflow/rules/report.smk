# The comparison: tidy tables, one JSON, one page; cards that travel with what is shared; one zip to check it all by.

SELECTION_CARDS = sorted({str(Path(path).parent / "README.md") for path in of_runs(SELECTION)})
ADAPTER_CARDS = of_runs(f"{ADAPTER}/README.md")
LICENSES = json.dumps(
    {
        kind: {source.name: source.license for source in sources}
        for kind, sources in (("sources", CONFIG.data.sources), ("targets", CONFIG.targets))
    }
)
# What changes no result is not part of what made it.
CONFIG_JSON = CONFIG.model_dump_json(exclude={"throughput": True, "estimate": True, "train": set(CONFIG.train.unread)})
TEMPLATES = "src/moesift/report/template"  # part of the code, which the digest of modules does not see


rule report:
    input:
        evaluations=expand(f"{RESULTS}/eval/{{run}}.json", run=EVALUATED),
        questions=expand(f"{RESULTS}/eval/{{run}}.parquet", run=EVALUATED),
        pool=f"{RESULTS}/data/pool.parquet",
        rejected=f"{RESULTS}/data/rejected.parquet",
        scores=expand(SCORES, method=PLAN.methods, seed=CONFIG.seeds),
        selections=of_runs(SELECTION),
        dropped=of_runs(rules.select_run.output.dropped),
        queries=expand(QUERIES, target=TARGETS),
        contaminated=rules.contaminated.output if CONFIG.select.decontaminate else [],
        curves=expand(
            f"{RESULTS}/warmup/seed-{{seed}}/epoch-{{epoch}}.jsonl",
            seed=CONFIG.seeds,
            epoch=range(1, CONFIG.warmup.epochs + 1) if PLAN.warmed else [],
        ),
        template=sorted(map(str, Path(TEMPLATES).glob("*"))),
    output:
        results=f"{RESULTS}/results.json",
        tables=directory(f"{RESULTS}/tables"),
        page=report(f"{RESULTS}/report/index.html", caption="../report/page.rst", category="Comparison"),
    log:
        f"{RESULTS}/logs/report.log",
    params:
        contaminated=lambda _, input: f"--contaminated {input.contaminated}" if input.contaminated else "",
        config=CONFIG_JSON,
        benchmarks=f"{RESULTS}/benchmarks",
        # A function, because {seed} in it is no wildcard.
        methods=lambda _: json.dumps(
            [describe(chosen, CONFIG.warmup.epochs, CONFIG.throughput.shards) for chosen in PLAN.methods.values()]
        ),
        code=digest("stages.report", "report.health"),
    shell:
        "{PYTHON} -m moesift.stages.report --evaluations {input.evaluations} --pool {input.pool}"
        " --rejected {input.rejected} --scores {input.scores} --selections {input.selections}"
        " --queries {input.queries} --curves {input.curves} --benchmarks {params.benchmarks}"
        " --results {output.results} --tables {output.tables} --page {output.page} --config {params.config:q}"
        " {params.contaminated} --methods {params.methods:q} > {log} 2>&1"


rule cards:
    input:
        template=[f"{TEMPLATES}/selection.md.j2", f"{TEMPLATES}/adapter.md.j2"],
        pool=f"{RESULTS}/data/pool.parquet",
        selections=of_runs(SELECTION),
        adapters=of_runs(f"{ADAPTER}/training.json"),
        tables=f"{RESULTS}/tables",
    output:
        SELECTION_CARDS,
        ADAPTER_CARDS,
    log:
        f"{RESULTS}/logs/cards.log",
    localrule: True
    params:
        config=CONFIG_JSON,
        licenses=LICENSES,
        adding=[label for label, chosen in PLAN.methods.items() if chosen.add],
        code=digest("stages.cards"),
    shell:
        "{PYTHON} -m moesift.stages.cards --selections {input.selections} --pool {input.pool}"
        " --adapters {input.adapters} --outcomes {input.tables}/outcomes.parquet"
        " --config {params.config:q} --licenses {params.licenses:q} --adding {params.adding} > {log} 2>&1"


rule archive:
    input:
        template=f"{TEMPLATES}/archive.md.j2",
        selections=of_runs(SELECTION),
        tables=f"{RESULTS}/tables",
        files=[
            rules.report.output.results,
            rules.report.output.page,
            *rules.report.input.evaluations,
            *rules.report.input.questions,
            *rules.report.input.dropped,
            *rules.report.input.curves,
            *rules.cards.input.adapters,
            *rules.cards.output,
        ],
    output:
        f"{RESULTS}/{CONFIG.experiment}.zip",
    log:
        f"{RESULTS}/logs/archive.log",
    localrule: True
    params:
        results=RESULTS,
        # As it was given, for who repeats it.
        config=json.dumps({key: value for key, value in config.items() if key not in ("throughput", "estimate")}),
        code=digest("stages.archive"),
    shell:
        "{PYTHON} -m moesift.stages.archive --results {params.results} --selections {input.selections} --files {input.files}"
        " --tables {input.tables} --config {params.config:q} --out {output} > {log} 2>&1"
