import pytest

from moesift.models.chat import Encoded
from moesift.report import preflight
from moesift.report.disk import Written
from moesift.report.preflight import Lengths, Sampled, lengths


def example(instruction: int, response: int) -> Encoded:
    return Encoded([7] * (instruction + response), [False] * instruction + [True] * response, cut=False)


def test_lengths_count_what_is_cut_and_what_loses_its_response():
    found = lengths([example(3, 2), example(6, 6), example(10, 4)], [1, 1, 2], max_length=10)
    assert found == Lengths(mean=(5 + 10 + 2 * 10) / 4, longest=14, cut=0.75, lost=0.5)


def test_a_response_that_has_nothing_before_it_is_no_response():
    assert lengths([example(0, 1)], [3], max_length=10).lost == 1


def test_lengths_that_fit_are_a_line():
    found = preflight.fits("target", Lengths(99.6, 300, 0.015, 0.005), 256, 512)
    assert found.problems == []
    assert found.lines == [
        "  target: 100 tokens on average, 300 at most; data.max_length 256 cuts 1.5%, and 0.5% have no response in it; "
        "the model has 512 positions"
    ]


@pytest.mark.parametrize(
    ("found", "positions", "message"),
    [
        (Lengths(8, 90, 1.0, 1.0), 512, "data.max_length: 8 cuts every sampled example before its response begins"),
        (
            Lengths(8, 90, 0.5, 0.0),
            6,
            "data.max_length: examples of 8 tokens would be read, and target.model has 6 pos",
        ),
    ],
)
def test_lengths_that_do_not_fit_are_a_problem(found, positions, message):
    (problem,) = preflight.fits("target", found, 8, positions).problems
    assert problem.startswith(message)


def test_positions_that_no_example_reaches_are_none():
    assert preflight.fits("target", Lengths(8, 90, 0.0, 0.0), 4096, 100).problems == []


def test_the_size_of_the_pool_is_told_by_samples():
    counted = Sampled("own", looked_at=200, refused=50, reason="not JSON", rows=1000, limit=None)
    limited = Sampled("hub", looked_at=300, refused=0, reason=None, rows=None, limit=400)
    assert (counted.examples(9000), limited.examples(9000), limited.examples(10)) == (750, 400, 10)
    found = preflight.data([counted, limited], unknown=9000, heldout=100)
    assert found.problems == []
    assert found.lines == [
        "  own: about 1,000 rows; 200 looked at, 50 refused, such as: not JSON",
        "  hub: rows of unknown number, at most 400 taken; 300 looked at, none refused",
        "  in all about 1,150 examples, 100 of them held out",
    ]
    (problem,) = preflight.data([limited], unknown=9000, heldout=400).problems
    assert problem.startswith("data.heldout: 400 examples are asked for, but the sources have about 400 in all")


NEEDED = [Written("prepare", "pool", 1, 3 * 2**20), Written("train", "adapters", 4, 2**20)]


def test_a_disk_with_room_is_a_table():
    found = preflight.disk(NEEDED, there=2**20, free=6 * 2**20, folder="results/x")
    assert found.problems == []
    assert found.lines == [
        "  prepare   pool                                                 1 x    3.0 MiB =    3.0 MiB",
        "  train     adapters                                             4 x    1.0 MiB =    4.0 MiB",
        "  in all 7.0 MiB, of which 1.0 MiB are there; results/x has 6.0 MiB free",
    ]


def test_a_disk_without_room_is_a_problem():
    (problem,) = preflight.disk(NEEDED, there=2**20, free=6 * 2**20 - 1, folder="results/x").problems
    assert problem.startswith("results/x: 6.0 MiB are still to be written, and 6.0 MiB are free; make room, or make")


def test_no_gpu_is_asked_for():
    assert preflight.gpus(0, [], False, {"train_adapter": (2, 0)}).problems == []


def test_a_login_node_has_no_gpus_and_needs_none():
    found = preflight.gpus(1, [], True, {"train_adapter": (1, 1)})
    assert (found.lines, found.problems) == (
        ["  1 for each job that runs a model; not looked for here: the jobs are submitted"],
        [],
    )


def test_gpus_that_are_not_there_and_processes_without_one_are_problems():
    few, other = preflight.gpus(2, ["0"], False, {"warmup_epoch": (2, 2), "train_adapter": (4, 2)}).problems
    assert few.startswith("throughput.gpus: 2 for each job, but 1 can be seen here; 0 computes on the CPU")
    assert other.startswith("train_adapter: its accelerate file asks for processes: 4, and the rule for GPUs: 2;")
    assert "set-resources: {train_adapter: {gpu: 4}}" in other


def test_a_peak_beyond_the_memory_names_the_key_to_lower():
    found = preflight.memory({"warm up": 3e9, "score": 1e9, "evaluate": 3e9}, available=2e9)
    assert found == [
        "warm up: needs about 2.8 GiB of a GPU's 1.9 GiB; lower throughput.micro_batch",
        "evaluate: needs about 2.8 GiB of a GPU's 1.9 GiB; lower throughput.score_tokens",
    ]
    assert preflight.memory({"warm up": 3e9}, available=3e9) == []


def test_a_target_without_the_modules_to_tune_is_a_problem():
    assert preflight.lora(3, ["q_proj"]) == []
    assert preflight.lora(0, ["query"]) == ["train.lora_targets: no module of the target ends in query"]
