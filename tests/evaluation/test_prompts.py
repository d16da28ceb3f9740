import pytest
from given.models import random_model
from given.questions import ARC

from moesift.config import Task
from moesift.errors import UserError
from moesift.evaluation.local_data import localise_tasks
from moesift.evaluation.prompts import is_cut, require_room
from moesift.evaluation.tasks import look_at_prompts, run_tasks


@pytest.mark.parametrize(
    ("requests", "cut"),
    [
        ([("x" * 8, "yz")], False),
        ([("x" * 9, "y"), ("x" * 9, "yz")], False),  # lm-eval predicts the last token and does not read it
        ([("x" * 9, "y"), ("x" * 9, "yzz")], True),
        ([("x" * 7, {"until": ["."], "max_gen_toks": 3})], False),
        ([("x" * 8, {"until": ["."], "max_gen_toks": 3})], True),
        ([("x" * 8, {"max_new_tokens": 3})], True),
        ([("x" * 99,)], False),  # of a perplexity, which is measured window by window
    ],
)
def test_a_prompt_is_cut_where_it_is_longer_than_the_context(requests, cut):
    assert is_cut(requests, lambda text: list(text.encode()), context=10) is cut


@pytest.mark.parametrize(("settings", "tokens"), [({"max_gen_toks": 10}, "10"), ({}, "256"), (None, "256")])
def test_a_task_that_fills_the_context_is_refused(settings, tokens):
    with pytest.raises(UserError, match=rf"quiz generates up to {tokens} tokens, and the target has 10 positions"):
        require_room("quiz", "generate_until", settings, context=10)
    require_room("quiz", "generate_until", settings, context=257)
    require_room("quiz", "multiple_choice", settings, context=10)


def test_questions_whose_prompts_are_cut_are_counted_before_and_after(tmp_path, tokenizer, caplog):
    """lm-eval's own warnings are the reference: one for each answer that does not fit."""
    splits = dict.fromkeys(("train", "validation", "test"), ARC)
    localise_tasks(["arc_easy"], lambda *_: splits, tmp_path / "made")
    asked, folder = Task(name="arc_easy", fewshot=1), tmp_path / "made" / "tasks"
    model = random_model("Olmoe")
    positions = model.config.max_position_embeddings
    one_question = len(tokenizer("Question: Which is a metal?\nAnswer: iron")["input_ids"])
    for context in (positions, one_question):
        model.config.max_position_embeddings = context
        caplog.clear()
        measured = run_tasks(model, tokenizer, [asked], folder, batch_size=4)
        warned = sum("exceeds model's maximum length" in record.message for record in caplog.records)
        found = measured.questions.filter(metric="acc")["cut"].sum()
        assert (found > 0) == (warned > 0) == (context < positions)
        assert measured.tasks["arc_easy"]["cut"] == found
        assert look_at_prompts(asked, folder, tokenizer, context, limit=9) == (2, found)
    assert found > 0
