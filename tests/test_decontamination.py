from moesift.decontamination import Question, contaminated

ASKED = Question("quiz", 3, "Question: Which of these metals is the lightest one of all known?\nAnswer: lithium")
SHORT = Question("quiz", 4, "Who wrote the very long book?\nAnswer: Ann")
TINY = Question("quiz", 5, "Who? Ann")


def found(text, questions=(ASKED, SHORT, TINY), words=10):
    return contaminated(["x"], [text], questions, words).rows()


def test_a_shared_run_is_found_whatever_case_and_punctuation():
    copied = "I ask you:\nwhich of these metals, is the LIGHTEST one of all known? -- I do not know."
    assert found(copied) == [("x", "quiz", 3, "which of these metals is the lightest one of all")]
    assert found(copied, words=12) == []  # eleven words are copied


def test_a_shorter_run_is_no_copy():
    assert found("Which of these metals is the lightest one?") == []


def test_a_short_question_is_looked_for_as_a_whole():
    assert found("who wrote the very long book, answer Ann") == [
        ("x", "quiz", 4, "who wrote the very long book answer ann")
    ]
    assert found("who wrote the very long book, answer Bea") == []
    assert found("Who? Ann") == []  # two words say nothing


def test_each_question_is_listed_once():
    twice = [ASKED, ASKED._replace(number=9)]
    rows = contaminated(["x", "y"], [ASKED.text * 2, "nothing"], twice, 10).rows()
    assert [row[:3] for row in rows] == [("x", "quiz", 3), ("x", "quiz", 9)]
