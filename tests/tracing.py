"""The default trace of each checkpoint, made once for all tests of a worker."""


class Traces(dict):
    """Traces by the checkpoint's name, made when they are first asked for."""

    def __missing__(self, name):
        import tracer

        self[name] = tracer.trace(name)
        return self[name]


TRACES = Traces()
