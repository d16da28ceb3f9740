"""Prompts of lm-eval's tasks that are longer than a model's context: lm-eval cuts their beginning."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from transformers import PreTrainedTokenizerFast

from moesift.errors import UserError

GENERATED = 256  # tokens, where a task does not say how many


class Looked(NamedTuple):
    """Questions of a task whose prompts were looked at, and those that do not fit."""

    questions: int
    cut: int


def is_cut(requests: Sequence[Sequence[Any]], encode: Callable[[str], list[int]], context: int) -> bool:
    """Return whether a prompt of a question is longer than the context, less what is generated.

    Few-shot examples go first, and with them what a task says before them.

    Args:
        requests: of one question, each (prompt, answer) or (prompt, settings of the generation); others are not cut.
        encode: text to tokens.
        context: positions of the model.
    """
    for prompt, *rest in requests:
        if not rest:
            continue
        generates = not isinstance(rest[0], str)
        text, room = (prompt, context - _generated(rest[0])) if generates else (prompt + rest[0], context + 1)
        # A token has a byte at least: most texts need not be encoded.
        if len(text.encode()) > room and len(encode(text)) > room:
            return True
    return False


def require_room(name: str, output_type: str | None, settings: dict[str, Any] | None, context: int) -> None:
    """Refuse a task that generates as many tokens as the context has, or more.

    Args:
        output_type: of the task, as lm-eval calls it.
        settings: of the generation, likewise.
        context: positions of the model.

    Raises:
        UserError: names the task and both numbers.
    """
    if output_type == "generate_until" and (tokens := _generated(settings or {})) >= context:
        raise UserError(
            f"evaluate.tasks: {name} generates up to {tokens:,} tokens, and the target has {context:,} positions; "
            "remove it, or use another target"
        )


def look(task: Any, fewshot: int | None, limit: int, tokenizer: PreTrainedTokenizerFast, context: int) -> Looked:
    """Make the prompts of the first questions of a task, as lm-eval does, and count those that would be cut.

    Args:
        task: of lm-eval, with its data.
        fewshot: examples before a question; None takes the task's own number.
        limit: questions to look at.
    """
    task.set_config("num_fewshot", (task.get_config("num_fewshot") or 0) if fewshot is None else fewshot)
    task.set_fewshot_seed(seed=1234)
    task.build_all_requests(limit=limit)
    requests: dict[int, list[Any]] = {}
    for instance in task.instances:
        requests.setdefault(instance.doc_id, []).append(instance.args)
    return Looked(len(requests), sum(is_cut(one, tokenizer.encode, context) for one in requests.values()))


def _generated(settings: dict[str, Any]) -> int:
    from lm_eval.models.utils import normalize_gen_kwargs

    return normalize_gen_kwargs(settings, GENERATED)["max_gen_toks"]
