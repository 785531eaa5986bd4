"""Standard input as a source of rows."""

import io
import os
from concurrent.futures import ThreadPoolExecutor

from chainstrata.ingest.files import until_left


def test_who_waits_for_more_of_a_pipe_is_let_go() -> None:
    read, write = os.pipe()
    with ThreadPoolExecutor(1) as thread, os.fdopen(read, "rb") as pipe, os.fdopen(write, "wb", buffering=0) as other:
        with until_left(pipe) as stream:
            other.write(b"first\nsecond")
            assert stream.readline() == b"first\n"
            waiting = thread.submit(stream.read)
        assert waiting.result(20) == b"second"


def test_a_stream_without_a_number_is_given_as_it_is() -> None:
    given = io.BytesIO(b"rows")
    with until_left(given) as stream:
        assert stream is given
