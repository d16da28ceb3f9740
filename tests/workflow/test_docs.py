"""The pages of docs/ and profiles/: links, the tutorial word by word, the errors of the FAQ, and all commands."""

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from given import slurm
from given.markdown import ROOT, blocks, commands, links

from moesift.config import Source

PAGES = [*sorted(str(path.relative_to(ROOT)) for path in ROOT.glob("docs/*.md")), "profiles/README.md"]
NOT_OURS = ("snakemake: command not found", "Directory cannot be locked", "CUDA out of memory")
# The pages whose commands a test below runs.
TESTED = {f"docs/{name}.md" for name in ("tutorial", "faq", "scaling", "speed", "following", "sharing")}


def shell(checkout) -> dict[str, str]:
    """Return the environment of a user who types the commands of a page."""
    first = [str(Path(python).parent) for python in (checkout.python, sys.executable)]
    path = os.pathsep.join([*first, os.environ["PATH"]])
    return checkout.environment | {"PATH": path}


@pytest.mark.parametrize("name", ["README.md", "README.zh-CN.md", *PAGES])
def test_links_exist(name):
    assert [link for link in links(name) if not (ROOT / link).exists()] == []
    assert len(links(name)) > 10 or name in PAGES


@pytest.mark.slow
def test_tutorial_word_by_word(copy, tmp_path):
    checkout = copy(tmp_path / "tutorial")
    folder = checkout.folder
    shutil.copytree(ROOT / "docs", folder / "docs")
    (configuration,) = blocks("docs/tutorial.md", "yaml")
    (folder / configuration.splitlines()[0].removeprefix("# ")).write_text(configuration)
    environment = shell(checkout)
    printed = {}
    for command in commands("docs/tutorial.md"):
        done = subprocess.run(command, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"
        printed[command.split("   ")[0]] = done.stdout

    (expected,) = blocks("docs/tutorial.md", "text")
    taken = {command.split()[-1]: text for command, text in printed.items() if "docs/taken.py" in command}
    assert [line[7:] for line in taken["rds_middle"].splitlines()] == [line[7:] for line in expected.splitlines()]
    sources = {
        method: dict(part.split() for part in text.splitlines()[0].split("; ")) for method, text in taken.items()
    }
    assert {method: sum(map(int, counts.values())) for method, counts in sources.items()} == dict.fromkeys(sources, 95)
    assert all(int(sources[method]["piqa"]) > 2 * int(sources["random"]["piqa"]) for method in ("rds_middle", "dsir"))
    rejected = next(text for command, text in printed.items() if "rejected" in command)
    assert "'row': 24" in rejected


def test_faq_headings_are_messages_of_the_code():
    headings = re.findall(r"^### `?(.+?)`?$", (ROOT / "docs/faq.md").read_text().partition("## Questions")[0], re.M)
    code = "".join(path.read_text() for path in [*ROOT.glob("src/**/*.py"), ROOT / "Snakefile"])
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # a message over two lines of code
    assert len(headings) > 10
    assert [heading for heading in headings if heading not in NOT_OURS and heading not in code] == []


def test_no_page_has_commands_that_nothing_runs():
    assert {name for name in PAGES if commands(name)} == TESTED | {"profiles/README.md"}


def typed(checkout, command: str) -> subprocess.CompletedProcess:
    """Run a command about the demonstration in a checkout that has the tiny experiment instead."""
    command = command.replace("demo", "tiny").replace("ratio-0.1", "ratio-0.25")
    if command.startswith("snakemake"):  # other configuration files are merged over the tiny one
        word, *files = command.partition(" --configfile")
        command = f"{word} --configfile tiny.yaml{''.join(files[1:])}"
    return subprocess.run(command, shell=True, cwd=checkout.folder, env=shell(checkout), capture_output=True, text=True)


@pytest.mark.slow
def test_check_of_the_faq(finished):
    _, command = commands("docs/faq.md")
    done = typed(finished, command.replace("config/mine.yaml", "tiny.yaml"))
    assert done.returncode == 0, done
    assert "Nothing was found that would stop this run." in done.stdout


@pytest.mark.slow
def test_all_weights_are_tuned_by_the_command_of_the_faq(another):
    command, _ = commands("docs/faq.md")
    done = typed(another, command.replace("snakemake", "snakemake train"))
    assert done.returncode == 0, done
    tuned = another.folder / "results/tiny/adapters/random/ratio-0.25/seed-0"
    assert (tuned / "model.safetensors").is_file()
    assert not (tuned / "adapter_model.safetensors").exists()


@pytest.mark.slow
def test_measurements_of_scaling_can_be_repeated(checkout):
    plan, rows = commands("docs/scaling.md")
    checkout.configured("tiny")
    done = typed(checkout, plan.replace("1000", "3"))
    jobs = dict(line.split() for line in done.stdout.splitlines() if re.fullmatch(r"(run|merge)_pass +\d+", line))
    # Tokens and likelihood of the selector, routing of two epochs for each of five seeds.
    assert jobs == {"run_pass": str(3 * 12), "merge_pass": "12"}, done
    _, *words = shlex.split(rows.replace("50_000_000", "20_000"))
    done = subprocess.run([checkout.python, *words], cwd=ROOT, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert "quotas" in done.stdout


@pytest.mark.slow
def test_make_bench_measures(tmp_path):
    command, _ = commands("docs/speed.md")
    recipe = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    smallest = {
        "benchmarks": "--case tokenising --rounds 1",
        "benchmarks.selection": "--rows 20_000 --shards 3 --rounds 1",
        "benchmarks.similarity": "--pool 20_000 --queries 50 --width 64",
        "benchmarks.plan": "--shards 1 --rounds 1",
        "benchmarks.prepare": "--rows 2_000",
        "benchmarks.memory": "--rows 100 2_000",
    }
    run = [shlex.split(line) for line in recipe.splitlines() if " -m benchmarks" in line]
    assert [words[2] for words in run] == list(smallest)
    for _, _, module, _, written in run:
        out = tmp_path / Path(written).name
        words = [sys.executable, "-m", module, "--out", str(out), *smallest[module].split()]
        done = subprocess.run(words, cwd=ROOT, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert {"machine", "commit", "versions"} <= set(json.loads(out.read_text()))
    cases = json.loads((tmp_path / "benchmarks.json").read_text())["cases"]
    assert all(case["apart"] < 1e-4 and case["ratio"] > 0 for case in cases.values())
    memory = json.loads((tmp_path / "benchmarks-memory.json").read_text())["rows"]
    assert memory["2000"]["peak_gb"] == pytest.approx(memory["100"]["peak_gb"], rel=0.1)


@pytest.mark.slow
def test_make_bench_gpu_says_what_it_could_not_run(tmp_path):
    """On a processor nothing can be spread by FSDP2, and the rest goes on."""
    _, command = commands("docs/speed.md")
    recipe = subprocess.run([*shlex.split(command), "-n"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    (words,) = [shlex.split(line) for line in recipe.splitlines() if " -m benchmarks" in line]
    words = [
        sys.executable,
        *words[1:3],
        "--small",
        "--only",
        "reading",
        "precision",
        "spread",
        "--out",
        tmp_path / "gpu",
    ]
    done = subprocess.run(
        words, cwd=ROOT, capture_output=True, text=True, env=os.environ | {"CUDA_VISIBLE_DEVICES": ""}
    )
    assert done.returncode == 0, done.stderr
    parts = json.loads((tmp_path / "gpu").read_text())["parts"]
    assert [row["pass"] for row in parts["reading"]] == [
        "routing",
        "representation",
        "representation_middle",
        "likelihood",
    ]
    assert all(row["spearman"] > 0.99 for row in parts["precision"])
    spread = {row["file"]: row for row in parts["spread"]}
    assert "throughput.gpus" in spread["fsdp2"]["could not run"]
    assert spread["zero3"]["first_nll"] == pytest.approx(spread["single"]["first_nll"], abs=1e-3)  # bf16


@pytest.mark.slow
def test_commands_of_following(finished):
    (configuration,) = blocks("docs/following.md", "yaml")
    (finished.folder / configuration.splitlines()[0].removeprefix("# ")).write_text(configuration)
    (finished.folder / "results/tiny/logs/prepare.log").touch()
    for command in commands("docs/following.md"):
        match command.split()[0]:
            case "tail":  # runs until it is stopped
                done = typed(finished, f"timeout 2 {command}")
                assert done.returncode == 124, done
                assert re.search(r"tokens/s; .*nll \d", done.stdout), done
            case "find":
                done = typed(finished, command)
                assert "==> results/tiny/logs/prepare.log <==" in done.stdout, done
            case "snakemake":
                done = typed(finished, f"{command} -n")
                assert "Nothing to be done" in done.stdout, done
            case "tensorboard":  # would serve until it is stopped
                done = typed(finished, f"{command} --inspect")
                assert "results/tiny/live/adapters/router" in done.stdout, done
                assert "trash share/layer 00" in done.stdout
            case _:
                raise AssertionError(f"{command}: nothing tests it")


@pytest.mark.slow
def test_commands_of_sharing(finished):
    *_, licensed = blocks("docs/sharing.md", "yaml")
    (source,) = yaml.safe_load(licensed)["data"]["sources"]
    Source.model_validate(source | {"path": str(finished.folder / "own.jsonl")})
    for command in commands("docs/sharing.md"):
        program, *words = shlex.split(command)
        if program == "hf":  # there is no hub here, so look at the folder and the flags
            folder = finished.folder / words[2].replace("demo", "tiny").replace("ratio-0.1", "ratio-0.25")
            assert (folder / "README.md").is_file(), command
            known = typed(finished, "hf upload --help").stdout
            assert all(word in known for word in words if word.startswith("--")), command
            continue
        done = typed(finished, command)
        assert done.returncode == 0, f"{command}\n{done.stdout[-2000:]}\n{done.stderr[-4000:]}"

    unpacked, results = finished.folder / "tiny", finished.folder / "results" / "tiny"
    exported = results / "exported/random/ratio-0.25/seed-0"
    written = sorted(path.name for path in exported.iterdir() if path.name != ".snakemake_timestamp")
    assert written == ["axolotl.yaml", "dataset_info.json", "train.jsonl"]
    listed = {line.split("  ", 1)[1] for line in (unpacked / "SHA256SUMS").read_text().splitlines()}
    there = {str(path.relative_to(unpacked)) for path in unpacked.rglob("*") if path.is_file()}
    assert there == listed | {"SHA256SUMS"}
    assert {"results.json", "report/index.html", "eval/base.parquet", "warmup/seed-0/epoch-2.jsonl"} <= there
    assert not [name for name in there if name.endswith((".safetensors", ".log"))]

    # Its configuration asks for what was done, and the same files make the same bytes.
    shutil.copy(unpacked / "configuration.yaml", finished.folder / "checked.yaml")
    assert finished.planned("archive", "--configfile", "tiny.yaml", "checked.yaml") == {}
    first = (results / "tiny.zip").read_bytes()
    finished.snakemake("archive", "--cores", "1", "--force", "--configfile", "tiny.yaml")
    assert (results / "tiny.zip").read_bytes() == first


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("which") is None, reason="no `which`, without which the plugin for Slurm cannot start")
def test_commands_of_profiles(checkout, plugin):
    """Snakemake commands are dry runs here; test_slurm.py runs them on a real Slurm."""
    checkout.configured("config/mine", throughput={"gpus": 1})
    environment = checkout.environment | {"PYTHONPATH": f"{checkout.folder / 'src'}{os.pathsep}{plugin}"}
    planned = 0
    for command in commands("profiles/README.md"):
        program, *words = shlex.split(command)
        match program:
            case "uv":  # the fixture `plugin` has run it
                assert list(plugin.glob("snakemake_executor_plugin_slurm"))
            case "$EDITOR":
                settings = yaml.safe_load((checkout.folder / words[0]).read_text())["default-resources"]
                assert {"slurm_partition", "slurm_account"} <= set(settings)
            case "snakemake":  # in a process of its own, because it looks for plugins when it starts
                run = [sys.executable, "-m", "snakemake", *words, "-n"]
                done = subprocess.run(run, cwd=checkout.folder, env=environment, capture_output=True, text=True)
                assert done.returncode == 0, f"{command}\n{done.stderr[-4000:]}"
                assert "Job stats:" in done.stdout, command
                planned += 1
            case "apt-get":  # the tests of Slurm ask for the same packages
                assert command.rpartition(" && ")[2] in Path(slurm.__file__).read_text()
            case _:
                raise AssertionError(f"{command}: nothing tests it")
    assert planned == 2
