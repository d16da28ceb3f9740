import json

import polars as pl
import pytest
import torch

from moesift.errors import UserError
from moesift.methods import N_TOKENS, Column, declaration, method
from moesift.select.table import NO_RESPONSE
from moesift.stages import score_targeted

HIDDEN = Column("likelihood", "hidden")


@pytest.fixture(autouse=True)
def methods(monkeypatch):
    monkeypatch.setattr(declaration, "METHODS", {})
    monkeypatch.setattr(score_targeted, "METHODS", declaration.METHODS)
    monkeypatch.setattr(score_targeted, "ROWS", 2)  # two blocks

    @method(targeted=True, reads={"hidden": HIDDEN}, caption="", source="")
    def product(pool, queries):
        for block in pool:
            yield block["hidden"] @ queries["hidden"].T

    @method(targeted=True, aggregate="mean", reads={"hidden": HIDDEN}, caption="", source="")
    def mean_product(pool, queries):
        return product(pool, queries)

    @method(targeted=True, reads={"hidden": HIDDEN}, caption="", source="")
    def transposed(pool, queries):
        for block in pool:
            yield queries["hidden"] @ block["hidden"].T

    @method(targeted=True, reads={"hidden": HIDDEN}, caption="", source="")
    def first_block(pool, queries):
        yield next(iter(pool))["hidden"] @ queries["hidden"].T

    @method(
        targeted=True,
        by_target=True,
        reads={
            "text": Column("pool", "messages"),
            "target_nll": Column("likelihood", "nll", "warmed_on_target"),
            "n": N_TOKENS,
        },
        caption="",
        source="",
    )
    def shared(pool, queries):
        assert queries["target"].tolist() == [0, 0, 1]
        assert [turns[0]["content"] for turns in queries["text"]] == ["q0", "q1", "q2"]
        for block in pool:
            assert len(block["text"]) == len(block["n"])
            yield block["target_nll"] / block["n"][:, None]

    @method(targeted=True, by_target=True, reads={"text": Column("pool", "messages")}, caption="", source="")
    def of_words(pool, queries, *, known: bool = True):
        for block in pool:
            yield torch.tensor([[1.0, 1.0 if known else torch.nan]] * len(block["text"]))


@pytest.fixture
def scored(tmp_path):
    """Run the stage on four examples, the last without a response, and on three queries of two targets."""

    def write(name, **columns):
        schema = {"hidden": pl.List(pl.Float16)} if "hidden" in columns else {}
        pl.DataFrame(columns, schema_overrides=schema, strict=False).write_parquet(tmp_path / f"{name}.parquet")
        return str(tmp_path / f"{name}.parquet")

    turns = [[{"role": "user", "content": f"q{n}"}] for n in range(4)]
    ids = ["d", "b", "c", "a"]
    files = {
        "pool/selector": write("pool", id=ids, source=["s", "s", "t", "t"], messages=turns),
        "tokens/selector": write("tokens", id=ids, n_tokens=[1, 2, 4, 0], refused=[None] * 4),
        "likelihood/selector": write("hidden", id=ids, hidden=[[1.0, 0.0], [0.5, 1.0], [0.0, 2.0], None]),
        "likelihood/warmed_on_target": [
            write("one", id=ids, nll=[1.0, 8.0, 4.0, None]),
            write("two", id=ids, nll=[3.0, 2.0, 4.0, None]),
        ],
    }
    queries = {
        name: {
            "pool/selector": write(f"q-{name}", id=own, messages=turns[: len(own)] if name == "x" else turns[2:3]),
            "likelihood/selector": write(f"h-{name}", id=own, hidden=hidden),
        }
        for name, own, hidden in (("x", ["q0", "q1"], [[1.0, 0.0], [0.0, 1.0]]), ("y", ["q2"], [[0.5, 0.5]]))
    }

    def run(name, most=None, unread=(), **parameters):
        for target in unread:
            hidden = pl.read_parquet(tmp_path / f"h-{target}.parquet").with_columns(
                hidden=pl.when(pl.int_range(pl.len()) < pl.len() - 1).then("hidden")
            )
            hidden.write_parquet(tmp_path / f"h-{target}.parquet")

        out = tmp_path / "scores.parquet"
        score_targeted.main(name, json.dumps(parameters), json.dumps(files), json.dumps(queries), out, 0, 1, most)
        return pl.read_parquet(out)

    run.files = files
    return run


def test_each_example_says_which_query_of_which_target_brought_it(scored):
    table = scored("product")
    assert table.select("id", "score", "turn", "target", "query").rows() == [
        ("d", 1.0, 0, "x", "q0"),
        ("c", 1.0, 1, "y", "q2"),
        ("b", 1.0, 2, "x", "q1"),
        ("a", None, None, None, None),
    ]
    assert table["reason"].to_list() == [None, None, None, NO_RESPONSE]
    assert table.columns == ["id", "source", "score", "n_tokens", "reason", "turn", "target", "query"]
    assert scored("product", aggregate="mean")["score"].to_list() == [1.0, 0.75, 0.5, None]
    assert scored("mean_product").equals(scored("product", aggregate="mean"))  # the default of its declaration


def test_what_a_method_yields_has_a_row_for_each_example_and_a_column_for_each_query(scored):
    wrong = r"transposed yields \(3, 2\) instead of a row for each example and a column for each query, \(B, 3\)"
    with pytest.raises(TypeError, match=wrong):
        scored("transposed")
    with pytest.raises(TypeError, match="first_block yields 2 rows in all, of 4 examples"):
        scored("first_block")


def test_some_of_the_queries_take_the_place_of_all(scored):
    assert scored("product", most=1).select("id", "target", "query").rows() == [
        ("d", "x", "q0"),
        ("c", "y", "q2"),
        ("b", "x", "q0"),
        ("a", None, None),
    ]
    assert scored("product", most=2).equals(scored("product"))


def test_a_block_of_examples_without_a_response_has_no_score(scored, monkeypatch):
    monkeypatch.setattr(score_targeted, "ROWS", 3)  # the fourth example is a block of its own
    assert scored("product")["reason"].to_list() == [None, None, None, NO_RESPONSE]


def test_a_number_for_each_target_brings_no_query(scored):
    table = scored("shared")
    assert table.select("id", "score", "target", "query").rows() == [
        ("b", 4.0, "x", None),
        ("d", 3.0, "y", None),
        ("c", 1.0, "x", None),
        ("a", None, None, None),
    ]


def test_what_has_no_tokens_gets_no_score_whatever_the_method_gives(scored):
    """And of what is equally similar the smallest id comes first, not what is first in the pool."""
    table = scored("of_words")
    assert table.select("id", "score", "target").rows() == [
        ("b", 1.0, "x"),
        ("c", 1.0, "y"),
        ("d", 1.0, "x"),
        ("a", None, None),
    ]
    assert table["reason"].to_list() == [None, None, None, NO_RESPONSE]
    tokens = pl.read_parquet(scored.files["tokens/selector"])
    refused = tokens.with_columns(n_tokens=1, refused=pl.when(pl.col("id") == "c").then(pl.lit("odd turns")))
    refused.write_parquet(scored.files["tokens/selector"])
    assert scored("of_words").select("id", "reason").rows()[-1] == ("c", "odd turns")


@pytest.mark.parametrize("aggregate", ["round_robin", "max", "mean"])
def test_a_query_without_a_response_takes_no_turn(scored, capsys, aggregate):
    table = scored("product", unread=["x"], aggregate=aggregate)
    assert table.select("id", "target", "query").rows()[:3] == [("d", "x", "q0"), ("c", "y", "q2"), ("b", "x", "q0")]
    assert "x: 1 of 2 queries left out, without a response" in capsys.readouterr().out


def test_a_target_that_nothing_is_found_for_is_named(scored):
    with pytest.raises(UserError, match=r"targets: y: no query has a response token within data.max_length"):
        scored("product", unread=["x", "y"])
    with pytest.raises(UserError, match=r"targets: y: of_words finds no example for it; look at its queries"):
        scored("of_words", known=False)


def test_a_pass_over_another_pool_is_refused(scored):
    pl.DataFrame({"id": ["d", "b", "x", "a"], "hidden": [[1.0, 0.0]] * 4}).write_parquet(
        scored.files["likelihood/selector"]
    )
    with pytest.raises(UserError, match="its ids are not those of the pool in their order"):
        scored("product")
