"""Ask addresses whether they are still there: each once, and a host one thing at a time."""

import http.client
import socket
import time
import urllib.error
import urllib.request
from collections.abc import Iterable, Mapping
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby
from urllib.parse import urlsplit

HOSTS_AT_ONCE, PAUSE, TIMEOUT = 4, 1.0, 20.0  # seconds, between two questions and for one
USER_AGENT = "Mozilla/5.0 (compatible; link check of a course, a few questions a week)"
GONE, REFUSED = (404, 410), (401, 403, 405, 429)

ALIVE, DEAD, ROBOT, UNREACHABLE = "alive", "dead", "refuses robots", "could not be reached"


def ask(address: str, method: str, timeout: float) -> tuple[str, str]:
    """Ask once; return what became of it, and why."""
    headers = {"User-Agent": USER_AGENT, "Accept": "*/*"}
    request = urllib.request.Request(address, method=method, headers=headers)
    try:
        with urllib.request.urlopen(request, timeout=timeout) as answer:
            return ALIVE, str(answer.status)
    except urllib.error.HTTPError as error:
        error.close()
        state = DEAD if error.code in GONE else ROBOT if error.code in REFUSED else UNREACHABLE
        return state, f"{error.code} {error.reason}"
    except urllib.error.URLError as error:
        why = error.reason
        # EAI_AGAIN: no name could be looked up, which need not be this one's fault
        unknown = isinstance(why, socket.gaierror) and why.errno != socket.EAI_AGAIN
        return (DEAD if unknown else UNREACHABLE), str(why)
    except (OSError, http.client.HTTPException, ValueError) as error:
        return UNREACHABLE, str(error) or type(error).__name__


def state_of(address: str, timeout: float = TIMEOUT) -> tuple[str, str]:
    """Ask for the head of a page; where that is refused or fails, for the page."""
    state, why = ask(address, "HEAD", timeout)
    if state == ALIVE or why.startswith("429"):  # too many questions
        return state, why
    return ask(address, "GET", timeout)


def ask_in_turn(
    addresses: Iterable[str], pause: float, timeout: float
) -> dict[str, tuple[str, str]]:
    """Ask one after the other, with a pause before each but the first."""
    found: dict[str, tuple[str, str]] = {}
    for address in addresses:
        time.sleep(pause if found else 0)
        found[address] = state_of(address, timeout)
    return found


def ask_all(
    addresses: Iterable[str], *, pause: float = PAUSE, timeout: float = TIMEOUT
) -> dict[str, tuple[str, str]]:
    """Ask each address once, several hosts at a time."""

    def host(address: str) -> str:
        return urlsplit(address).netloc

    by_host = [list(group) for _, group in groupby(sorted(set(addresses), key=host), host)]
    with ThreadPoolExecutor(HOSTS_AT_ONCE) as pool:
        answers = pool.map(lambda group: ask_in_turn(group, pause, timeout), by_host)
        return {address: state for found in answers for address, state in found.items()}


def report(addresses: Mapping[str, str], *, pause: float = PAUSE, timeout: float = TIMEOUT) -> int:
    """Ask all addresses, given with where they stand, and print the rest; 1 if one is dead."""
    found = ask_all(addresses, pause=pause, timeout=timeout)
    for state in (ROBOT, UNREACHABLE, DEAD):
        for address in sorted(a for a in found if found[a][0] == state):
            print(f"{state}: {address} ({found[address][1]}), in {addresses[address]}")
    states = [state for state, _ in found.values()]
    print(", ".join(f"{states.count(s)} {s}" for s in (ALIVE, DEAD, ROBOT, UNREACHABLE)))
    return int(DEAD in states)
