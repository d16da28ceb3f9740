import polars as pl
import pytest

from moesift.data.decontamination import FREQUENT, Question, contaminated, frequent_runs
from moesift.errors import UserError

METALS = Question(
    "quiz", 3, "Question: Which of these metals is the lightest one of all known?\nAnswer:", ["lead", "lithium"]
)
SHORT = Question("quiz", 4, "Question: Who wrote the long book on ____?\nAnswer:", ["Ann of Ghent", "Bea"])
TINY = Question("quiz", 5, "Question: Who?\nAnswer:", ["Ann"])
LETTERED = Question(
    "exam", 0, "Who was king of the isle in those days?\nA. Olaf the Black\nB. Magnus\nAnswer:", ["A", "B"]
)
KING = "who was king of the isle in those days"


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        # Case and punctuation do not matter; the run may be shorter than the question, not longer than what is shared.
        ("I ask you:\nwhich of these metals, is the LIGHTEST one of all known? -- I do not know.", 10,
         ("quiz", 3, "which of these metals is the lightest one of all")),
        ("which of these metals is the lightest one of all known", 12,
         ("quiz", 3, "which of these metals is the lightest one of all known")),
        ("Which of these metals is the lightest one?", 10, None),
        # A run may go on from the question into any of its answers.
        ("(a metal, the lightest one of all known: lead)", 7, ("quiz", 3, "the lightest one of all known lead")),
        ("the lightest one of all known: iron", 7, None),
        # A question of six words says too little alone; with one of its answers it has nine, with the other seven.
        ("who wrote the long book on ___? Ann of Ghent", 10, ("quiz", 4, "who wrote the long book on ann of ghent")),
        ("who wrote the long book on ____? Bea", 10, None),
        ("Who? Ann", 10, None),
        # Answers that the prompt lists count without their letters.
        (KING, 10, ("exam", 0, KING)),
        (f"{KING}: Olaf the Black, of course", 12, ("exam", 0, f"{KING} olaf the black")),
        ("those days olaf the black b magnus", 5, ("exam", 0, "those days olaf the black")),
    ],
)  # fmt: skip
def test_shared_runs_are_found(text, words, expected):
    rows = contaminated(["x"], [text], (METALS, SHORT, TINY, LETTERED), words).rows()
    assert rows == ([] if expected is None else [("x", *expected)])


@pytest.mark.parametrize(
    "frame", ["{question} {answer}", "Question: {question}\nAnswer: {answer}", "Q: {question}\n\nA: {answer}"]
)
def test_a_question_with_its_answer_is_found_in_any_frame(frame):
    """The question has twelve words, so that a run of thirteen includes the answer."""
    text = frame.format(question="Which of these metals is the lightest one of all known?", answer="Lithium")
    assert [row[:3] for row in contaminated(["x"], [text], [METALS], 13).rows()] == [("x", "quiz", 3)]


def test_each_question_is_listed_once():
    questions = [METALS, METALS._replace(number=9)]
    rows = contaminated(["x", "y"], [METALS.prompt * 2, "nothing"], questions, 10).rows()
    assert [row[:3] for row in rows] == [("x", "quiz", 3), ("x", "quiz", 9)]


CAPITAL = Question("ceval", 7, "问题：下列城市中，哪一座是秘鲁共和国的首都？\n答案：", ["利马", "基多"])
CHOICES = "题目：下列城市中，哪一座是秘鲁共和国的首都？\nA、基多\nB、利马\n答案："
LISTED = Question("cmmlu", 1, CHOICES, ["A", "B"])
ASKED = "下列城市中哪一座是秘鲁共和国的首都"


@pytest.mark.parametrize(
    ("text", "words", "expected"),
    [
        (f"请回答：{ASKED}？我想是利马。", 13, [(ASKED[:13], 7), (ASKED[:13], 1)]),
        # Of 17 characters, and of 19 with an answer, a question is searched for as a whole.
        (f"{ASKED}：利马", 25, [(f"{ASKED}利马", 7), (f"{ASKED}利马", 1)]),
        ("下列城市中，哪一座是秘鲁共和国的", 25, []),
        ("秘鲁共和国的首都是利马，它在太平洋边上，有八百多万人口。", 13, []),
        ("下列城市中，哪一座是巴西联邦共和国的首都？", 13, []),
    ],
)
def test_chinese_questions_are_compared_by_characters(text, words, expected):
    found = contaminated(["x"], [text], [CAPITAL, LISTED], words)
    assert found.select("run", "question").rows() == expected


ASKING = "Choose the best answer to the following question about law from the list that is given below."
CASES = [
    Question(
        "law", 0, f"{ASKING} What must a buyer of land in this state do before the deed is valid?", ["Pay", "Sign it"]
    ),
    Question("law", 1, f"{ASKING} Who may open a sealed will?", ["A judge of the court", "Any heir"]),
]
LETTER = f"{ASKING.upper()} Name a colour!"
DEED = "Tell me: what must a buyer of land in this state do before the deed is valid?"


def test_what_is_ignored_is_no_part_of_a_question():
    """The phrase has 17 words. After it the first question has 14, the second 6, and 11 with its first answer."""
    texts = [LETTER, f"{ASKING} {DEED[9:]}", DEED, "Who may open a sealed will? A judge of the court."]
    ids = ["letter", "copy", "deed", "will"]
    found = contaminated(ids, texts, CASES, 13)
    assert found.select("id", "question").rows() == [
        ("letter", 0),
        ("letter", 1),
        ("copy", 0),
        ("copy", 1),
        ("deed", 0),
    ]
    assert found["run"][0] == "choose the best answer to the following question about law from the list"
    for phrases in (
        [ASKING],
        ["choose the BEST answer; to the following question", "the list that is given below", "about law from"],
    ):
        found = contaminated(ids, texts, CASES, 13, phrases)
        assert found.select("id", "question").rows() == [("copy", 0), ("deed", 0), ("will", 1)]
        assert found["run"][2] == "who may open a sealed will a judge of the court"
    assert contaminated(ids, texts, CASES, 13, ["sealed"])["id"].to_list()[:2] == ["letter", "letter"]


def test_a_phrase_is_whole_words_and_has_some():
    question = Question("quiz", 0, "one two three four five six seven eight nine ten", [])
    text = "one two three four five six seven eight nine ten"
    for phrase, expected in (("fou", 1), ("five", 0), ("ten", 1), ("Nine, ten!", 1), ("eight", 0)):
        assert contaminated(["x"], [text], [question], 8, [phrase]).height == expected, phrase
    with pytest.raises(UserError, match=r"select.decontaminate.ignore: '\?!' has no words"):
        contaminated(["x"], [text], [question], 8, ["five", "?!"])


def test_the_most_frequent_runs_are_those_of_most_examples():
    """A phrase is in four examples of two sources and in both questions; an example counts once, however it matches."""
    texts = [LETTER, f"{ASKING} {DEED[9:]}", DEED, LETTER, f"{LETTER} {LETTER}"]
    found = contaminated(list("abcde"), texts, CASES, 13)
    runs = frequent_runs(found, pl.DataFrame({"id": list("abcde"), "source": ["web", "web", "web", "exams", "exams"]}))
    phrase = "choose the best answer to the following question about law from the list"
    deed = "what must a buyer of land in this state do before the deed"
    assert runs.rows() == [
        (phrase, 4, "exams", "law", 2, 2),
        (phrase, 4, "web", "law", 2, 2),
        (deed, 1, "web", "law", 1, 1),
    ]
    many = [(f"{n}", "quiz", n, f"run {n:02}") for n in range(30)]
    many = pl.DataFrame(many, found.columns, orient="row")
    assert frequent_runs(many, many.select("id", source=pl.lit("s")))["run"].to_list() == [
        f"run {n:02}" for n in range(FREQUENT)
    ]
