"""Running a command in this process, and what it must do when it answers or refuses."""

import signal


def hears_ctrl_c():
    """For a child before it starts: what a shell runs in the background is deaf to Ctrl-C, and so are its children."""
    signal.signal(signal.SIGINT, signal.SIG_DFL)


def answer(main, capsys, argv):
    """Stdout of a run that works. Nothing may be on stderr."""
    assert main([str(a) for a in argv]) == 0
    out, err = capsys.readouterr()
    assert err == ""
    return out


def refusal(main, capsys, argv, command):
    """The one sentence that a run is refused with: exit code 2, nothing on stdout, no traceback.

    Behind it there may be what a trace saw before it stopped.
    """
    try:
        code = main([str(a) for a in argv])
    except SystemExit as left:
        code = left.code
    out, err = capsys.readouterr()
    assert code == 2, err
    assert out == ""
    assert err.startswith(f"{command}: ")
    assert "Traceback" not in err
    first, *rest = err.splitlines()
    assert first.endswith((".", "?"))
    assert not rest or rest[:2] == ["", "Seen until there:"]
    return first.removeprefix(f"{command}: ")
