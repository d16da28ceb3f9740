import pytest

from moesift.data.decontamination import Question, contaminated

ASKED = Question(
    "quiz", 3, "Question: Which of these metals is the lightest one of all known?\nAnswer:", ["lead", "lithium"]
)
SHORT = Question("quiz", 4, "Question: Who wrote the long book on ____?\nAnswer:", ["Ann of Ghent", "Bea"])
TINY = Question("quiz", 5, "Question: Who?\nAnswer:", ["Ann"])
LETTERED = Question(
    "exam", 0, "Who was king of the isle in those days?\nA. Olaf the Black\nB. Magnus\nAnswer:", ["A", "B"]
)


def found(text, questions=(ASKED, SHORT, TINY, LETTERED), words=10):
    return contaminated(["x"], [text], questions, words).rows()


def test_a_shared_run_is_found_whatever_case_and_punctuation():
    copied = "I ask you:\nwhich of these metals, is the LIGHTEST one of all known? -- I do not know."
    assert found(copied) == [("x", "quiz", 3, "which of these metals is the lightest one of all")]
    assert found(copied, words=12) == [("x", "quiz", 3, "which of these metals is the lightest one of all known")]


def test_a_shorter_run_is_no_copy():
    assert found("Which of these metals is the lightest one?") == []


@pytest.mark.parametrize(
    "frame", ["{question} {answer}", "Question: {question}\nAnswer: {answer}", "Q: {question}\n\nA: {answer}"]
)
def test_a_question_with_its_answer_is_found_in_any_frame(frame):
    """Thirteen words are more than the question has, and twelve more than it shares with another answer."""
    text = frame.format(question="Which of these metals is the lightest one of all known?", answer="Lithium")
    assert [row[:3] for row in found(text, words=13)] == [("x", "quiz", 3)]


def test_a_run_goes_on_from_the_question_into_an_answer_right_or_wrong():
    (run,) = {row[3] for row in found("(a metal, the lightest one of all known: lead)", words=7)}
    assert run == "the lightest one of all known lead"
    assert found("the lightest one of all known: iron", words=7) == []


def test_a_short_question_is_looked_for_as_a_whole():
    # Six words, which say too little alone; with an answer they are nine, or seven.
    assert found("who wrote the long book on _______? Ann of Ghent") == [
        ("x", "quiz", 4, "who wrote the long book on ann of ghent")
    ]
    assert found("who wrote the long book on ____? Bea") == []
    assert found("Who? Ann") == []  # two words say nothing


def test_answers_that_the_prompt_lists_count_without_their_letters():
    asked = "who was king of the isle in those days"
    assert found(asked) == [("x", "exam", 0, asked)]  # nine words, as a whole
    assert found(f"{asked}: Olaf the Black, of course", words=12) == [("x", "exam", 0, f"{asked} olaf the black")]
    assert found("those days olaf the black b magnus", words=5) == [("x", "exam", 0, "those days olaf the black")]


def test_each_question_is_listed_once():
    twice = [ASKED, ASKED._replace(number=9)]
    rows = contaminated(["x", "y"], [ASKED.prompt * 2, "nothing"], twice, 10).rows()
    assert [row[:3] for row in rows] == [("x", "quiz", 3), ("x", "quiz", 9)]
