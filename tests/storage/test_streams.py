"""Output that cannot be written as meant."""

import io
import subprocess
import sys
from pathlib import Path

import pytest

from gapo_cli.storage.streams import HANDLER, LastingStream, make_lasting, twins

GAPO = [sys.executable, "-m", "gapo_cli"]


def test_signs_that_an_encoding_lacks_have_twins(monkeypatch):
    for name in ("stdout", "stderr"):
        monkeypatch.setattr(sys, name, io.TextIOWrapper(io.BytesIO(), encoding="latin-1"))
    make_lasting()
    print("50–60 ± 2 █▁ … 例")
    sys.stdout.flush()
    # latin-1 has the plus-minus itself
    assert sys.stdout.buffer.getvalue().decode("latin-1") == "50-60 ± 2 #_ ... ?\n"
    assert "50–60 ±".encode("ascii", HANDLER) == b"50-60 +-"


def test_an_error_of_decoding_is_none_of_ours():
    with pytest.raises(UnicodeDecodeError):
        twins(UnicodeDecodeError("utf-8", b"\xff", 0, 1, "no"))


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="this system has no /dev/full")
def test_a_full_device_is_said_and_is_exit_code_2():
    with open("/dev/full", "w") as full:
        done = subprocess.run([*GAPO, "--help"], check=False, stdout=full, stderr=subprocess.PIPE, text=True)
    assert done.returncode == 2
    assert done.stderr == "gapo: standard output cannot be written (No space left on device); send it somewhere else\n"


def test_a_reader_that_went_away_is_no_failure():
    process = subprocess.Popen([*GAPO, "train", "--print-config"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    process.stdout.close()
    assert process.wait() == 0
    assert process.stderr.read() == ""


@pytest.mark.slow
@pytest.mark.parametrize("closed", [">&-", "2>&-", ">&- 2>&-"])
def test_an_output_that_is_closed_is_as_one_that_nobody_reads(closed, tmp_path):
    command = f'"{sys.executable}" -m gapo_cli train --print-config {closed}'
    done = subprocess.run(command, check=False, shell=True, cwd=tmp_path, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_stream_cannot_say_comes_from_the_stream_below():
    below = io.StringIO()
    stream = LastingStream(below)
    stream.writelines(["a", "b"])
    assert (below.getvalue(), stream.failure, stream.isatty()) == ("ab", None, False)
