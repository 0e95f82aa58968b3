"""What a forked process does with its parent's encoders: each test forks a Python of its own.

By `os.fork`, and as uWSGI forks: in C, without the hooks of `os.register_at_fork`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

PARENT = """
import ctypes, os, signal, sys, threading
from gte_pg import Encoder, load_encoder

model, texts = sys.argv[1], [f"text {number} " * 60 for number in range(100)]
forks = [os.fork, ctypes.PyDLL(None).fork]

def fork(use):
    for way in forks:
        child = way()
        if child == 0:
            signal.alarm(10)  # it would hang
            try:
                use()
            finally:
                sys.exit()  # as a worker of gunicorn ends, and not by os._exit
        assert os.waitpid(child, 0)[1] == 0, way
"""

USED = """
def use():
    assert (encoder.encode(texts).dense == many).all()
    assert abs(encoder.encode(["cat"]).dense - lone).max() < 1e-5

encoder = Encoder.load(model, precision=sys.argv[2], threads=2)
many, lone = encoder.encode(texts).dense, encoder.encode(["cat"]).dense
fork(use)
fork(lambda: None)
forks.pop(0)
fork(lambda: fork(use))
use()
"""

LOADED = """
os.sched_setaffinity(0, [min(os.sched_getaffinity(0))])  # so the thread that opened it is the only one
load_encoder(model)
fork(lambda: load_encoder(model).encode(texts))
"""

LOADING = """
load, loading = Encoder.load, threading.Event()

def stuck(*_, **options):
    loading.set()
    threading.Event().wait()

Encoder.load = stuck
threading.Thread(target=load_encoder, args=[model], daemon=True).start()
loading.wait()
Encoder.load = load
fork(lambda: load_encoder(model).encode(texts))
os._exit(0)
"""

RUNNING = """
def encode():
    while not ended.is_set():
        encoder.encode(texts)

encoder, ended = Encoder.load(model, precision="int8", threads=2), threading.Event()
other = threading.Thread(target=encode)
other.start()
forks.pop()  # it would wait for the other thread
for _ in range(12):
    fork(lambda: encoder.encode(texts[:6]))
ended.set()
other.join()
"""


def run(model: Path, program: str, *arguments: str, **variables: str) -> None:
    command = [sys.executable, "-c", PARENT + program, str(model), *arguments]
    subprocess.run(command, check=True, timeout=60, env=os.environ | variables)


@pytest.mark.parametrize("precision", ["float32", "int8"])
@pytest.mark.parametrize("model", ["new_ntk", "bert_cls"])
def test_an_encoder_that_was_used_works_in_a_fork_too(
    data: Path, model: str, precision: str
) -> None:
    run(data / "golden" / model, USED, precision)


def test_a_tokenizer_told_to_use_threads_does_not_wait_for_them_in_a_fork(data: Path) -> None:
    run(data / "golden" / "new_ntk", USED, "float32", TOKENIZERS_PARALLELISM="true")


def test_an_encoder_that_was_only_loaded_works_in_a_fork_too_on_one_processor(data: Path) -> None:
    run(data / "golden" / "new_ntk", LOADED)


def test_a_fork_does_not_wait_for_who_was_loading(data: Path) -> None:
    run(data / "golden" / "new_ntk", LOADING)


def test_a_fork_does_not_wait_for_who_was_encoding(data: Path) -> None:
    run(data / "golden" / "new_ntk", RUNNING)
