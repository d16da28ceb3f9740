# The comparison: one JSON, one table, one page.


rule report:
    input:
        evaluations=rules.evaluate.input.measured,
        questions=rules.evaluate.input.questions,
        pool=f"{RESULTS}/data/pool.parquet",
        rejected=f"{RESULTS}/data/rejected.parquet",
        # Part of the code, which the digest of modules does not see.
        template=expand("src/moesift/report/template/{part}", part=["page.html.j2", "tables.html.j2", "style.css"]),
        scores=rules.score.input,
        selections=expand(SELECTION, **RUNS),
        dropped=expand(rules.select_ratio.output.dropped, **RUNS),
        curves=expand(
            f"{RESULTS}/warmup/seed-{{seed}}/epoch-{{epoch}}.jsonl",
            seed=CONFIG.seeds,
            epoch=range(1, CONFIG.warmup.epochs + 1) if WARMED else [],
        ),
    output:
        results=f"{RESULTS}/results.json",
        page=report(f"{RESULTS}/report/index.html", caption="../report/page.rst", category="Comparison"),
    log:
        f"{RESULTS}/logs/report.log",
    params:
        # What a result is made from; throughput and estimates are not part of it.
        config=CONFIG.model_dump_json(exclude={"throughput", "estimate"}),
        # What is there when the report is made: as inputs, records that were thrown away would have the jobs run again.
        benchmarks=f"{RESULTS}/benchmarks",
        code=digest("report"),
    shell:
        "{PYTHON} -m moesift.stages.report --evaluations {input.evaluations} --pool {input.pool}"
        " --rejected {input.rejected} --scores {input.scores} --selections {input.selections}"
        " --curves {input.curves} --benchmarks {params.benchmarks} --results {output.results}"
        " --page {output.page} --config {params.config:q} > {log} 2>&1"
