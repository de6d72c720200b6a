"""The check of English finds each habit, and passes over code, formulas and arguments that stand alone."""

import pytest

from tests.lint import english

BAD = {
    "what": "What the guide reads.",
    "that of, those of": "The gradient is that of one process.",
    "told, tell": "A story is told the labels.",
    "is none, is no": "There is none.",
    "of its own, of ours": "Each has a critic of its own.",
    "law, dream, settle": "The law of the noise.",
}


def written(tmp_path, docstring):
    path = tmp_path / "module.py"
    path.write_text(f'"""{docstring}"""\n')
    return path


@pytest.mark.parametrize("habit", BAD)
def test_a_habit_is_found_with_its_line(habit, tmp_path):
    found = list(english.findings(written(tmp_path, f"A title.\n\n{BAD[habit]}\n")))
    assert found == [(habit, 3, BAD[habit])]


def test_every_habit_has_an_example():
    assert BAD.keys() == english.HABITS.keys()


@pytest.mark.parametrize(
    "text",
    [
        "Values of the nodes.",
        "``what`` is the name of an argument.",
        ">>> what = 1",
        "```\nwhat\n```",
    ],
)
def test_code_and_plain_sentences_are_not_found(text, tmp_path):
    assert not list(english.findings(written(tmp_path, f"A title.\n\n{text}\n")))


@pytest.mark.parametrize(
    ("description", "found"),
    [
        ("seed: of the draws.", True),
        ("**options: as in DecomposedELBO.", True),
        ("seed: Seed of the random draws.", False),
    ],
)
def test_an_argument_description_that_cannot_stand_alone_is_found(description, found, tmp_path):
    path = written(tmp_path, f"A title.\n\n    Args:\n        {description}\n    ")
    habits = [habit for habit, _, _ in english.findings(path)]
    assert habits == ["argument fragment"] * found


def test_docstrings_of_constants_and_classes_are_read(tmp_path):
    path = tmp_path / "module.py"
    path.write_text('SIZE = 3\n"""What."""\n\n\nclass A:\n    """What."""\n')
    assert [line for _, line, _ in english.findings(path)] == [2, 6]


def test_frequencies_count_words(tmp_path):
    path = written(tmp_path, "what " + "word " * 99)
    assert english.words(path) == 100
    assert english.frequencies([path])[0]["what"] == pytest.approx(100)
    assert not english.check("one file", [path])
    assert english.check("one file", [written(tmp_path, "A plain sentence.")])
