"""Tokenizers of the kinds in use, and chat templates like those of well-known models, each written for these tests."""

import itertools

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, processors, trainers
from transformers import PreTrainedTokenizerFast

TEXTS = ["the cat sat on the mat", "which is a metal? iron", "user: assistant: system\n[INST] [/INST]"] * 4
SPECIAL = ["<s>", "</s>", "<|im_start|>", "<|im_end|>", "<|user|>", "<|assistant|>", "<|end|>"]
TURNS = [
    {"role": "system", "content": "be brief"},
    {"role": "user", "content": "which is a metal?"},
    {"role": "assistant", "content": "iron"},
    {"role": "user", "content": "and the cat?"},
    {"role": "assistant", "content": "no"},
]
QUESTION = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "iron"}]


def metaspace(scheme: str) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE(byte_fallback=True, unk_token=None))
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme=scheme, split=False)
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    return tokenizer


def byte_level(prefix_space: bool = False) -> Tokenizer:
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=prefix_space)
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def prepending() -> Tokenizer:
    """As Llama-2's was saved: the normaliser writes the space, before each text between special tokens."""
    tokenizer = Tokenizer(models.BPE(byte_fallback=True))
    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = metaspace("first").decoder
    return tokenizer


def lowering() -> Tokenizer:
    tokenizer = byte_level()
    tokenizer.normalizer = normalizers.Sequence([normalizers.NFKC(), normalizers.Lowercase()])
    return tokenizer


KINDS = {
    "byte-level": byte_level,
    "byte-level, space before": lambda: byte_level(prefix_space=True),
    "Metaspace first": lambda: metaspace("first"),
    "Metaspace always": lambda: metaspace("always"),
    "Prepend": prepending,
    "NFKC and lower case": lowering,
}


def tokenizer_of(
    kind: str,
    template: str | dict[str, str] | None = None,
    starts: bool = False,
    swallowing: bool = False,
    special: list[str] = SPECIAL,
) -> PreTrainedTokenizerFast:
    """Return a trained tokenizer.

    Args:
        kind: of KINDS.
        template: its chat template.
        starts: it puts <s> before every text and </s> behind it.
        swallowing: its special tokens take the white space on both sides.
        special: its special tokens, the first <s> and </s>.
    """
    made = KINDS[kind]()
    by_bytes = isinstance(made.decoder, decoders.ByteLevel)
    alphabet = pre_tokenizers.ByteLevel.alphabet() if by_bytes else [*map(chr, range(32, 127)), "▁"]
    fallback = [] if by_bytes else [f"<0x{byte:02X}>" for byte in range(256)]
    trainer = trainers.BpeTrainer(
        vocab_size=700, special_tokens=["<s>", "</s>", *fallback], initial_alphabet=alphabet, show_progress=False
    )
    made.train_from_iterator(TEXTS, trainer)
    sides = {"lstrip": swallowing, "rstrip": swallowing}
    made.add_special_tokens([AddedToken(token, special=True, normalized=False, **sides) for token in special])
    if starts:
        ids = [(token, made.token_to_id(token)) for token in ("<s>", "</s>")]
        made.post_processor = processors.TemplateProcessing(single="<s> $A </s>", special_tokens=ids)
    return PreTrainedTokenizerFast(
        tokenizer_object=made, chat_template=template, bos_token="<s>", eos_token="</s>", pad_token="</s>"
    )


def written(turn: str, opening: str = "", closing: str = "", before: str = "") -> str:
    """Return a template that writes a turn for each message m, and an opening where a response is asked for."""
    end = f"{{% if add_generation_prompt %}}{opening}{{% else %}}{closing}{{% endif %}}"
    return f"{before}{{% for m in messages %}}{turn}{{% endfor %}}{end}"


CHATML, PROMPT = "<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n", "<|im_start|>assistant\n"
ALTERNATE = (
    "{% if (m.role == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('roles must alternate') }}{% endif %}"
)
THINKING = (
    "{% set thought = m.content.split('</think>')[0].split('<think>')[-1].strip('\n') if '</think>' in m.content %}"
    "<|im_start|>{{ m.role }}\n"
    "{% if m.role == 'assistant' and loop.last %}<think>\n{{ thought or '' }}\n</think>\n\n{% endif %}"
    "{{ m.content.split('</think>')[-1].lstrip('\n') }}<|im_end|>\n"
)
TEMPLATES = {
    "ChatML": written(CHATML, PROMPT),
    "Zephyr": written("<|{{ m.role }}|>\n{{ m.content }}</s>\n", "<|assistant|>\n"),
    "Gemma": written(ALTERNATE + CHATML.replace("content", "content | trim"), PROMPT, before="{{ bos_token }}"),
    "Phi-3": written("<|{{ m.role }}|>\n{{ m.content }}<|end|>\n", "<|assistant|>\n", closing="{{ eos_token }}"),
    "Llama-2": written(
        "{% if m.role == 'user' %}{{ bos_token }}[INST] {{ m.content.strip() }} [/INST]{% else %} "
        "{{ m.content.strip() }} {{ eos_token }}{% endif %}"
    ),
    "no opening": written(CHATML),
    "no end": written("{{ m.role }}: {{ m.content }}\n", "assistant: "),
    "Qwen3": written(THINKING, PROMPT),
    "R1": written(
        "{% if m.role == 'user' %}<|user|>{{ m.content }}{% else %}<|assistant|>"
        "{{ m.content.split('</think>')[-1] }}</s>{% endif %}",
        "<|assistant|><think>\n",
    ),
    "default system": written(
        CHATML,
        PROMPT,
        before="{% if messages[0].role != 'system' %}<|im_start|>system\nBe<|im_end|>\n{% endif %}",
    ),
}
GENERATION = written(
    "{% if m.role == 'assistant' %}<|im_start|>assistant\n"
    "{% generation %}{{ m.content }}<|im_end|>{% endgeneration %}\n{% else %}" + CHATML + "{% endif %}",
    PROMPT,
)


def responses_of(tokenizer, example) -> list[str]:
    runs = itertools.groupby(zip(example.ids, example.response, strict=True), key=lambda pair: pair[1])
    return [tokenizer.decode([id for id, _ in run]) for is_response, run in runs if is_response]
