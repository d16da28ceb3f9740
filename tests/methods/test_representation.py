import numpy as np
import polars as pl
import pytest
import torch
from given.models import random_dense_model

from moesift.methods import METHODS, Column, parameters_of
from moesift.methods.representation import moee, rds, rds_middle, routes
from moesift.models.chat import encode
from moesift.passes import representation
from moesift.passes.columns import schema
from moesift.passes.reader import Reader
from moesift.passes.stored import as_array
from moesift.select.targeted import assign
from moesift.stages.run_pass import columns_of

NAN = float("nan")


def block(**columns):
    return {name: torch.tensor(values) for name, values in columns.items()}


def together(blocks):
    return torch.cat(list(blocks))


@pytest.mark.parametrize("method", [rds, rds_middle])
def test_the_similarity_is_a_cosine(method):
    pool = [block(hidden=[[3.0, 4.0], [0.0, 2.0]]), block(hidden=[[NAN, NAN], [0.0, 0.0]])]
    found = together(method(pool, block(hidden=[[0.0, 5.0], [-1.0, 0.0]])))
    assert found[:2].flatten().tolist() == pytest.approx([0.8, -0.6, 1.0, 0.0])
    assert found[2:].isnan().all()  # what was not measured, and what has no direction


# Means 2, -1 and 7, standard deviations 1, 2 and 0: in these, the pool is (-1, 1), (1, 1), (-1, -1), (1, -1).
ROUTING = [[1.0, 1.0, 7.0], [3.0, 1.0, 7.0], [1.0, -3.0, 7.0], [3.0, -3.0, 7.0]]
QUERY = [[3.0, -1.0, 9.0]]  # (1, 0)
HIDDEN = [[1.0, 0.0], [0.0, 1.0], [0.6, 0.8], [-1.0, 0.0]]


def test_routing_is_compared_in_standard_deviations_of_the_whole_pool():
    half = 0.5**0.5
    queries = block(routing=QUERY, hidden=[[2.0, 0.0]])
    for size in (1, 3, 4):
        pool = [
            block(routing=ROUTING[start : start + size], hidden=HIDDEN[start : start + size])
            for start in range(0, 4, size)
        ]
        pool.append(block(routing=[[NAN] * 3], hidden=[[NAN] * 2]))  # moves no mean
        assert together(routes(pool, queries))[:4, 0].tolist() == pytest.approx([-half, half, -half, half])
        found = together(moee(pool, queries, alpha=2.0))
        assert found[:4, 0].tolist() == pytest.approx([1 - 2 * half, 2 * half, 0.6 - 2 * half, 2 * half - 1])
        assert found[4].isnan().all()


def test_means_far_from_zero_and_constants_do_not_lose_the_differences():
    rows = torch.tensor([[1.0, -1.0], [-1.0, 1.0], [1.0, 1.0], [-1.0, -1.0]])
    far = torch.cat([1000 + rows / 100, torch.full((4, 1), 0.1)], dim=1)  # the mean of 0.1 is not 0.1 to the last bit
    found = together(routes([{"routing": far}], {"routing": far}))
    assert torch.allclose(found, together(rds([{"hidden": rows}], {"hidden": rows})), atol=2e-3)


def test_columns_follow_the_parameters():
    def read(name, **given):
        return METHODS[name].columns(parameters_of(METHODS[name], given))

    assert read("rds") == {"hidden": Column("representation", "weighted")}
    assert read("rds_middle", pooling="mean") == {"hidden": Column("representation_middle", "mean")}
    assert read("routes", pooling="last_token") == {"routing": Column("router_logits", "last_token")}
    assert read("moee", routing_pooling="last_token") == {
        "hidden": Column("representation", "weighted"), "routing": Column("router_logits", "last_token"),
    }  # fmt: skip


def published(model, tokenizer, conversations, wanted):
    """RDS+ by its formulas alone, one example at a time by transformers: similarities, and the order of the rows."""

    def embedded(messages):
        ids = torch.tensor([tokenizer.apply_chat_template(messages, tokenize=True, return_dict=False)])
        with torch.no_grad():
            hidden = model(ids, output_hidden_states=True).hidden_states[-1][0]
        total = sum(range(1, len(hidden) + 1))
        vector = sum(place / total * state for place, state in enumerate(hidden, start=1))
        return vector / vector.norm()

    vectors, queries = [embedded(one) for one in conversations], [embedded(one) for one in wanted]
    similar = torch.tensor([[float(vector @ query) for query in queries] for vector in vectors])
    order, left = [], set(range(len(vectors)))
    while left:
        query = len(order) % len(queries)
        order.append(max(left, key=lambda row: similar[row, query]))
        left.remove(order[-1])
    return similar, order


def test_rds_is_as_published(tokenizer, conversations):
    """From conversations to the order of the selection, through the float16 of the parquet."""
    model = random_dense_model(hidden_size=256, max_position_embeddings=256)
    reader, wanted = Reader(tokenizer, model, None), [conversations[0], conversations[3]]
    pool = [
        [{"role": "user", "content": f"{turns[0]['content']} {more}"}, turns[1]]
        for more in ("a", "the mat sat", "iron? " * 4)
        for turns in conversations
    ]

    def hidden(some):
        examples, ids = encode(some, tokenizer, 200), pl.Series("id", map(str, range(len(some))))
        frame = columns_of("representation", ids, examples, lambda each: representation.read(reader, each, 300))
        assert frame.schema == {"id": pl.String, **schema("representation")}
        return torch.tensor(as_array(frame["weighted"])).float()

    vectors, queries = hidden(pool), {"hidden": hidden(wanted)}
    found = lambda: rds([{"hidden": vectors[:5]}, {"hidden": vectors[5:]}], queries)  # noqa: E731
    similar, order = published(model, tokenizer, pool, wanted)
    assert (together(found()) - similar).abs().max() < 1e-4
    assert assign(found, np.zeros(2, dtype=int), "round_robin", np.arange(len(pool))).rows.tolist() == order
