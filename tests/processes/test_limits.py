import pytest

from quadrat.processes.limits import Ended, answers

ANSWERING = """
import os, signal

def answer(question):
    print("chatter of a decoder", flush=True)
    if question == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if question == "memory":
        return len(b"x" * (5 << 30))
    if question == "error":
        raise IndexError("list index out of range")
    return [question]
"""


@pytest.fixture
def module(tmp_path, monkeypatch):
    """Return the name of a module that fails at some questions."""
    (tmp_path / "answering.py").write_text(ANSWERING)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return "answering"


def test_question_that_ends_its_process_costs_no_other_its_answer(module):
    found = list(answers(module, ["a", "crash", "b", "memory", "error", "ü"]))
    assert [one.why if isinstance(one, Ended) else one for one in found] == [
        ["a"],
        "ended by SIGSEGV",
        ["b"],
        "MemoryError",
        "IndexError: list index out of range",
        ["ü"],
    ]
    assert found[1].printed == "chatter of a decoder\n" * 2
    assert "answering.py" in found[4].printed


def test_no_process_is_started_where_nothing_is_asked():
    assert list(answers("no_such_module", [])) == []
