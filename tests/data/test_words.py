from moesift.data.words import as_text, words_of

MIXED = "我用 GPT-4 写了 3 篇 blog。"


def test_words_are_separated_by_what_is_no_letter_and_no_number():
    assert words_of("It's a SNAKE_case, 3.5 metres!") == ["it", "s", "a", "snake_case", "3", "5", "metres"]
    assert words_of("Größe naïve 안녕 세계") == ["größe", "naïve", "안녕", "세계"]  # Korean has spaces


def test_an_accent_may_be_a_character_of_its_own():
    """As file systems of macOS and some scanned texts write them, and Korean in its letters."""
    apart = "Cafe\u0301, nai\u0308ve: \u1112\u1161\u11ab\u1100\u116e\u11a8; か\u3099"
    assert words_of(apart) == words_of("Caf\u00e9, na\u00efve: 한국; が") == ["caf\u00e9", "na\u00efve", "한국", "が"]


def test_a_chinese_or_japanese_character_is_a_word():
    assert words_of("首都是北京。") == ["首", "都", "是", "北", "京"]
    assert words_of("「東京タワー」へ・行く、々ｱｲ") == list("東京タワーへ行く々ｱｲ")
    assert words_of(MIXED) == ["我", "用", "gpt", "4", "写", "了", "3", "篇", "blog"]


def test_words_become_a_text_of_the_same_words():
    assert as_text(words_of(MIXED)) == "我用 gpt 4 写了 3 篇 blog"
    assert words_of(as_text(words_of(MIXED))) == words_of(MIXED)
