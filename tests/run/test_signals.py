import subprocess
import sys
from pathlib import Path

SCRIPTS = Path(__file__).resolve().parents[2] / "scripts"

INTERRUPTED = """
import os, signal, threading
from quadrat.run.snakemake import handle_in_thread

lock, ended = threading.Lock(), threading.Event()

def end(number, frame):
    with lock:
        print("ended by", signal.Signals(number).name)
    ended.set()

signal.signal(signal.SIGTERM, end)
handle_in_thread(signal.SIGTERM)
with lock:
    os.kill(os.getpid(), signal.SIGTERM)
    print("goes on")
ended.wait()
"""


def test_handler_that_needs_what_it_interrupts_does_not_wait_for_ever():
    done = subprocess.run(
        [sys.executable, "-c", INTERRUPTED],
        cwd=SCRIPTS,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == "goes on\nended by SIGTERM\n"
