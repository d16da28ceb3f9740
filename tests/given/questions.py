"""A few questions of every evaluation task, in the columns that its data set has on the hub."""

from importlib.resources import files
from pathlib import Path

import polars as pl

TASKS = Path(str(files("lm_eval") / "tasks"))
MMLU = sorted(path.stem.removeprefix("mmlu_") for path in (TASKS / "mmlu/default").glob("mmlu_*.yaml"))
ARC = pl.DataFrame(
    {
        "question": ["Which is a metal?", "Which sings?"],
        "choices": [
            {"text": ["iron", "wood"], "label": ["A", "B"]},
            {"text": ["mat", "cat", "rug"], "label": ["A", "B", "C"]},
        ],
        "answerKey": ["A", "B"],
    }
)
BBH = sorted(path.stem for path in (TASKS / "bbh/cot_fewshot").glob("[a-z]*.yaml"))


def _mmlu(number, offset):
    return {
        "question": f" What is {number} + {offset}?\n",
        "subject": "sums",
        "choices": [str(number + offset + more) for more in range(4)],
        "answer": (number + offset) % 4,
    }


def _arc(number):
    letters = ["A", "B", "C", "D"] if number % 2 else ["1", "2", "3"]
    names = ["iron", "a rug", "the cat", "“mat”"][: len(letters)]
    return {
        "id": f"q{number}",
        "question": f"Which is {number}?",
        "choices": {"text": names, "label": letters},
        "answerKey": letters[number % 3],
    }


def _openbookqa(number):
    row = _arc(2 * number + 1)
    return {"question_stem": f"{row.pop('question')[:-1]} of ", **row}


def _hellaswag(number):
    return {
        "ind": number,
        "activity_label": "Roofing",
        "ctx_a": f"A man sits on {number} roofs. [header] How [title] So",
        "ctx_b": "he CLIMBS",
        "endings": [f"down  {more} steps. [step] Then" for more in range(4)],
        "label": str(number % 4),
    }


def _piqa(number):
    return {"goal": f"Dry {number} cups.", "sol1": "Use a towel.", "sol2": f"Use {number} hoses. ", "label": number % 2}


def _boolq(number):
    return {
        "question": f"is {number} a metal",
        "passage": f"Iron -- Iron is metal {number}.\nIt rusts.",
        "idx": number,
        "label": number % 2,
    }


def _winogrande(number):
    return {
        "sentence": f"Ann thanked Bea for {number} rugs because _ had none.",
        "option1": "Ann",
        "option2": "Bea",
        "answer": str(1 + number % 2),
    }


def _gsm8k(number):
    return {"question": f"Ann has {number} rugs and buys 1,000. How many?", "answer": f"It is {number}.\n#### {number}"}


def _bbh(number, offset):
    return {"input": f"not ( True ) and {number} is {offset}\nOptions:\n(A) yes", "target": ["True", "(A)"][number % 2]}


def _rows(row, *counts):
    """Return splits of unlike rows: train, validation and test, or as many of them as there are counts."""
    first, splits = 0, {}
    for split, count in zip(("train", "validation", "test"), counts, strict=False):
        splits[split] = [row(number) for number in range(first, first + count)]
        first += count
    return splits


def hub():
    """The data sets by name and configuration: for each split its rows. The subjects of MMLU are of unlike sizes."""
    sets = {("openai/gsm8k", "main"): {"train": _rows(_gsm8k, 8)["train"], "test": _rows(_gsm8k, 3)["train"]}}
    for place, subject in enumerate(MMLU):
        splits = {"test": range(10, 12 + place % 3), "validation": range(5, 6), "dev": range(5)}
        sets["cais/mmlu", subject] = {
            split: [_mmlu(number, place) for number in numbers] for split, numbers in splits.items()
        }
    for place, part in enumerate(BBH):
        sets["SaylorTwift/bbh", part] = {"test": [_bbh(number, place) for number in range(2 + place % 2)]}
    for configuration in ("ARC-Easy", "ARC-Challenge"):
        sets["allenai/ai2_arc", configuration] = _rows(_arc, 6, 2, 5)
    sets["allenai/openbookqa", "main"] = _rows(_openbookqa, 6, 2, 5)
    sets["Rowan/hellaswag", "default"] = _rows(_hellaswag, 6, 5)
    sets["baber/piqa", "default"] = _rows(_piqa, 6, 5)
    sets["aps/super_glue", "boolq"] = _rows(_boolq, 6, 5)
    sets["allenai/winogrande", "winogrande_xl"] = _rows(_winogrande, 6, 5)
    return sets


def write(sets, root):
    """Write data sets as a user does: JSON lines, and one of them as parquet."""
    for (data_set, configuration), splits in sets.items():
        folder = root / data_set / configuration
        folder.mkdir(parents=True, exist_ok=True)
        for split, rows in splits.items():
            if data_set == "baber/piqa":
                pl.DataFrame(rows).write_parquet(folder / f"{split}.parquet")
            else:
                pl.DataFrame(rows).write_ndjson(folder / f"{split}.jsonl")
    return root
