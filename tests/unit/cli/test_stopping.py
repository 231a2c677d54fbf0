"""A command that waits hears that it shall stop, whichever thread the signal comes to."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import signal, threading, time
from wetread.cli.stopping import told_to_stop, wait_until

def get_it():
    time.sleep(0.5)
    signal.pthread_kill(threading.get_ident(), signal.{name})
    time.sleep(20)

stopping = told_to_stop()
threading.Thread(target=get_it, daemon=True).start()
wait_until(stopping)
print("stopped")
"""


@pytest.mark.parametrize("name", ["SIGINT", "SIGTERM", "SIGHUP"])
def test_a_signal_that_another_thread_gets_ends_the_wait(name: str) -> None:
    """The main thread is not woken by it, nor by one that comes just before it begins to wait."""
    run = [sys.executable, "-c", PROGRAM.format(name=name)]
    done = subprocess.run(run, capture_output=True, text=True, check=False, timeout=15)
    assert (done.returncode, done.stdout) == (0, "stopped\n"), done.stderr


def test_under_nohup_the_end_of_the_terminal_is_no_reason() -> None:
    program = (
        "import signal\n"
        "from wetread.cli.stopping import told_to_stop\n"
        "told_to_stop()\n"
        "print(signal.getsignal(signal.SIGHUP) == signal.SIG_IGN)\n"
    )
    run = ["nohup", sys.executable, "-c", program]
    done = subprocess.run(run, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=True)
    assert done.stdout == "True\n"
