"""Odd rows of every layout, mixed, from the file to a selection: each ends in the pool, held out, or rejected."""

import json
from copy import deepcopy

import polars as pl
import pytest
from given import chats
from given.models import random_dense_model
from given.tools import BRACKETS, TAGGED
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from moesift import config
from moesift.data.turns import handed
from moesift.models.chat import PLAIN_TEMPLATE
from moesift.select.table import NO_RESPONSE
from moesift.stages import export, prepare, run_pass, score, select

TEMPLATES = {"plain": PLAIN_TEMPLATE, "tags": TAGGED, "brackets": BRACKETS} | chats.TEMPLATES


def rarely(usual, odd):
    return st.sampled_from([usual] * 14 + [odd]).flatmap(lambda chosen: chosen)


WORDS = st.lists(
    st.sampled_from(["which", "metal", "is", "the", "cat", "on", "?", "鉄", "🙂", "<|im_end|>"]), min_size=2
)
ODD = ["", " \n", "\u200b", "\0", "\ud800", "a\0b\x1b[2J", "<|im_start|>", "so</think> yes", "\u202eא", "e\u0301"]
ODD += ["x" * 20_000]
ODD_TEXTS = st.sampled_from(ODD) | st.text(max_size=20)
TEXTS = rarely(WORDS.map(" ".join), ODD_TEXTS)
NUMBERS = st.booleans() | st.integers() | st.floats()
PARTS = st.fixed_dictionaries({"type": st.sampled_from(["text", "text", "image"]), "text": TEXTS})
CONTENTS = rarely(TEXTS, st.lists(PARTS | TEXTS, max_size=2) | st.none() | NUMBERS)
KEYS = """id source meta weight train mask label is_bad score system system_prompt context input tools tool_calls images
    text function_call history reasoning thinking name chosen rejected prompt completion instruction output response
    conversations messages extra"""
VALUES = st.recursive(
    st.none() | NUMBERS | TEXTS, lambda inner: st.lists(inner, max_size=2) | st.dictionaries(TEXTS, inner, max_size=2)
)
BESIDE = rarely(st.just({}), st.dictionaries(st.sampled_from(KEYS.split()) | TEXTS, VALUES, max_size=2))
OTHER_ROLES = ["tool", "function_call", "observation", "ipython", "bot", "model", "User", "", None, 1]


@st.composite
def conversations(draw, role, content, user, assistant):
    usual = st.builds(lambda more, count: more + [user, assistant] * count, TOP, st.integers(1, 3))
    names = draw(rarely(usual, st.lists(st.sampled_from([user, assistant, *OTHER_ROLES]), max_size=4)))
    turns = [{**draw(BESIDE), role: name, content: draw(CONTENTS)} for name in names]
    return draw(rarely(st.just(turns), st.just(json.dumps(turns))))


def row(*keys, value=CONTENTS):
    return st.fixed_dictionaries(dict.fromkeys(keys, value))


TOP = st.sampled_from([[], ["system"]])
AS_ROLES = conversations("role", "content", "user", "assistant")
ROWS = st.one_of(
    row("messages", value=AS_ROLES),
    row("conversations", value=conversations("from", "value", "human", "gpt")),
    row("conversation", value=AS_ROLES),
    row("instruction", "output"),
    row("instruction", "input", "output"),
    row("instruction", "context", "response"),
    row("prompt", "completion"),
    row("prompt", "completion", value=AS_ROLES),
    row("system_prompt", "question", "response"),
)
# Tools and calls in the layouts of OpenAI, of LLaMA-Factory and of xLAM.
ARGUMENTS = rarely(st.dictionaries(TEXTS, TEXTS, max_size=2), VALUES)
FUNCTIONS = st.fixed_dictionaries({"name": TEXTS, "arguments": ARGUMENTS | ARGUMENTS.map(json.dumps)})
CALLS = rarely(st.lists(FUNCTIONS, min_size=1, max_size=2), VALUES)
TOOLS = st.lists(st.fixed_dictionaries({"name": TEXTS, "parameters": VALUES}), max_size=2)


def chained(role, content, *turns):
    """Return turns, given by their roles, what is under their contents, and what is beside."""
    return st.tuples(
        *(st.fixed_dictionaries({role: st.just(name), content: value, **beside}) for name, value, beside in turns)
    ).map(list)


WEIGHTS = {"weight": st.sampled_from([0, 1])}
OPENAI = chained(
    "role", "content", ("user", TEXTS, {}), ("assistant", st.none() | TEXTS, {"tool_calls": CALLS}),
    ("tool", TEXTS, {"tool_call_id": TEXTS}), ("assistant", TEXTS, {"thinking": TEXTS, **WEIGHTS}),
    ("user", TEXTS, {}), ("assistant", TEXTS, {"reasoning_content": TEXTS, **WEIGHTS}),
)  # fmt: skip
LLAMA_FACTORY = chained(
    "from", "value", ("human", TEXTS, {}), ("function_call", CALLS.map(json.dumps), {}), ("observation", TEXTS, {}),
    ("gpt", TEXTS, {}),
)  # fmt: skip
ROWS |= st.fixed_dictionaries({"messages": OPENAI}, optional={"tools": TOOLS})
ROWS |= st.fixed_dictionaries({"conversations": LLAMA_FACTORY, "tools": TOOLS.map(json.dumps)})
ROWS |= st.fixed_dictionaries({"query": TEXTS, "answers": CALLS.map(json.dumps), "tools": TOOLS.map(json.dumps)})
NO_ROWS = st.sampled_from([b"{", b"[1]", b"null", b'{"a": "\xff"}', b'{"a": 1, "a": 2}', b"{}"])
LINES = rarely(st.builds(lambda beside, row: json.dumps({**beside, **row}).encode(), BESIDE, ROWS), NO_ROWS)


def drawn(count):
    lines = [b"\xef\xbb\xbf" + json.dumps({"prompt": "which?", "completion": "iron"}).encode()]

    @settings(
        max_examples=count, phases=[Phase.generate], derandomize=True, database=None, deadline=None,
        suppress_health_check=list(HealthCheck),
    )  # fmt: skip
    @given(LINES)
    def keep(line):
        lines.append(line)

    keep()
    return lines[:count]


def as_written(row):
    turns = [{key: value for key, value in turn.items() if key != "train"} for turn in row["messages"]]
    return turns, row.get("tools")


@pytest.mark.parametrize("count", [200, pytest.param(2000, marks=pytest.mark.slow)])
def test_every_odd_row_is_in_the_pool_or_rejected_and_every_example_is_scored_or_has_a_reason(
    tmp_path, tokenizer, count
):
    rows = drawn(count)
    assert len(rows) == count
    (tmp_path / "odd.jsonl").write_bytes(b"\n".join(rows))
    files = {name: tmp_path / f"{name}.parquet" for name in ("pool", "heldout", "rejected")}
    data = {
        "sources": [{"name": "odd", "path": str(tmp_path / "odd.jsonl")}], "heldout": count // 40, "corrupt": 0.05,
        "corruptions": ["swapped_response", "shuffled_words"], "seed": 0, "max_length": 120,
    }  # fmt: skip
    prepare.main(config.Data.model_validate(data), **files)
    pool, heldout, rejected = (pl.read_parquet(path) for path in files.values())
    places = [*pool["source_index"], *heldout["source_index"], *rejected["row"]]
    assert sorted(places) == list(range(count))
    assert heldout.height == count // 40
    assert pool.height > count // 5
    more = pool["messages"].explode().struct.field("more").drop_nulls()
    assert all(more.str.contains(f'"{key}": ').sum() > count // 50 for key in ("tools", "tool_calls", "train"))
    assert rejected["reason"].str.len_chars().min() > 0

    random_dense_model(max_position_embeddings=120).save_pretrained(tmp_path / "tags")
    passes = {}
    for name, template in TEMPLATES.items():
        theirs = deepcopy(tokenizer)  # the fixture is of the session
        theirs.chat_template = template
        theirs.save_pretrained(tmp_path / name)
        for pass_name in ("tokens", "likelihood") if name == "tags" else ("tokens",):
            passes[pass_name] = tmp_path / f"{name}-{pass_name}.parquet"
            for part in ("heldout", "pool"):
                run_pass.main(
                    pass_name=pass_name, model=str(tmp_path / name), is_epoch=False, pool=files[part],
                    out=passes[pass_name], shard="1-of-1", max_length=120, threads=1, token_budget=600,
                )  # fmt: skip
            assert pl.read_parquet(passes[pass_name])["id"].equals(pool["id"])
    paths = {"pool/selector": files["pool"], "tokens/selector": tmp_path / "tags-tokens.parquet"}
    paths["likelihood/selector"] = tmp_path / "tags-likelihood.parquet"
    for method in ("nll", "ifd", "random"):
        out = tmp_path / f"{method}.parquet"
        named = json.dumps({name: str(path) for name, path in paths.items()})
        score.main(method=method, parameters="{}", files=named, out=out, seed=0)
        scores = pl.read_parquet(out)
        assert sorted(scores["id"]) == sorted(pool["id"])
        assert (scores["score"].is_null() == scores["reason"].is_not_null()).all()
        reasons = scores.filter(n_tokens=0)["reason"].unique().to_list()
        assert NO_RESPONSE in reasons
        assert all(reason.startswith("the chat template ") for reason in reasons if reason != NO_RESPONSE)
        chosen, dropped = tmp_path / "chosen.parquet", tmp_path / "dropped.parquet"
        kept = {"drop_top": 0, "quota": None, "diversity": None}
        select.main(
            scores=out, pool=files["pool"], budget="ratio-0.1", whole=False, reject=0.5,
            select=config.Select.model_construct(**kept), out=chosen, dropped=dropped, seed=0, queries=[],
        )  # fmt: skip
        selection = pl.read_parquet(chosen)
        assert selection.height == round(pool.height * 0.1)
        assert set(selection["id"]) <= set(scores.drop_nulls("score")["id"])
        export.main(selection=chosen, formats=["jsonl"], out=tmp_path / "exported")
        lines = (tmp_path / "exported/train.jsonl").read_bytes().splitlines()
        assert [as_written(json.loads(line)) for line in lines] == list(map(handed, selection["messages"].to_list()))
