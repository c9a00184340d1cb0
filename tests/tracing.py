"""The default trace of each checkpoint, made once for all tests of a worker."""

import sys
from pathlib import Path

SITE_CODE = Path(__file__).parents[1] / "walkthroughs" / "_site"
if str(SITE_CODE) not in sys.path:
    sys.path.insert(0, str(SITE_CODE))

from stored import kept, key, place  # noqa: E402

key()  # now, while the package is loaded: source that is edited during a run belongs to the next one


class Traces(dict):
    """Traces by the checkpoint's name, made when they are first asked for, and kept for the site as they are."""

    def __missing__(self, name):
        import tracer

        self[name] = tracer.trace(name)
        kept(place(name), self[name].to_json)  # for the site; no test reads it
        return self[name]


TRACES = Traces()
