from moesift.data.words import as_text, words_of

MIXED = "我用 GPT-4 写了 3 篇 blog。"


def test_words_are_separated_by_what_is_no_letter_and_no_number():
    assert words_of("It's a SNAKE_case, 3.5 metres!") == ["it", "s", "a", "snake_case", "3", "5", "metres"]
    assert words_of("Größe naïve 안녕 세계") == ["größe", "naïve", "안녕", "세계"]  # Korean has spaces


def test_a_chinese_or_japanese_character_is_a_word():
    assert words_of("首都是北京。") == ["首", "都", "是", "北", "京"]
    assert words_of("「東京タワー」へ・行く、々ｱｲ") == list("東京タワーへ行く々ｱｲ")
    assert words_of(MIXED) == ["我", "用", "gpt", "4", "写", "了", "3", "篇", "blog"]


def test_words_become_a_text_of_the_same_words():
    assert as_text(words_of(MIXED)) == "我用 gpt 4 写了 3 篇 blog"
    assert words_of(as_text(words_of(MIXED))) == words_of(MIXED)
