from __future__ import annotations

import inspect
import subprocess
import sys

import pytest

from gte_pg.demo import standard_library as module
from gte_pg.demo.standard_library import Docstring, standard_library
from gte_pg.errors import GtePgError

Key = tuple[str, str]


@pytest.fixture(scope="module")
def docstrings() -> dict[Key, Docstring]:
    return {(row.module, row.name): row for row in standard_library()}


def test_a_row_is_the_module_the_name_the_signature_and_the_clean_docstring(
    docstrings: dict[Key, Docstring],
) -> None:
    run = docstrings["subprocess", "run"]
    assert run.doc == inspect.getdoc(subprocess.run)
    assert run.signature == str(inspect.signature(subprocess.run))
    assert docstrings["json", ""].doc.startswith("JSON (JavaScript Object Notation)")


@pytest.mark.parametrize(
    "key",
    [
        ("json", "loads"),
        ("math", "sqrt"),  # written in C
        ("builtins", "str.split"),
        ("pathlib", "Path.exists"),
        ("random", "randint"),  # a bound method of a hidden instance
    ],
)
def test_functions_classes_and_methods_are_there(
    docstrings: dict[Key, Docstring], key: Key
) -> None:
    assert key in docstrings


@pytest.mark.parametrize(
    ("public", "hidden"),
    [
        (("os.path", "join"), ("posixpath", "join")),
        (("asyncio", "sleep"), ("asyncio.tasks", "sleep")),
        (("os", "listdir"), ("posix", "listdir")),
        (("builtins", "OSError"), ("builtins", "IOError")),
        (("collections", "deque"), ("queue", "deque")),
        (("random", "randint"), ("random", "Random.randint")),
    ],
)
def test_what_has_several_names_stands_once_under_the_one_that_users_know(
    docstrings: dict[Key, Docstring], public: Key, hidden: Key
) -> None:
    assert public in docstrings
    assert hidden not in docstrings


def test_keys_are_unique_and_the_order_is_always_the_same() -> None:
    rows = standard_library()
    assert len({(row.module, row.name) for row in rows}) == len(rows)
    assert rows == standard_library()


def test_the_number_of_rows_suits_a_demo(docstrings: dict[Key, Docstring]) -> None:
    assert 3_000 <= len(docstrings) <= 8_000


def test_nothing_private_no_tests_and_nothing_that_prints_or_opens_a_window(
    docstrings: dict[Key, Docstring],
) -> None:
    paths = [f"{module}.{name}".rstrip(".") for module, name in docstrings]
    assert not [path for path in paths if "._" in path or path.startswith("_")]
    unwanted = {"antigravity", "idlelib", "test", "this", "tkinter", "turtledemo"}
    assert unwanted.isdisjoint(path.split(".")[0] for path in paths)


def test_docstrings_that_nobody_wrote_are_left_out(docstrings: dict[Key, Docstring]) -> None:
    docs = [row.doc for row in docstrings.values()]
    assert not [doc for doc in docs if doc.startswith("Alias for field number")]
    assert docs.count(inspect.getdoc(Exception) or "") == 1  # its own, not its children's
    assert ("inspect", "ArgInfo") not in docstrings  # a named tuple: "ArgInfo(args, varargs, …)"


def test_the_caller_sees_no_output_and_no_import() -> None:
    program = (
        "import sys; from gte_pg.demo.standard_library import standard_library; "
        "before = set(sys.modules); standard_library(); "
        "sys.exit(sorted(set(sys.modules) - before) or 0)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_child_that_fails_is_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PROGRAM", module.PROGRAM.with_name("not-there.py"))
    with pytest.raises(GtePgError, match=r"Cannot read .*not-there\.py"):
        standard_library()
