import torch
from transformers import AutoModelForCausalLM

from moesift.demo.embedded import dense_config, documents, moe_config, train_tokenizer, windows


def test_every_text_survives_the_tokenizer(tokenizer):
    text = "Iron, 铁 🙂\n\tقلب"
    assert tokenizer.decode(tokenizer(text)["input_ids"]) == text


def test_a_tokenizer_is_made_the_same_way_twice():
    texts = ["the cat sat on the mat", "which is a metal? iron"] * 4
    first, second = (train_tokenizer(texts, 320).get_vocab() for _ in range(2))
    assert first == second


def test_texts_are_in_turn_conversations_and_plain():
    assert documents([("Is it?", "Yes."), ("It", "is.")]) == [
        [{"role": "user", "content": "Is it?"}, {"role": "assistant", "content": "Yes."}],
        "It is.",
    ]


def test_windows_hold_every_token_of_their_stretch_once():
    cut = windows(torch.arange(11, dtype=torch.int32), 2, seed=0)
    assert cut.shape == (5, 2)
    assert sorted(cut[:, 0].tolist()) == [0, 2, 4, 6, 8]
    assert (cut[:, 1] == cut[:, 0] + 1).all()
    assert not torch.equal(cut, windows(torch.arange(11, dtype=torch.int32), 2, seed=1))


def test_the_models_have_the_shapes_they_are_said_to_have():
    class Vocabulary:
        eos_token_id, pad_token_id = 0, 1

        def __len__(self):
            return 2048

    sizes = []
    for config in (moe_config(Vocabulary()), dense_config(Vocabulary())):
        model = AutoModelForCausalLM.from_config(config)
        sizes.append(sum(parameter.numel() for parameter in model.parameters()))
    assert sizes == [938_592, 639_840]
