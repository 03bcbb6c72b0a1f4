"""Bytes from an address: in time, within a limit on size, or a reason why not."""

import http.client
import time
import urllib.error
import urllib.request

from muster.errors import Unavailable

LIMIT = 64 * 2**20  # bytes; Fashion-MNIST's largest file has 26 MB
TIMEOUT = 10.0  # seconds without an answer, within a run
DEADLINE = 60.0  # seconds for the whole download, within a run
SLOW_TIMEOUT, SLOW_DEADLINE = 60.0, 1800.0  # the same, when the user asked for the download


def download(address: str, *, timeout: float = TIMEOUT, deadline: float = DEADLINE, limit: int = LIMIT) -> bytes:
    """The bytes at an address. Raises Unavailable if it does not answer in time, refuses, or sends too much.

    timeout: seconds without an answer. deadline: seconds for the whole. limit: bytes.
    """
    from muster import __version__

    request = urllib.request.Request(address, headers={"User-Agent": f"muster/{__version__}"})
    end = time.monotonic() + deadline
    data = bytearray()
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            while chunk := answer.read(2**16):
                data += chunk
                if len(data) > limit:
                    raise Unavailable(f"its address sends more than {limit / 2**20:g} MB")
                if time.monotonic() > end:
                    raise Unavailable(f"its address took longer than {deadline:g} s")
    except urllib.error.HTTPError as error:
        raise Unavailable(f"its address answers {error.code} {error.reason}") from None
    except (OSError, ValueError, http.client.HTTPException) as error:
        cause = getattr(error, "reason", error)
        raise Unavailable(f"its address cannot be reached: {getattr(cause, 'strerror', None) or cause}") from None
    return bytes(data)
