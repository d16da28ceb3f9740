import pytest

from moesift.data.decontamination import Question
from moesift.data.pool import deduplicated, to_examples
from moesift.data.rows import Row
from moesift.data.targets import IN_POOL, divided
from moesift.errors import UserError

ASKED = "which of all the metals on this long list is the lightest"
QUESTION = Question("quiz", 3, f"Question: {ASKED}?\nAnswer:", ["lithium"])


NOTHING = to_examples({"mine": [Row(0, {"prompt": "a", "completion": "b"})]}, {"mine": "auto"})[1]


def examples(prompts):
    rows = [Row(n, {"prompt": prompt, "completion": f"say {n}"}) for n, prompt in enumerate(prompts)]
    return deduplicated(to_examples({"mine": rows}, {"mine": "auto"})[0])[0]


def pool(*prompts):
    return examples(prompts)["messages"].to_list()


def prompts_of(frame):
    return {turns[0]["content"] for turns in frame["messages"].to_list()}


def test_queries_and_held_out_examples_share_nothing_with_pool_and_questions():
    mine = examples([f"ask {n}" for n in range(12)] + ["in the pool", f"Well, {ASKED}, do you know?"])
    found = divided(mine, pool("in the pool", "else"), [QUESTION], None, 4, 5, 0, NOTHING)
    assert found.refused["row", "reason"].rows() == [
        (12, IN_POOL),
        (13, "shares a run of words with question 3 of quiz"),
    ]
    queries, heldout = prompts_of(found.queries), prompts_of(found.heldout)
    assert (len(queries), len(heldout)) == (4, 5)
    assert queries | heldout <= {f"ask {n}" for n in range(12)}
    assert not queries & heldout
    again = divided(mine, pool("in the pool", "else"), [QUESTION], None, 4, 5, 1, NOTHING)
    assert prompts_of(again.queries) != queries


def test_a_part_of_a_question_counts_where_a_run_is_asked_for():
    mine = examples(["on this long list is the lightest", "b", "c"])
    assert divided(mine, pool("x"), [QUESTION], None, None, 0, 0, NOTHING).refused.is_empty()
    assert divided(mine, pool("x"), [QUESTION], 6, None, 0, 0, NOTHING).refused["row"].to_list() == [0]
    assert divided(mine, pool("x"), [QUESTION], 6, None, 0, 0, NOTHING, ignore=["this long list"]).refused.is_empty()


def test_without_a_number_of_queries_all_that_are_left_are_queries():
    found = divided(examples([f"ask {n}" for n in range(6)]), pool("x"), [], None, None, 2, 0, NOTHING)
    assert (found.queries.height, found.heldout.height) == (4, 2)
    found = divided(examples([f"ask {n}" for n in range(6)]), pool("x"), [], None, 6, 0, 0, NOTHING)
    assert (found.queries.height, found.heldout.height) == (6, 0)


def test_a_target_that_the_pool_holds_already_is_refused():
    mine = [f"ask {n}" for n in range(6)]
    with pytest.raises(
        UserError,
        match=r"of 6 rows 1 can be used, and 6 are needed \(heldout: 2, queries: 4\): lower one of them, or give more "
        r"rows\n  rejected 5 x shares a question or an exchange with the pool$",
    ):
        divided(examples(mine), pool(*mine[:5]), [], None, 4, 2, 0, NOTHING)


def test_two_answers_to_one_question_are_on_one_side():
    rows = [Row(n, {"prompt": f"ask {n // 2}", "completion": f"say {n}"}) for n in range(6)]
    mine = deduplicated(to_examples({"mine": rows}, {"mine": "auto"})[0])[0]
    found = divided(mine, [], [], None, None, 2, 0, NOTHING)
    assert (found.heldout.height, found.queries.height) == (2, 4)
    assert not prompts_of(found.heldout) & prompts_of(found.queries)


def test_too_few_examples_say_why_other_rows_are_none():
    rows = [Row(n, {"prompt": f"ask {n}", "completion": "" if n else "say"}) for n in range(4)]
    mine, unusable = to_examples({"mine": rows}, {"mine": "auto"})
    mine, _ = deduplicated(mine)
    with pytest.raises(UserError, match=r"of 4 rows 1 can be used, .*queries: at least one.*\n  rejected 3 x "):
        divided(mine, [], [], None, None, 1, 0, unusable)
    assert divided(mine, [], [], None, None, 0, 0, unusable).refused["row"].to_list() == [1, 2, 3]
