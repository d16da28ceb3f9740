import pytest

from moesift.data.decontamination import Question, contaminated

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
