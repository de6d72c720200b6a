"""The check of the code counts tokens as the tokenizer does, and finds packed lines."""

from tests.lint import code


def test_a_function_is_measured_without_its_docstring_and_comments():
    source = 'def f(x: int) -> int:\n    """Words."""\n    # why\n    return x + 1\n'
    assert list(code.functions(source)) == [(1, "f", 4)]


def test_a_function_of_a_docstring_alone_has_no_tokens():
    assert list(code.functions('def f():\n    """Words."""\n')) == [(1, "f", 0)]


def test_a_long_function_is_found(tmp_path, monkeypatch):
    monkeypatch.setattr(code, "ROOT", tmp_path)
    path = tmp_path / "module.py"
    path.write_text("def f(x):\n" + "    x = x + 1\n" * 31)
    assert list(code.findings(path)) == ["module.py:1: f has 155 tokens"]


def test_a_comprehension_in_a_comprehension_is_found():
    assert list(code.nested("a = [[x for x in row] for row in rows]\nb = [x for x in row]\n")) == [
        1
    ]


def test_several_assignments_on_a_line_are_found_and_an_exchange_is_not():
    assert list(code.packed("a, b = 1, 2\na, b = b, a\na, b = pair\nself.a, self.b = a, b\n")) == [
        1,
        4,
    ]
